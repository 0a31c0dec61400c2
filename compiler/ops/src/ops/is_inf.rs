use ir::{DType, OpError};
use loops::{Compare, Expr, Unary};
use serde::{Deserialize, Serialize};

use crate::{Elementwise, Onnx, check, onnx};

/// Whether `x` is infinite, on the sides that are asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IsInf {
    pub negative: bool,
    pub positive: bool,
}

impl Default for IsInf {
    fn default() -> IsInf {
        IsInf { negative: true, positive: true }
    }
}

impl Elementwise for IsInf {
    const NAME: &'static str = "is_inf";
    const ONNX: &'static [Onnx] = &[onnx("IsInf", 10, |node| {
        let negative = node.int("detect_negative")?.unwrap_or(1) != 0;
        let positive = node.int("detect_positive")?.unwrap_or(1) != 0;
        node.direct(IsInf { negative, positive })
    })];
    const ARITY: (usize, usize) = (1, 1);

    fn result(&self, inputs: &[DType]) -> Result<DType, OpError> {
        check::float_to_bool(inputs)
    }

    fn body(&self, args: &[Expr], inputs: &[DType]) -> Expr {
        let x = args[0].clone();
        let infinite = Expr::unary(Unary::IsInf, x.clone());
        let side = |compare| Expr::compare(compare, x, Expr::constant(inputs[0], 0.0));
        match (self.negative, self.positive) {
            (true, true) => infinite,
            (true, false) => infinite.and(side(Compare::Lt)),
            (false, true) => infinite.and(side(Compare::Gt)),
            (false, false) => Expr::constant(DType::Bool, 0.0),
        }
    }
}
