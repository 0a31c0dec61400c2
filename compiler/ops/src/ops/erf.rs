use loops::{Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// The error function.
    Erf = "erf", [onnx("Erf", 9, |node| node.direct(Erf))], check::same_float,
    |_, _, [x]| Expr::unary(Unary::Erf, x)
}
