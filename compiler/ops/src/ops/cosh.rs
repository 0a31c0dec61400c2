use loops::{Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// The hyperbolic cosine.
    Cosh = "cosh", [onnx("Cosh", 9, |node| node.direct(Cosh))], check::same_float,
    |_, _, [x]| Expr::unary(Unary::Cosh, x)
}
