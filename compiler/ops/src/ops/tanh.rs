use loops::{Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// The hyperbolic tangent.
    Tanh = "tanh", [onnx("Tanh", 6, |node| node.direct(Tanh))], check::same_float,
    |_, _, [x]| Expr::unary(Unary::Tanh, x)
}
