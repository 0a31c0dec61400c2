use ir::{OpError, TensorType};
use loops::{Definition, Expr, Fold, Unary};
use serde::{Deserialize, Serialize};

use super::softmax;
use crate::along::{Along, accumulator, operand, stored};
use crate::{Meaning, Onnx, Op, onnx};

/// `x - ln Σ e^x` along an axis.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogSoftmax {
    pub axis: usize,
}

impl Op for LogSoftmax {
    const NAME: &'static str = "log_softmax";
    const ONNX: &'static [Onnx] =
        &[onnx("LogSoftmax", 1, |node| softmax::along_axis(node, |axis| LogSoftmax { axis }.into()))];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        softmax::infer(self.axis, inputs)
    }

    /// The greatest element is taken off first, so that no power overflows.
    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let x = &inputs[0];
        let (along, acc) = (Along::new(&x.shape, &[self.axis]), accumulator(x.dtype));
        let read = |element: &[Expr]| operand(0, x, acc, element);
        let shifted = |element: &[Expr]| read(element) - along.result(0);
        Meaning::Compute(Definition::of(vec![
            along.fold(acc, Fold::Max, read),
            along
                .fold(acc, Fold::Sum, |element| Expr::unary(Unary::Exp, shifted(element)))
                .finished(acc, &Expr::unary(Unary::Log, Expr::Folded)),
            along.map(x.dtype, |element| stored(shifted(element) - along.result(1), acc, x.dtype)),
        ]))
    }

    fn before_transpose(&self, permutation: &[usize]) -> Option<(LogSoftmax, Vec<usize>)> {
        let axis = *permutation.get(self.axis)?;
        Some((LogSoftmax { axis }, permutation.to_vec()))
    }
}
