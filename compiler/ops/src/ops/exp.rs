use loops::{Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// `e^x`.
    Exp = "exp", [onnx("Exp", 6, |node| node.direct(Exp))], check::same_float,
    |_, _, [x]| Expr::unary(Unary::Exp, x)
}
