use ir::{DType, OpError};
use loops::Expr;
use serde::{Deserialize, Serialize};

use crate::{Elementwise, Onnx, check, onnx};

/// `max(x, 0)`; a NaN stays one.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Relu;

impl Elementwise for Relu {
    const NAME: &'static str = "relu";
    const ONNX: &'static [Onnx] = &[onnx("Relu", 6, |node| node.direct(Relu))];
    const ARITY: (usize, usize) = (1, 1);

    fn result(&self, inputs: &[DType]) -> Result<DType, OpError> {
        check::same_number(inputs)
    }

    fn body(&self, args: &[Expr], inputs: &[DType]) -> Expr {
        // The constant first: `Max` gives its second operand where one is NaN.
        Expr::constant(inputs[0], 0.0).max(args[0].clone())
    }
}
