use ir::{DType, OpError};
use loops::Expr;
use serde::{Deserialize, Serialize};

use crate::{Elementwise, Onnx, check, onnx};

/// `if condition { a } else { b }`; operands `condition` (bool), `a` and `b`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Select;

impl Elementwise for Select {
    const NAME: &'static str = "select";
    const ONNX: &'static [Onnx] = &[onnx("Where", 9, |node| node.direct(Select))];
    const ARITY: (usize, usize) = (3, 3);

    fn result(&self, inputs: &[DType]) -> Result<DType, OpError> {
        check::require(inputs[0], inputs[0] == DType::Bool, "a bool condition")?;
        check::same(&inputs[1..])
    }

    fn body(&self, args: &[Expr], _: &[DType]) -> Expr {
        Expr::select(args[0].clone(), args[1].clone(), args[2].clone())
    }
}
