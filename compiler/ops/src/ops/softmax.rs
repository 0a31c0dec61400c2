use ir::{OpError, TensorType, Value};
use loops::{Definition, Expr, Fold, Source, Unary};
use serde::{Deserialize, Serialize};

use crate::along::{Along, accumulator, operand, stored};
use crate::{AnyOp, Import, Meaning, Onnx, Op, check, onnx, shape};

/// `e^x / Σ e^x` along an axis.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Softmax {
    pub axis: usize,
}

impl Op for Softmax {
    const NAME: &'static str = "softmax";
    const ONNX: &'static [Onnx] =
        &[onnx("Softmax", 1, |node| along_axis(node, |axis| Softmax { axis }.into()))];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        infer(self.axis, inputs)
    }

    /// The greatest element is taken off first, so that no power overflows.
    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let x = &inputs[0];
        let (along, acc) = (Along::new(&x.shape, &[self.axis]), accumulator(x.dtype));
        let read = |element: &[Expr]| operand(0, x, acc, element);
        let power = |element: &[Expr]| Expr::read(Source::Stage(1), element);
        Meaning::Compute(Definition::of(vec![
            along.fold(acc, Fold::Max, read),
            along.map(acc, |element| Expr::unary(Unary::Exp, read(element) - along.result(0))),
            along.fold(acc, Fold::Sum, power).finished(acc, &(Expr::constant(acc, 1.0) / Expr::Folded)),
            along.map(x.dtype, |element| stored(power(element) * along.result(2), acc, x.dtype)),
        ]))
    }

    fn before_transpose(&self, permutation: &[usize]) -> Option<(Softmax, Vec<usize>)> {
        let axis = *permutation.get(self.axis)?;
        Some((Softmax { axis }, permutation.to_vec()))
    }
}

/// Floats with such an axis.
pub(super) fn infer(axis: usize, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
    let [x] = shape::inputs(inputs)?;
    check::same_float(&[x.dtype])?;
    if axis >= x.rank() {
        return Err(OpError::new(format!("axis {axis} is outside {x}")));
    }
    Ok(vec![x.clone()])
}

/// ONNX `Softmax` and its kin: along one axis from opset 13 on; before, along all axes from `axis` on as if they
/// were one.
pub(super) fn along_axis(node: &mut Import, make: fn(usize) -> AnyOp) -> Result<Vec<Value>, OpError> {
    let x = node.input(0)?;
    let ty = node.ty(x).clone();
    let given = node.int("axis")?;
    if node.opset >= 13 {
        let axis = shape::axis(given.unwrap_or(-1), ty.rank())?;
        return Ok(vec![node.apply(make(axis), &[x])?]);
    }
    // `axis` may be the rank itself (or 1 for a vector): nothing is left to flatten then.
    let axis = match given.unwrap_or(1) {
        end if end == ty.rank() as i64 => ty.rank(),
        axis => shape::axis(axis, ty.rank())?,
    };
    let flat = [ty.shape[..axis].iter().product(), ty.shape[axis..].iter().product()];
    if axis + 1 == ty.rank() {
        return Ok(vec![node.apply(make(axis), &[x])?]);
    }
    let matrix = node.reshape(x, &flat)?;
    let result = node.apply(make(1), &[matrix])?;
    Ok(vec![node.reshape(result, &ty.shape)?])
}
