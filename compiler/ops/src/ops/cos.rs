use loops::{Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// The cosine, of radians.
    Cos = "cos", [onnx("Cos", 7, |node| node.direct(Cos))], check::same_float,
    |_, _, [x]| Expr::unary(Unary::Cos, x)
}
