use loops::{Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// The inverse hyperbolic sine.
    Asinh = "asinh", [onnx("Asinh", 9, |node| node.direct(Asinh))], check::same_float,
    |_, _, [x]| Expr::unary(Unary::Asinh, x)
}
