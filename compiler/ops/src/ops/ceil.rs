use loops::{Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// The least integer that is not below `x`.
    Ceil = "ceil", [onnx("Ceil", 6, |node| node.direct(Ceil))], check::same_float,
    |_, _, [x]| Expr::unary(Unary::Ceil, x)
}
