//! `--precision bf16` and `f16`: what products are taken of is stored in 16 bits, all else is as exact as it was.

use ir::{DType, NodeKind, Tensor};
use onnxc::{Model, Options, Watch};
use ops::{AnyOp, Graph, Meaning};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;
use rewrite::{Precision, Strategy};
use targets::Target;
use tests::costs::Narrowing;
use tests::random_cnns::{Random, random_cnn};
use tests::random_graphs::{any_step, build};
use tests::values::{cancelled, compare, inputs};

const NARROW: [(Precision, DType); 2] = [(Precision::Bf16, DType::BF16), (Precision::F16, DType::F16)];

/// The graph in `precision` under `strategy`.
fn narrow(graph: &Graph, precision: Precision, strategy: Strategy) -> Graph {
    let options = rewrite::Options { precision, strategy, ..rewrite::Options::default() };
    rewrite::optimize(graph, &Narrowing::EVERYWHERE, &options).unwrap().graph
}

fn run(graph: &Graph, rewriting: rewrite::Options, inputs: &[Tensor]) -> Vec<Tensor> {
    // Without caches memory counts more than time: narrow wherever that can be.
    let target = Target { caches: vec![], ..Target::host().unwrap() };
    let model = Model { sha256: String::new() };
    let options = Options { rewriting, ..Options::default() };
    let artifact =
        onnxc::compile_graph(graph.clone(), model, "model", &target, &options, &mut Watch::default())
            .unwrap();
    onnxc::in_process(&artifact.object, &artifact.metadata, inputs).unwrap().outputs
}

/// The errors that are stated, relative to the largest output of the network.
#[cfg(target_arch = "x86_64")]
const STATED: [(Precision, f64); 2] = [(Precision::Bf16, 3e-2), (Precision::F16, 4e-3)];

/// The largest number anywhere in a random network.
#[cfg(target_arch = "x86_64")]
fn largest(seed: u64) -> f64 {
    let mut graph = random_cnn(seed);
    for id in graph.order() {
        let value = ir::Value { node: id, result: 0 };
        if matches!(graph.node(id).kind, NodeKind::Apply(_)) && graph.ty(value).dtype == DType::F32 {
            graph.output(format!("{id:?}"), value);
        }
    }
    let values = ops::evaluate(&graph, &[Random::new(seed + 1000).tensor(&[1, 4, 4, 2])]);
    values.iter().flat_map(Tensor::to_f64s).fold(0.0, |largest, x| x.abs().max(largest))
}

#[cfg(target_arch = "x86_64")]
#[test]
fn networks_stay_within_the_stated_error() {
    for (precision, stated) in STATED {
        let error = |seed: u64| {
            let graph = random_cnn(seed);
            let inputs = [Random::new(seed + 1000).tensor(&[1, 4, 4, 2])];
            let rewriting = rewrite::Options { precision, ..rewrite::Options::default() };
            let given = run(&graph, rewriting, &inputs)[0].to_f64s();
            let wanted = ops::evaluate(&graph, &inputs)[0].to_f64s();
            let largest = wanted.iter().fold(0f64, |largest, x| largest.max(x.abs()));
            let errors = given.iter().zip(&wanted).map(|(a, b)| (a - b).abs());
            // A NaN must not pass for a small error.
            let error = errors.fold(0.0, |worst, error| if error <= worst { worst } else { error });
            // Half floats end at 6e-8.
            error / largest.max(1e-6)
        };
        // What is beyond the largest half float becomes infinite, as is said.
        let fits = |seed: &u64| precision != Precision::F16 || largest(*seed) < 65504.0;
        let mut errors: Vec<f64> = (0..80).filter(fits).take(60).map(error).collect();
        errors.sort_by(f64::total_cmp);
        let [median, most, worst] = [30, 54, 59].map(|rank| errors[rank]);
        eprintln!("{precision:?}: median {median:.1e}, nine in ten {most:.1e}, worst {worst:.1e}");
        // Random weights now and then make outputs of terms that cancel, which no trained network's are.
        assert!(median <= stated / 3.0 && most <= stated && worst <= 10.0 * stated, "{errors:?}");
    }
}

/// Operands of products, by whether they are stored in `narrow`.
fn factors(graph: &Graph, narrow: DType) -> (usize, usize) {
    let mut counts = (0, 0);
    for id in graph.ids() {
        let NodeKind::Apply(op) = &graph.node(id).kind else { continue };
        let root = if let AnyOp::Fused(fused) = op { &*fused.root } else { op };
        if matches!(root, AnyOp::Conv(_) | AnyOp::Matmul(_)) {
            for &operand in &graph.operands(id)[..2] {
                match graph.ty(operand).dtype {
                    dtype if dtype == narrow => counts.0 += 1,
                    _ => counts.1 += 1,
                }
            }
        }
    }
    counts
}

#[test]
fn every_product_is_of_narrow_factors_and_the_interface_stays() {
    for (seed, (precision, dtype)) in (0..60).flat_map(|seed| NARROW.map(|narrow| (seed, narrow))) {
        let graph = random_cnn(seed);
        let narrow = narrow(&graph, precision, Strategy::Off);
        ir::verify(&narrow).unwrap();
        let (rounded, wide) = factors(&narrow, dtype);
        // The image may be read as it is.
        assert!(rounded > 0 && wide <= 1, "seed {seed}: {rounded} and {wide}\n{}", ir::print(&narrow));
        let types = |graph: &Graph| -> Vec<ir::TensorType> {
            let inputs = graph.inputs().iter().map(|&id| graph.node(id).types[0].clone());
            inputs.chain(graph.outputs().iter().map(|(_, value)| graph.ty(*value).clone())).collect()
        };
        assert_eq!(types(&narrow), types(&graph));
    }
}

#[test]
fn products_that_take_longer_of_narrow_factors_stay_unless_memory_is_short() {
    for (seed, (precision, dtype)) in (0..30).flat_map(|seed| NARROW.map(|narrow| (seed, narrow))) {
        let graph = random_cnn(seed);
        let options = rewrite::Options { precision, strategy: Strategy::Off, ..rewrite::Options::default() };
        let stored = |short_of_memory| {
            let cost = Narrowing { dearer: 4.0, short_of_memory };
            factors(&rewrite::optimize(&graph, &cost, &options).unwrap().graph, dtype)
        };
        assert_eq!(stored(false).0, 0, "seed {seed}");
        assert!(stored(true).0 > 0, "seed {seed}");
    }
}

/// A weight that no half float is near keeps its type, and the product its value.
#[cfg(target_arch = "x86_64")]
#[test]
fn weights_beyond_half_floats_stay_as_they_are() {
    let mut graph = Graph::new("large".to_owned());
    let x = graph.input("x".to_owned(), ir::TensorType::new(DType::F32, [2, 4]));
    let values = [1e5f32, 1.0, -2.0, 0.5, 3.0, -7e4, 0.25, 8.0].map(f32::to_le_bytes).concat();
    let weights = Tensor::new(ir::TensorType::new(DType::F32, [4, 2]), values);
    let weights = graph.constant("w".to_owned(), weights);
    let y = graph.apply("y".to_owned(), ops::ops::matmul::Matmul.into(), &[x, weights]).unwrap()[0];
    graph.output("y".to_owned(), y);
    let inputs = [Random::new(1).tensor(&[2, 4])];
    let rewriting = rewrite::Options { precision: Precision::F16, ..rewrite::Options::default() };
    let given = run(&graph, rewriting, &inputs)[0].to_f64s();
    let wanted = ops::evaluate(&graph, &inputs)[0].to_f64s();
    let largest = wanted.iter().fold(0f64, |largest, x| largest.max(x.abs()));
    for (given, wanted) in given.iter().zip(&wanted) {
        assert!((given - wanted).abs() <= 4e-3 * largest, "{given} and {wanted}");
    }
}

#[test]
fn nothing_is_converted_on_the_way_from_one_product_to_the_next() {
    for (seed, (precision, _)) in (0..60).flat_map(|seed| NARROW.map(|narrow| (seed, narrow))) {
        let narrow = narrow(&random_cnn(seed), precision, Strategy::Saturate);
        for id in narrow.ids() {
            let NodeKind::Apply(AnyOp::Cast(_)) = narrow.node(id).kind else { continue };
            // The input of the model, which lies there in its own type, and looks at it.
            let mut from = narrow.operands(id)[0];
            while let NodeKind::Apply(op) = &narrow.node(from.node).kind {
                let operands = narrow.operands(from.node);
                let types = narrow.types(&operands);
                assert!(!matches!(op.meaning(&types), Meaning::Compute(_)), "{}", ir::print(&narrow));
                from = operands[0];
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    // Small integers: sums are exact, so that both round the same numbers.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn machine_code_rounds_where_the_graph_says(
        steps in proptest::collection::vec(any_step(), 1..10),
        outputs in proptest::collection::vec(any::<Index>(), 0..3),
        seed in 1u64..100,
        half in any::<bool>(),
    ) {
        let (precision, _) = NARROW[usize::from(half)];
        let narrow = narrow(&build(&steps, &outputs), precision, Strategy::Off);
        let inputs = inputs(&narrow, seed);
        let as_it_is = rewrite::Options { strategy: Strategy::Off, ..rewrite::Options::default() };
        let given = run(&narrow, as_it_is, &inputs);
        for (wanted, given) in ops::evaluate(&narrow, &inputs).iter().zip(&given) {
            // What functions left between two neighbours may go to either.
            let near = cancelled(given, wanted) || compare(wanted, given, 1.0 / 64.0).is_ok();
            prop_assert!(near, "{}", ir::print(&narrow));
        }
    }
}
