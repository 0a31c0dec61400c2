use ir::{DType, OpError, TensorType};
use loops::{Definition, Expr, Fold, Source, Stage, Unary};
use serde::{Deserialize, Serialize};

use crate::{Import, Meaning, Onnx, Op, onnx, shape};

/// Folds whole axes away.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Reduce {
    pub kind: ReduceKind,
    /// Ascending.
    pub axes: Vec<usize>,
    /// Whether the folded axes stay, with extent 1.
    pub keep_axes: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReduceKind {
    #[default]
    Sum,
    Mean,
    Max,
    Min,
    Product,
    /// `Σ |x|`.
    L1,
    /// `√(Σ x²)`.
    L2,
    /// `Σ x²`.
    SumSquare,
    /// `log(Σ x)`.
    LogSum,
    /// `log(Σ exp(x))`, computed without overflow.
    LogSumExp,
}

/// The opset from which on `axes` is an input and no attribute.
const AXES_ARE_INPUT: i64 = 18;
/// The same for `ReduceSum`, the first that changed.
const AXES_ARE_INPUT_OF_SUM: i64 = 13;

impl Op for Reduce {
    const NAME: &'static str = "reduce";
    const ONNX: &'static [Onnx] = &[
        onnx("ReduceSum", 1, |node| import(node, ReduceKind::Sum, AXES_ARE_INPUT_OF_SUM)),
        onnx("ReduceMean", 1, |node| import(node, ReduceKind::Mean, AXES_ARE_INPUT)),
        onnx("ReduceMax", 1, |node| import(node, ReduceKind::Max, AXES_ARE_INPUT)),
        onnx("ReduceMin", 1, |node| import(node, ReduceKind::Min, AXES_ARE_INPUT)),
        onnx("ReduceProd", 1, |node| import(node, ReduceKind::Product, AXES_ARE_INPUT)),
        onnx("ReduceL1", 1, |node| import(node, ReduceKind::L1, AXES_ARE_INPUT)),
        onnx("ReduceL2", 1, |node| import(node, ReduceKind::L2, AXES_ARE_INPUT)),
        onnx("ReduceSumSquare", 1, |node| import(node, ReduceKind::SumSquare, AXES_ARE_INPUT)),
        onnx("ReduceLogSum", 1, |node| import(node, ReduceKind::LogSum, AXES_ARE_INPUT)),
        onnx("ReduceLogSumExp", 1, |node| import(node, ReduceKind::LogSumExp, AXES_ARE_INPUT)),
        onnx("GlobalAveragePool", 1, |node| global(node, ReduceKind::Mean)),
        onnx("GlobalMaxPool", 1, |node| global(node, ReduceKind::Max)),
    ];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = shape::inputs(inputs)?;
        let takes_bool = matches!(self.kind, ReduceKind::Max | ReduceKind::Min);
        if x.dtype == DType::Bool && !takes_bool {
            return Err(OpError::new(format!("takes a number type, got {x}")));
        }
        if !self.axes.is_sorted_by(|a, b| a < b) || self.axes.last().is_some_and(|&axis| axis >= x.rank()) {
            return Err(OpError::new(format!("{:?} are no axes of {x} in ascending order", self.axes)));
        }
        Ok(vec![x.with_shape(self.domain(x))])
    }

    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let x = &inputs[0];
        let domain = self.domain(x);
        let reduction: Vec<usize> = self.axes.iter().map(|&axis| x.shape[axis]).collect();
        let element = Expr::read(Source::Operand(0), self.index(x.rank(), domain.len()));
        // Logarithms and roots of integers are taken as floats.
        let float = if x.dtype.is_float() { x.dtype } else { DType::F64 };
        let as_float = |value: Expr| if x.dtype.is_float() { value } else { value.cast(float) };
        let back = |value: Expr| if x.dtype.is_float() { value } else { value.cast(x.dtype) };
        let stage =
            |fold: Fold, body: Expr| Stage::reduce(x.dtype, domain.clone(), fold, reduction.clone(), body);
        let finished = |stage: Stage, finish: Expr| {
            Meaning::Compute(Definition::single(stage.finished(x.dtype, &finish)))
        };
        let plain = |stage: Stage| Meaning::Compute(Definition::single(stage));
        let log = |value: Expr| Expr::unary(Unary::Log, value);
        match self.kind {
            ReduceKind::Sum => plain(stage(Fold::Sum, element)),
            ReduceKind::Max => plain(stage(Fold::Max, element)),
            ReduceKind::Min => plain(stage(Fold::Min, element)),
            ReduceKind::Product => plain(stage(Fold::Product, element)),
            ReduceKind::L1 => plain(stage(Fold::Sum, Expr::unary(Unary::Abs, element))),
            ReduceKind::SumSquare => plain(stage(Fold::Sum, element.clone() * element)),
            ReduceKind::Mean => {
                let count: usize = reduction.iter().product();
                finished(stage(Fold::Sum, element), Expr::Folded / Expr::constant(x.dtype, count as f64))
            }
            ReduceKind::L2 => {
                let element = as_float(element);
                let sum = stage(Fold::Sum, element.clone() * element);
                finished(sum, back(Expr::unary(Unary::Sqrt, Expr::Folded)))
            }
            ReduceKind::LogSum => finished(stage(Fold::Sum, as_float(element)), back(log(Expr::Folded))),
            ReduceKind::LogSumExp => {
                let element = as_float(element);
                let largest =
                    Stage::reduce(float, domain.clone(), Fold::Max, reduction.clone(), element.clone());
                let largest = largest.finished(float, &finite_or_zero(float));
                let shift =
                    Expr::read(Source::Stage(0), (0..domain.len()).map(Expr::Axis).collect::<Vec<_>>());
                let sum = stage(Fold::Sum, Expr::unary(Unary::Exp, element - shift.clone()));
                let sum = sum.finished(x.dtype, &back(log(Expr::Folded) + shift));
                Meaning::Compute(Definition::of(vec![largest, sum]))
            }
        }
    }

    fn before_transpose(&self, permutation: &[usize]) -> Option<(Reduce, Vec<usize>)> {
        let mut axes = self.axes.iter().map(|&axis| permutation.get(axis).copied()).collect::<Option<Vec<_>>>()?;
        axes.sort_unstable();
        let result = match self.keep_axes {
            true => permutation.to_vec(),
            false => {
                let kept: Vec<usize> = permutation.iter().copied().filter(|axis| !axes.contains(axis)).collect();
                kept.iter().map(|axis| kept.iter().filter(|other| *other < axis).count()).collect()
            }
        };
        Some((Reduce { axes, ..self.clone() }, result))
    }
}

impl Reduce {
    fn domain(&self, x: &TensorType) -> Vec<usize> {
        let kept = |(axis, &extent): (usize, &usize)| match self.axes.contains(&axis) {
            true => self.keep_axes.then_some(1),
            false => Some(extent),
        };
        x.shape.iter().enumerate().filter_map(kept).collect()
    }

    /// The operand's index: reduced axes are numbered after those of the domain.
    fn index(&self, rank: usize, domain: usize) -> Vec<Expr> {
        let mut kept = 0;
        let mut reduced = domain;
        (0..rank)
            .map(|axis| {
                let is_reduced = self.axes.contains(&axis);
                let index = Expr::Axis(if is_reduced { reduced } else { kept });
                reduced += usize::from(is_reduced);
                kept += usize::from(!is_reduced || self.keep_axes);
                index
            })
            .collect()
    }
}

/// The largest exponent as a shift: infinite ones, which also an empty set gives, would make `∞ - ∞`.
fn finite_or_zero(dtype: DType) -> Expr {
    let infinite = Expr::unary(Unary::IsInf, Expr::Folded);
    Expr::select(infinite, Expr::constant(dtype, 0.0), Expr::Folded)
}

fn import(node: &mut Import, kind: ReduceKind, axes_are_input: i64) -> Result<Vec<ir::Value>, OpError> {
    let x = node.input(0)?;
    let rank = node.ty(x).rank();
    let listed = shape::input_or_ints(node, 1, "axes", axes_are_input)?.unwrap_or_default();
    let keep_axes = node.int("keepdims")?.unwrap_or(1) != 0;
    if listed.is_empty() && node.int("noop_with_empty_axes")?.unwrap_or(0) != 0 {
        // Nothing is folded, but what is done to each element still is.
        return Ok(vec![match kind {
            ReduceKind::Sum | ReduceKind::Mean | ReduceKind::Max | ReduceKind::Min | ReduceKind::Product => x,
            _ => node.apply(Reduce { kind, axes: vec![], keep_axes }, &[x])?,
        }]);
    }
    let axes = if listed.is_empty() { (0..rank).collect() } else { shape::axes(&listed, rank)? };
    Ok(vec![node.apply(Reduce { kind, axes, keep_axes }, &[x])?])
}

fn global(node: &mut Import, kind: ReduceKind) -> Result<Vec<ir::Value>, OpError> {
    let x = node.input(0)?;
    let ty = node.ty(x);
    if ty.rank() < 2 {
        return Err(OpError::new(format!("{ty} has no spatial axes to pool")));
    }
    let axes = (2..ty.rank()).collect();
    Ok(vec![node.apply(Reduce { kind, axes, keep_axes: true }, &[x])?])
}
