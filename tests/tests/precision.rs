//! `--precision bf16`: what products are taken of is stored in bfloat16, all else is as exact as it was.

use ir::{DType, NodeKind, Tensor};
use onnxc::{Model, Options, Watch};
use ops::{AnyOp, Graph, Meaning};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;
use rewrite::{DefaultCost, Precision, Strategy};
use targets::Target;
use tests::random_cnns::{Random, random_cnn};
use tests::random_graphs::{any_step, build};
use tests::values::{cancelled, compare, inputs};

/// The graph in bfloat16 under `strategy`.
fn narrow(graph: &Graph, strategy: Strategy) -> Graph {
    let options = rewrite::Options { precision: Precision::Bf16, strategy, ..rewrite::Options::default() };
    rewrite::optimize(graph, &DefaultCost::default(), &options).unwrap().graph
}

fn run(graph: &Graph, rewriting: rewrite::Options, inputs: &[Tensor]) -> Vec<Tensor> {
    let (model, target) = (Model { sha256: String::new() }, Target::host().unwrap());
    let options = Options { rewriting, ..Options::default() };
    let artifact =
        onnxc::compile_graph(graph.clone(), model, "model", &target, &options, &mut Watch::default())
            .unwrap();
    onnxc::in_process(&artifact.object, &artifact.metadata, inputs).unwrap().outputs
}

/// The error that is stated, relative to the largest output of the network.
const STATED: f64 = 3e-2;

#[cfg(target_arch = "x86_64")]
#[test]
fn networks_stay_within_the_stated_error() {
    let rewriting = || rewrite::Options { precision: Precision::Bf16, ..rewrite::Options::default() };
    let error = |seed: u64| {
        let graph = random_cnn(seed);
        let inputs = [Random::new(seed + 1000).tensor(&[1, 4, 4, 2])];
        let given = run(&graph, rewriting(), &inputs)[0].to_f64s();
        let wanted = ops::evaluate(&graph, &inputs)[0].to_f64s();
        let largest = wanted.iter().fold(0f64, |largest, x| largest.max(x.abs()));
        let errors = given.iter().zip(&wanted).map(|(a, b)| (a - b).abs());
        // A NaN must not pass for a small error.
        errors.fold(0.0, |worst, error| if error <= worst { worst } else { error }) / largest.max(1e-30)
    };
    let mut errors: Vec<f64> = (0..60).map(error).collect();
    errors.sort_by(f64::total_cmp);
    let [median, most, worst] = [30, 54, 59].map(|rank| errors[rank]);
    eprintln!("errors: median {median:.1e}, nine in ten {most:.1e}, worst {worst:.1e}");
    // Random weights now and then make outputs of terms that cancel, which no trained network's are.
    assert!(median <= STATED / 3.0 && most <= STATED && worst <= 10.0 * STATED, "{errors:?}");
}

/// Operands of products, by whether they are stored in bfloat16.
fn factors(graph: &Graph) -> (usize, usize) {
    let mut counts = (0, 0);
    for id in graph.ids() {
        let NodeKind::Apply(op) = &graph.node(id).kind else { continue };
        let root = if let AnyOp::Fused(fused) = op { &*fused.root } else { op };
        if matches!(root, AnyOp::Conv(_) | AnyOp::Matmul(_)) {
            for &operand in &graph.operands(id)[..2] {
                match graph.ty(operand).dtype {
                    DType::BF16 => counts.0 += 1,
                    _ => counts.1 += 1,
                }
            }
        }
    }
    counts
}

#[test]
fn every_product_is_of_bfloat16_and_the_interface_stays() {
    for seed in 0..60 {
        let graph = random_cnn(seed);
        let narrow = narrow(&graph, Strategy::Off);
        ir::verify(&narrow).unwrap();
        let (rounded, wide) = factors(&narrow);
        assert!(rounded > 0 && wide == 0, "seed {seed}: {rounded} and {wide}\n{}", ir::print(&narrow));
        let types = |graph: &Graph| -> Vec<ir::TensorType> {
            let inputs = graph.inputs().iter().map(|&id| graph.node(id).types[0].clone());
            inputs.chain(graph.outputs().iter().map(|(_, value)| graph.ty(*value).clone())).collect()
        };
        assert_eq!(types(&narrow), types(&graph));
    }
}

#[test]
fn nothing_is_converted_on_the_way_from_one_product_to_the_next() {
    for seed in 0..60 {
        let narrow = narrow(&random_cnn(seed), Strategy::Saturate);
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
    ) {
        let narrow = narrow(&build(&steps, &outputs), Strategy::Off);
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
