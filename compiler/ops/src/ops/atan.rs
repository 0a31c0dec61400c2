use loops::{Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// The inverse tangent, in radians.
    Atan = "atan", [onnx("Atan", 7, |node| node.direct(Atan))], check::same_float,
    |_, _, [x]| Expr::unary(Unary::Atan, x)
}
