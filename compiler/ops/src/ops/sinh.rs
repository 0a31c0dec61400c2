use loops::{Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// The hyperbolic sine.
    Sinh = "sinh", [onnx("Sinh", 9, |node| node.direct(Sinh))], check::same_float,
    |_, _, [x]| Expr::unary(Unary::Sinh, x)
}
