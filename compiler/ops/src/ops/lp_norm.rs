use ir::{OpError, TensorType};
use loops::{Compare, Definition, Expr, Fold, Unary};
use serde::{Deserialize, Serialize};

use super::softmax;
use crate::along::{Along, accumulator, operand, stored};
use crate::{Meaning, Onnx, Op, onnx, shape};

/// `x / norm`, the norm taken along an axis; 0 where the norm is 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LpNorm {
    pub axis: usize,
    pub norm: Norm,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// `Σ |x|`.
    L1,
    /// `√(Σ x²)`.
    #[default]
    L2,
}

impl Op for LpNorm {
    const NAME: &'static str = "lp_norm";
    const ONNX: &'static [Onnx] = &[onnx("LpNormalization", 1, |node| {
        let axis = shape::axis(node.int("axis")?.unwrap_or(-1), node.ty(node.input(0)?).rank())?;
        let norm = match node.int("p")?.unwrap_or(2) {
            1 => Norm::L1,
            2 => Norm::L2,
            other => return Err(OpError::new(format!("`p` is {other}; 1 and 2 are known"))),
        };
        node.direct(LpNorm { axis, norm })
    })];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        softmax::infer(self.axis, inputs)
    }

    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let x = &inputs[0];
        let (along, acc) = (Along::new(&x.shape, &[self.axis]), accumulator(x.dtype));
        let read = |element: &[Expr]| operand(0, x, acc, element);
        let norm = match self.norm {
            Norm::L1 => along.fold(acc, Fold::Sum, |element| Expr::unary(Unary::Abs, read(element))),
            Norm::L2 => along
                .fold(acc, Fold::Sum, |element| read(element) * read(element))
                .finished(acc, &Expr::unary(Unary::Sqrt, Expr::Folded)),
        };
        let zero = || Expr::constant(acc, 0.0);
        let quotient = |element: &[Expr]| {
            let empty = Expr::compare(Compare::Eq, along.result(0), zero());
            stored(Expr::select(empty, zero(), read(element) / along.result(0)), acc, x.dtype)
        };
        Meaning::Compute(Definition::of(vec![norm, along.map(x.dtype, quotient)]))
    }
}
