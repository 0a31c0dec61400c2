use loops::{Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// The inverse hyperbolic tangent.
    Atanh = "atanh", [onnx("Atanh", 9, |node| node.direct(Atanh))], check::same_float,
    |_, _, [x]| Expr::unary(Unary::Atanh, x)
}
