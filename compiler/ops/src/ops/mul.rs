use ir::{DType, OpError};
use loops::Expr;
use serde::{Deserialize, Serialize};

use crate::{Elementwise, Onnx, check, onnx};

/// `a · b`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mul;

impl Elementwise for Mul {
    const NAME: &'static str = "mul";
    const ONNX: &'static [Onnx] = &[onnx("Mul", 7, |node| node.direct(Mul))];
    const ARITY: (usize, usize) = (2, 2);

    fn result(&self, inputs: &[DType]) -> Result<DType, OpError> {
        check::same_number(inputs)
    }

    fn body(&self, args: &[Expr], _: &[DType]) -> Expr {
        args[0].clone() * args[1].clone()
    }
}
