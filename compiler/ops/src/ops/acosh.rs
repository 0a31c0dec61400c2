use loops::{Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// The inverse hyperbolic cosine.
    Acosh = "acosh", [onnx("Acosh", 9, |node| node.direct(Acosh))], check::same_float,
    |_, _, [x]| Expr::unary(Unary::Acosh, x)
}
