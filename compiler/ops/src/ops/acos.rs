use loops::{Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// The inverse cosine, in radians.
    Acos = "acos", [onnx("Acos", 7, |node| node.direct(Acos))], check::same_float,
    |_, _, [x]| Expr::unary(Unary::Acos, x)
}
