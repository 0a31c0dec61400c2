//! Random small graphs mean the same after rewriting.

use std::collections::BTreeSet;

use ir::{Tensor, TensorType, Value};
use ops::ops::{
    add::Add, concat::Concat, conv::Conv, max_pool::MaxPool, mul::Mul, pad::Pad, reduce::Reduce, relu::Relu,
    reshape::Reshape, split::Split, sub::Sub, transpose::Transpose,
};
use ops::shape::{Layout, Pool, Window};
use ops::{AnyOp, Graph};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use rewrite::{DefaultCost, Options, optimize, rules, saturate};
use tests::classes::check_classes;
use tests::values::{compare, inputs, integers};

/// One more node over the values there are; what does not fit them is left out.
#[derive(Debug, Clone)]
enum Step {
    Unary(bool, Index),
    Binary(u8, Index, Index),
    /// With a constant that has the extents of the operand on some axes and 1 on the others.
    Scaled(u8, Index, Vec<bool>, u64),
    Conv {
        x: Index,
        out: usize,
        kernel: usize,
        pad: usize,
        bias: bool,
        last: bool,
        seed: u64,
    },
    Pool(Index, bool),
    Pad(Index, Vec<(i64, i64)>),
    Transpose(Index, Vec<usize>),
    Flatten(Index, usize),
    Mean(Index, Vec<bool>, bool),
    Concat(Index, Index, usize),
    Split(Index, usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    let four = || proptest::collection::vec(any::<bool>(), 4);
    prop_oneof![
        (any::<bool>(), index()).prop_map(|(relu, x)| Step::Unary(relu, x)),
        (0u8..3, index(), index()).prop_map(|(op, a, b)| Step::Binary(op, a, b)),
        (0u8..3, index(), four(), any::<u64>())
            .prop_map(|(op, x, axes, seed)| Step::Scaled(op, x, axes, seed)),
        (index(), 1usize..4, 1usize..3, 0usize..2, any::<bool>(), any::<bool>(), any::<u64>()).prop_map(
            |(x, out, kernel, pad, bias, last, seed)| Step::Conv { x, out, kernel, pad, bias, last, seed }
        ),
        (index(), any::<bool>()).prop_map(|(x, last)| Step::Pool(x, last)),
        (index(), proptest::collection::vec((0i64..2, 0i64..2), 4)).prop_map(|(x, pads)| Step::Pad(x, pads)),
        (index(), Just(vec![0, 1, 2, 3]).prop_shuffle()).prop_map(|(x, axes)| Step::Transpose(x, axes)),
        (index(), 0usize..3).prop_map(|(x, axis)| Step::Flatten(x, axis)),
        (index(), four(), any::<bool>()).prop_map(|(x, axes, keep)| Step::Mean(x, axes, keep)),
        (index(), index(), 0usize..4).prop_map(|(a, b, axis)| Step::Concat(a, b, axis)),
        (index(), 0usize..4).prop_map(|(x, axis)| Step::Split(x, axis)),
    ]
}

/// Every other time the newest value, so that chains come about.
fn pick(index: &Index, values: &[Value]) -> Value {
    values[index.index(2 * values.len()).min(values.len() - 1)]
}

fn layout(last: bool) -> Layout {
    if last { Layout::ChannelsLast } else { Layout::ChannelsFirst }
}

fn arithmetic(op: u8) -> AnyOp {
    match op {
        0 => Add.into(),
        1 => Mul.into(),
        _ => Sub.into(),
    }
}

/// The operator and operands of `step`; constants are added to `graph` on the way.
fn node(graph: &mut Graph, values: &[Value], step: &Step) -> (AnyOp, Vec<Value>) {
    let shape = |graph: &Graph, value: Value| graph.ty(value).shape.clone();
    match step {
        Step::Unary(relu, x) => {
            let op = if *relu { Relu.into() } else { ops::ops::sigmoid::Sigmoid.into() };
            (op, vec![pick(x, values)])
        }
        Step::Binary(op, a, b) => (arithmetic(*op), vec![pick(a, values), pick(b, values)]),
        Step::Scaled(op, x, axes, seed) => {
            let x = pick(x, values);
            let extents = shape(graph, x)
                .iter()
                .zip(axes)
                .map(|(&e, &full)| if full { e } else { 1 })
                .collect::<Vec<_>>();
            let constant = integers(&TensorType::new(ir::DType::F32, extents), *seed % 1000);
            (arithmetic(*op), vec![x, graph.constant("", constant)])
        }
        Step::Conv { x, out, kernel, pad, bias, last, seed } => {
            let x = pick(x, values);
            let extents = shape(graph, x);
            let channels = if extents.len() == 4 { layout(*last).split(&extents).1 } else { 1 };
            let weights = TensorType::new(ir::DType::F32, [*out, channels, *kernel, *kernel]);
            let mut operands = vec![x, graph.constant("", integers(&weights, *seed % 1000))];
            if *bias {
                let ty = weights.with_shape([*out]);
                operands.push(graph.constant("", integers(&ty, *seed % 999)));
            }
            let window = Window { pads: vec![(*pad, *pad); 2], ..Window::plain(2) };
            (Conv { window, group: 1, layout: layout(*last) }.into(), operands)
        }
        Step::Pool(x, last) => {
            let pool = Pool { kernel: vec![2, 2], window: Window::plain(2), layout: layout(*last) };
            (MaxPool { pool }.into(), vec![pick(x, values)])
        }
        Step::Pad(x, pads) => (Pad { pads: pads.clone(), ..Pad::default() }.into(), vec![pick(x, values)]),
        Step::Transpose(x, axes) => (Transpose { permutation: axes.clone() }.into(), vec![pick(x, values)]),
        Step::Flatten(x, axis) => {
            let x = pick(x, values);
            let mut extents = shape(graph, x);
            if axis + 1 < extents.len() {
                let merged = extents.remove(axis + 1);
                extents[*axis] *= merged;
                extents.insert(0, 1);
            }
            (Reshape { shape: extents }.into(), vec![x])
        }
        Step::Mean(x, axes, keep_axes) => {
            let axes = (0..4).filter(|&axis| axes[axis]).collect();
            (
                Reduce { kind: ops::ops::reduce::ReduceKind::Mean, axes, keep_axes: *keep_axes }.into(),
                vec![pick(x, values)],
            )
        }
        Step::Concat(a, b, axis) => (Concat { axis: *axis }.into(), vec![pick(a, values), pick(b, values)]),
        Step::Split(x, axis) => {
            let x = pick(x, values);
            let extent = shape(graph, x).get(*axis).copied().unwrap_or(0);
            (Split { axis: *axis, sizes: vec![extent / 2, extent - extent / 2] }.into(), vec![x])
        }
    }
}

/// Small extents, so that different values often fit each other.
fn build(steps: &[Step], outputs: &[Index]) -> Graph {
    let mut graph = Graph::new("random");
    let x = graph.input("x", TensorType::new(ir::DType::F32, [1, 3, 3, 2]));
    let y = graph.input("y", TensorType::new(ir::DType::F32, [1, 2, 3, 3]));
    let mut values = vec![x, y];
    for (number, step) in steps.iter().enumerate() {
        let (op, operands) = node(&mut graph, &values, step);
        if let Ok(results) = graph.apply(format!("n{number}"), op, &operands) {
            values
                .extend(results.into_iter().filter(|&value| (1..500).contains(&graph.ty(value).elements())));
        }
    }
    for (number, output) in outputs.iter().enumerate() {
        graph.output(format!("out{number}"), *output.get(&values));
    }
    graph.output("last", values[values.len() - 1]);
    graph.drop_dead();
    graph
}

/// Within what all rules together may round; values grow by products, and differences cancel.
fn same(a: &[Tensor], b: &[Tensor]) -> Result<(), String> {
    a.iter().zip(b).try_for_each(|(a, b)| compare(a, b, 1e-4))
}

/// The tests below would prove little if the graphs gave the rules nothing to do.
#[test]
fn random_graphs_make_most_rules_fire() {
    let mut runner = TestRunner::deterministic();
    let steps = proptest::collection::vec(any_step(), 4..12);
    let mut fired = BTreeSet::new();
    for _ in 0..500 {
        let graph = build(&steps.new_tree(&mut runner).unwrap().current(), &[]);
        let saturated = saturate(&graph, &rules::phases(), &Options::default()).unwrap();
        fired.extend(saturated.fired.into_iter().map(|(rule, _)| rule));
    }
    let all = rules::all();
    let silent: Vec<&str> = all.iter().map(|rule| rule.name).filter(|name| !fired.contains(*name)).collect();
    assert!(silent.len() * 3 <= all.len(), "{} of {} rules never fire: {silent:?}", silent.len(), all.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn rewriting_keeps_the_meaning(
        steps in proptest::collection::vec(any_step(), 1..12),
        outputs in proptest::collection::vec(any::<Index>(), 0..3),
        seed in 1u64..100,
    ) {
        let graph = build(&steps, &outputs);
        let optimized = optimize(&graph, &DefaultCost::default(), &Options::default());
        let optimized = optimized.map_err(|err| TestCaseError::fail(format!("{err}\n{}", ir::print(&graph))))?;
        prop_assert_eq!(ir::verify(&optimized.graph), Ok(()));
        let inputs = inputs(&graph, seed);
        let result = same(&ops::evaluate(&graph, &inputs), &ops::evaluate(&optimized.graph, &inputs));
        prop_assert_eq!(result, Ok(()), "{}\n{}", ir::print(&graph), ir::print(&optimized.graph));
        let again = optimize(&graph, &DefaultCost::default(), &Options::default());
        prop_assert_eq!(again.map(|again| ir::print(&again.graph)), Ok(ir::print(&optimized.graph)));
    }

    #[test]
    fn classes_of_random_graphs_are_sound(steps in proptest::collection::vec(any_step(), 1..8), seed in 1u64..100) {
        let graph = build(&steps, &[]);
        let saturated = saturate(&graph, &rules::phases(), &Options::default());
        let saturated = saturated.map_err(|err| TestCaseError::fail(format!("{err}\n{}", ir::print(&graph))))?;
        let sound = check_classes(&saturated, &rules::all(), seed);
        prop_assert_eq!(sound, Ok(()), "{}", ir::print(&graph));
    }
}
