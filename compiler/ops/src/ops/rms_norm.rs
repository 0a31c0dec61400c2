use ir::{Float, OpError, TensorType};
use loops::{Definition, Expr, Fold, Unary};
use serde::{Deserialize, Serialize};

use super::layer_norm::infer_norm;
use crate::along::{Along, accumulator, operand, stored};
use crate::{Meaning, Onnx, Op, onnx, shape};

/// `x / √(mean of x² + epsilon) · scale`, the mean taken along `axes`.
///
/// Operands `x` and optionally `scale`, which broadcasts to `x` and whose type is the result's.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RmsNorm {
    /// Sorted.
    pub axes: Vec<usize>,
    pub epsilon: Float,
}

impl Op for RmsNorm {
    const NAME: &'static str = "rms_norm";
    const ONNX: &'static [Onnx] = &[onnx("RMSNormalization", 23, |node| {
        let rank = node.ty(node.input(0)?).rank();
        let first = shape::axis(node.int("axis")?.unwrap_or(-1), rank)?;
        let epsilon = Float(node.float("epsilon")?.unwrap_or(1e-5));
        node.direct(RmsNorm { axes: (first..rank).collect(), epsilon })
    })];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let x = infer_norm(&self.axes, inputs, 2)?;
        Ok(vec![x.with_dtype(inputs.get(1).unwrap_or(x).dtype)])
    }

    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let x = &inputs[0];
        let (along, acc) = (Along::new(&x.shape, &self.axes), accumulator(x.dtype));
        let constant = |value| Expr::constant(acc, value);
        let read = |element: &[Expr]| operand(0, x, acc, element);
        let mean = Expr::Folded / constant(along.count() as f64);
        let root = Expr::unary(Unary::Sqrt, mean + constant(self.epsilon.wide()));
        let dtype = inputs.get(1).unwrap_or(x).dtype;
        Meaning::Compute(Definition::of(vec![
            along
                .fold(acc, Fold::Sum, |element| read(element) * read(element))
                .finished(acc, &(constant(1.0) / root)),
            along.map(dtype, |element| {
                let value = read(element) * along.result(0);
                let value = match inputs.get(1) {
                    Some(scale) => value * operand(1, scale, acc, element),
                    None => value,
                };
                stored(value, acc, dtype)
            }),
        ]))
    }
}
