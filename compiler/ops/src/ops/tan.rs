use loops::{Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// The tangent, of radians.
    Tan = "tan", [onnx("Tan", 7, |node| node.direct(Tan))], check::same_float,
    |_, _, [x]| Expr::unary(Unary::Tan, x)
}
