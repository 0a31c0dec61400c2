//! Operators written out in primitive ones, as exporters do, for random graphs.

use ir::{DType, OpError, Scalar, Tensor, Value};
use ops::ops::{
    abs::Abs,
    add::Add,
    average_pool::AveragePool,
    clip::Clip,
    div::Div,
    erf::Erf,
    exp::Exp,
    log::Log,
    max::Max,
    mul::Mul,
    neg::Neg,
    pow::Pow,
    reduce::{Reduce, ReduceKind},
    relu::Relu,
    reshape::Reshape,
    sqrt::Sqrt,
    sub::Sub,
    tanh::Tanh,
};
use ops::shape::{Layout, Pool, Window};
use ops::{AnyOp, Graph};

/// How many there are.
pub const SPELLINGS: usize = SPELLED.len();

type Spelled = fn(&mut Writer, Value) -> Result<Value, OpError>;

const SPELLED: &[Spelled] = &[
    gelu,
    gelu_tanh,
    swish,
    mish,
    hard_swish,
    softmax,
    log_softmax,
    layer_norm,
    centred_later,
    rms_norm,
    mean_variance_norm,
    bounds,
    no_change,
    norms,
    folds,
    mean_by_pool,
];

/// Adds the `number`-th spelling over `x`, of which small values alone arrive, so that no power overflows.
pub fn spelled(graph: &mut Graph, number: usize, x: Value) -> Result<Value, OpError> {
    if graph.ty(x).shape.last().is_none_or(|&extent| extent < 2) {
        // `x - ln(e^x)` is zero but for what is rounded.
        return Err(OpError::new("there is nothing to fold"));
    }
    let mut writer = Writer { graph };
    let small = writer.apply(Clip::between(-4.0, 4.0), &[x])?;
    SPELLED[number % SPELLINGS](&mut writer, small)
}

struct Writer<'g> {
    graph: &'g mut Graph,
}

impl Writer<'_> {
    fn apply(&mut self, op: impl Into<AnyOp>, operands: &[Value]) -> Result<Value, OpError> {
        Ok(self.graph.apply("", op.into(), operands)?[0])
    }

    fn constant(&mut self, value: f64) -> Value {
        self.graph.constant("", Tensor::scalar(Scalar::from_f64(DType::F32, value)))
    }

    /// `op` with a constant as its second operand.
    fn with(&mut self, op: impl Into<AnyOp>, x: Value, value: f64) -> Result<Value, OpError> {
        let constant = self.constant(value);
        self.apply(op, &[x, constant])
    }

    /// Along the last axis.
    fn fold(&mut self, kind: ReduceKind, x: Value, keep_axes: bool) -> Result<Value, OpError> {
        let axes = vec![self.graph.ty(x).rank().saturating_sub(1)];
        self.apply(Reduce { kind, axes, keep_axes }, &[x])
    }

    /// `x` less its mean, and the mean of the square of that.
    fn centred(&mut self, x: Value) -> Result<(Value, Value), OpError> {
        let mean = self.fold(ReduceKind::Mean, x, true)?;
        let centred = self.apply(Sub, &[x, mean])?;
        let square = self.with(Pow, centred, 2.0)?;
        Ok((centred, self.fold(ReduceKind::Mean, square, true)?))
    }
}

fn gelu(w: &mut Writer, x: Value) -> Result<Value, OpError> {
    let inner = w.with(Div, x, std::f64::consts::SQRT_2)?;
    let erf = w.apply(Erf, &[inner])?;
    let odd = w.with(Add, erf, 1.0)?;
    let product = w.apply(Mul, &[x, odd])?;
    w.with(Mul, product, 0.5)
}

fn gelu_tanh(w: &mut Writer, x: Value) -> Result<Value, OpError> {
    let cube = w.with(Pow, x, 3.0)?;
    let term = w.with(Mul, cube, 0.044_715)?;
    let sum = w.apply(Add, &[x, term])?;
    let inner = w.with(Mul, sum, std::f64::consts::FRAC_2_PI.sqrt())?;
    let tanh = w.apply(Tanh, &[inner])?;
    let odd = w.with(Add, tanh, 1.0)?;
    let half = w.with(Mul, x, 0.5)?;
    w.apply(Mul, &[half, odd])
}

fn swish(w: &mut Writer, x: Value) -> Result<Value, OpError> {
    let negative = w.apply(Neg, &[x])?;
    let power = w.apply(Exp, &[negative])?;
    let sum = w.with(Add, power, 1.0)?;
    let one = w.constant(1.0);
    let gate = w.apply(Div, &[one, sum])?;
    w.apply(Mul, &[x, gate])
}

fn mish(w: &mut Writer, x: Value) -> Result<Value, OpError> {
    let power = w.apply(Exp, &[x])?;
    let sum = w.with(Add, power, 1.0)?;
    let log = w.apply(Log, &[sum])?;
    let gate = w.apply(Tanh, &[log])?;
    w.apply(Mul, &[x, gate])
}

fn hard_swish(w: &mut Writer, x: Value) -> Result<Value, OpError> {
    let sum = w.with(Add, x, 3.0)?;
    let clipped = w.apply(Clip::between(0.0, 6.0), &[sum])?;
    let gate = w.with(Div, clipped, 6.0)?;
    w.apply(Mul, &[x, gate])
}

fn softmax(w: &mut Writer, x: Value) -> Result<Value, OpError> {
    let largest = w.fold(ReduceKind::Max, x, true)?;
    let shifted = w.apply(Sub, &[x, largest])?;
    let power = w.apply(Exp, &[shifted])?;
    let sum = w.fold(ReduceKind::Sum, power, true)?;
    w.apply(Div, &[power, sum])
}

fn log_softmax(w: &mut Writer, x: Value) -> Result<Value, OpError> {
    let power = w.apply(Exp, &[x])?;
    let sum = w.fold(ReduceKind::Sum, power, true)?;
    let log = w.apply(Log, &[sum])?;
    w.apply(Sub, &[x, log])
}

fn layer_norm(w: &mut Writer, x: Value) -> Result<Value, OpError> {
    let (centred, variance) = w.centred(x)?;
    let shifted = w.with(Add, variance, 0.5)?;
    let deviation = w.apply(Sqrt, &[shifted])?;
    let normal = w.apply(Div, &[centred, deviation])?;
    let scaled = w.with(Mul, normal, 2.0)?;
    w.with(Add, scaled, 3.0)
}

/// Layer norm as TensorFlow writes it.
fn centred_later(w: &mut Writer, x: Value) -> Result<Value, OpError> {
    let (_, variance) = w.centred(x)?;
    let mean = w.fold(ReduceKind::Mean, x, true)?;
    let shifted = w.with(Add, variance, 0.5)?;
    let inverse = w.with(Pow, shifted, -0.5)?;
    let factor = w.with(Mul, inverse, 2.0)?;
    let scaled = w.apply(Mul, &[x, factor])?;
    let scaled_mean = w.apply(Mul, &[mean, factor])?;
    let bias = w.constant(3.0);
    let shift = w.apply(Sub, &[bias, scaled_mean])?;
    w.apply(Add, &[scaled, shift])
}

fn rms_norm(w: &mut Writer, x: Value) -> Result<Value, OpError> {
    let square = w.apply(Mul, &[x, x])?;
    let mean = w.fold(ReduceKind::Mean, square, true)?;
    let shifted = w.with(Add, mean, 0.5)?;
    let deviation = w.apply(Sqrt, &[shifted])?;
    let one = w.constant(1.0);
    let inverse = w.apply(Div, &[one, deviation])?;
    let scaled = w.with(Mul, inverse, 3.0)?;
    w.apply(Mul, &[x, scaled])
}

fn mean_variance_norm(w: &mut Writer, x: Value) -> Result<Value, OpError> {
    let (centred, variance) = w.centred(x)?;
    let root = w.apply(Sqrt, &[variance])?;
    let deviation = w.with(Add, root, 1e-9)?;
    w.apply(Div, &[centred, deviation])
}

fn bounds(w: &mut Writer, x: Value) -> Result<Value, OpError> {
    let above = w.with(Max, x, -1.0)?;
    let relu = w.apply(Relu, &[above])?;
    w.apply(Clip::between(-3.0, 2.0), &[relu])
}

fn no_change(w: &mut Writer, x: Value) -> Result<Value, OpError> {
    let negative = w.apply(Neg, &[x])?;
    let again = w.apply(Neg, &[negative])?;
    let once = w.with(Mul, again, 1.0)?;
    let scaled = w.with(Mul, x, 3.0)?;
    w.apply(Add, &[scaled, once])
}

fn norms(w: &mut Writer, x: Value) -> Result<Value, OpError> {
    let square = w.apply(Mul, &[x, x])?;
    let sum = w.fold(ReduceKind::Sum, square, true)?;
    let euclidean = w.apply(Sqrt, &[sum])?;
    let magnitude = w.apply(Sqrt, &[square])?;
    let absolute = w.apply(Abs, &[x])?;
    let taxicab = w.fold(ReduceKind::Sum, absolute, true)?;
    let both = w.apply(Add, &[euclidean, taxicab])?;
    w.apply(Add, &[both, magnitude])
}

fn folds(w: &mut Writer, x: Value) -> Result<Value, OpError> {
    let rank = w.graph.ty(x).rank();
    let mut shape = w.graph.ty(x).shape.clone();
    let count: usize = shape.iter().rev().take(2).product();
    let once = w.fold(ReduceKind::Sum, x, false)?;
    let twice = w.fold(ReduceKind::Sum, once, false)?;
    shape[rank.saturating_sub(2)..].fill(1);
    let kept = w.apply(Reshape { shape }, &[twice])?;
    let mean = w.with(Mul, kept, 1.0 / count as f64)?;
    w.apply(Sub, &[x, mean])
}

fn mean_by_pool(w: &mut Writer, x: Value) -> Result<Value, OpError> {
    let kernel: Vec<usize> = w.graph.ty(x).shape.iter().skip(2).copied().collect();
    let pool = Pool { window: Window::plain(kernel.len()), kernel, layout: Layout::ChannelsFirst };
    w.apply(AveragePool { pool, counted: vec![] }, &[x])
}
