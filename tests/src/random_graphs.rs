//! Random small graphs, by proptest.

use ir::{Tensor, TensorType, Value};
use ops::ops::{
    add::Add, average_pool::AveragePool, concat::Concat, conv::Conv, gather::Gather, identity::Identity,
    matmul::Matmul, max_pool::MaxPool, mul::Mul, pad::Pad, reduce::Reduce, relu::Relu, reshape::Reshape,
    slice::Slice, softmax::Softmax, split::Split, sub::Sub, transpose::Transpose,
};
use ops::shape::{Layout, Pool, Window};
use ops::{AnyOp, Graph};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::spellings::{SPELLINGS, spelled};
use crate::values::integers;

/// One more node over the values there are; what does not fit them is left out.
#[derive(Debug, Clone)]
pub enum Step {
    Unary(bool, Index),
    Binary(u8, Index, Index),
    /// With a constant that has the extents of the operand on some axes and 1 on the others.
    Scaled(u8, Index, Vec<bool>, u64),
    Conv {
        x: Index,
        out: usize,
        kernel: usize,
        stride: usize,
        pad: usize,
        depthwise: bool,
        bias: bool,
        last: bool,
        seed: u64,
    },
    Pool {
        x: Index,
        average: bool,
        stride: usize,
        pad: usize,
        last: bool,
    },
    Pad(Index, Vec<(i64, i64)>),
    Transpose(Index, Vec<usize>),
    Flatten(Index, usize),
    Mean(Index, Vec<bool>, bool),
    Concat(Index, Index, usize),
    Split(Index, usize),
    /// The pieces of a split one after the other again.
    Rejoined(Index, usize),
    /// Places at equal distances: the first, and the step.
    Gather(Index, usize, i64, i64),
    /// The steps, of which negative ones go backwards.
    Slice(Index, Vec<i64>),
    /// With the other operand's last two axes exchanged.
    Matmul(Index, Index),
    Softmax(Index, usize),
    /// Of queries over what is keys and values in one, the scores scaled or not.
    Attention(Index, Index, bool),
    /// A product with a constant matrix of this many columns, and perhaps a bias.
    Dense(Index, usize, bool, u64),
    /// An operator written out in primitive ones.
    Spelled(Index, usize),
}

pub fn any_step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    let four = || proptest::collection::vec(any::<bool>(), 4);
    prop_oneof![
        (any::<bool>(), index()).prop_map(|(relu, x)| Step::Unary(relu, x)),
        (0u8..3, index(), index()).prop_map(|(op, a, b)| Step::Binary(op, a, b)),
        (0u8..3, index(), four(), any::<u64>())
            .prop_map(|(op, x, axes, seed)| Step::Scaled(op, x, axes, seed)),
        any_conv(),
        (index(), any::<bool>(), 1usize..3, 0usize..2, any::<bool>())
            .prop_map(|(x, average, stride, pad, last)| Step::Pool { x, average, stride, pad, last }),
        (index(), proptest::collection::vec((0i64..2, 0i64..2), 4)).prop_map(|(x, pads)| Step::Pad(x, pads)),
        (index(), Just(vec![0, 1, 2, 3]).prop_shuffle()).prop_map(|(x, axes)| Step::Transpose(x, axes)),
        (index(), 0usize..3).prop_map(|(x, axis)| Step::Flatten(x, axis)),
        (index(), four(), any::<bool>()).prop_map(|(x, axes, keep)| Step::Mean(x, axes, keep)),
        (index(), index(), 0usize..4).prop_map(|(a, b, axis)| Step::Concat(a, b, axis)),
        (index(), 0usize..4).prop_map(|(x, axis)| Step::Split(x, axis)),
        (index(), 0usize..4).prop_map(|(x, axis)| Step::Rejoined(x, axis)),
        (index(), 0usize..4, 0i64..3, -2i64..3)
            .prop_map(|(x, axis, first, step)| Step::Gather(x, axis, first, step)),
        (index(), proptest::collection::vec(prop_oneof![-2i64..0, 1i64..3], 4))
            .prop_map(|(x, steps)| Step::Slice(x, steps)),
        (index(), index()).prop_map(|(a, b)| Step::Matmul(a, b)),
        (index(), 0usize..4).prop_map(|(x, axis)| Step::Softmax(x, axis)),
        (index(), 1usize..4, any::<bool>(), any::<u64>())
            .prop_map(|(x, columns, bias, seed)| Step::Dense(x, columns, bias, seed)),
        (index(), index(), any::<bool>()).prop_map(|(q, k, scaled)| Step::Attention(q, k, scaled)),
        (index(), 0usize..SPELLINGS).prop_map(|(x, number)| Step::Spelled(x, number)),
    ]
}

fn any_conv() -> impl Strategy<Value = Step> {
    let sizes = (1usize..4, 1usize..4, 1usize..3, 0usize..2);
    let forms = (any::<bool>(), any::<bool>(), any::<bool>());
    (any::<Index>(), sizes, forms, any::<u64>()).prop_map(
        |(x, (out, kernel, stride, pad), (depthwise, bias, last), seed)| Step::Conv {
            x,
            out,
            kernel,
            stride,
            pad,
            depthwise,
            bias,
            last,
            seed,
        },
    )
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

fn window(stride: usize, pad: usize) -> Window {
    Window { strides: vec![stride; 2], pads: vec![(pad, pad); 2], ..Window::plain(2) }
}

/// `value` with its last two axes exchanged, if it has as many.
fn turned(graph: &mut Graph, value: Value) -> Value {
    let rank = graph.ty(value).rank();
    let mut permutation: Vec<usize> = (0..rank).collect();
    if rank > 1 {
        permutation.swap(rank - 2, rank - 1);
    }
    graph.apply("turned", Transpose { permutation }.into(), &[value]).map_or(value, |values| values[0])
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
        Step::Conv { x, out, kernel, stride, pad, depthwise, bias, last, seed } => {
            let x = pick(x, values);
            let extents = shape(graph, x);
            let channels = if extents.len() == 4 { layout(*last).split(&extents).1 } else { 1 };
            let (out, group) = if *depthwise { (channels, channels) } else { (*out, 1) };
            let weights = TensorType::new(ir::DType::F32, [out, channels / group, *kernel, *kernel]);
            let mut operands = vec![x, graph.constant("", integers(&weights, *seed % 1000))];
            if *bias {
                let ty = weights.with_shape([out]);
                operands.push(graph.constant("", integers(&ty, *seed % 999)));
            }
            (Conv { window: window(*stride, *pad), group, layout: layout(*last) }.into(), operands)
        }
        Step::Pool { x, average, stride, pad, last } => {
            let pool = Pool { kernel: vec![2, 2], window: window(*stride, *pad), layout: layout(*last) };
            let op = match average {
                true => AveragePool { pool, counted: vec![] }.into(),
                false => MaxPool { pool }.into(),
            };
            (op, vec![pick(x, values)])
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
        Step::Rejoined(x, axis) => {
            let x = pick(x, values);
            let extent = shape(graph, x).get(*axis).copied().unwrap_or(0);
            let pieces = Split { axis: *axis, sizes: vec![extent / 2, extent - extent / 2] };
            (Concat { axis: *axis }.into(), graph.apply("pieces", pieces.into(), &[x]).unwrap_or(vec![x]))
        }
        Step::Gather(x, axis, first, step) => {
            let places = Tensor::from_slice([2], &[*first, first + step]);
            (Gather { axis: *axis }.into(), vec![pick(x, values), graph.constant("", places)])
        }
        Step::Slice(x, steps) => {
            let x = pick(x, values);
            let extents = shape(graph, x);
            let axes = extents.iter().zip(steps);
            let starts =
                axes.clone().map(|(&extent, &step)| if step < 0 { extent.saturating_sub(1) } else { 0 });
            let lengths = axes.map(|(&extent, &step)| extent.div_ceil(step.unsigned_abs() as usize));
            let steps = steps.iter().copied().take(extents.len()).collect();
            (Slice { starts: starts.collect(), steps, shape: lengths.collect() }.into(), vec![x])
        }
        Step::Matmul(a, b) => {
            let (a, b) = (pick(a, values), pick(b, values));
            (Matmul.into(), vec![a, turned(graph, b)])
        }
        Step::Attention(q, k, scaled) => {
            let (q, k) = (pick(q, values), pick(k, values));
            let turned = turned(graph, k);
            let factor = graph.constant("", integers(&TensorType::new(ir::DType::F32, []), 2));
            let axis = shape(graph, k).len().saturating_sub(1);
            let mut weights = || {
                let mut scores = graph.apply("scores", Matmul.into(), &[q, turned])?[0];
                if *scaled {
                    scores = graph.apply("scaled", Mul.into(), &[scores, factor])?[0];
                }
                Ok::<Value, ir::OpError>(graph.apply("weights", Softmax { axis }.into(), &[scores])?[0])
            };
            let weights = weights().unwrap_or(q);
            (Matmul.into(), vec![weights, k])
        }
        Step::Softmax(x, axis) => (Softmax { axis: *axis }.into(), vec![pick(x, values)]),
        Step::Dense(x, columns, bias, seed) => {
            let x = pick(x, values);
            let rows = shape(graph, x).last().copied().unwrap_or(1);
            let matrix = TensorType::new(ir::DType::F32, [rows, *columns]);
            let weights = graph.constant("", integers(&matrix, *seed % 1000));
            match (bias, graph.apply("product", Matmul.into(), &[x, weights])) {
                (true, Ok(product)) => {
                    let bias = graph.constant("", integers(&matrix.with_shape([*columns]), *seed % 999));
                    (Add.into(), vec![product[0], bias])
                }
                _ => (Matmul.into(), vec![x, weights]),
            }
        }
        // Several nodes, of which this is the last.
        Step::Spelled(x, number) => {
            let x = pick(x, values);
            (Identity.into(), vec![spelled(graph, *number, x).unwrap_or(x)])
        }
    }
}

/// Small extents, so that different values often fit each other.
pub fn build(steps: &[Step], outputs: &[Index]) -> Graph {
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
