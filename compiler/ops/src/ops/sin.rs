use loops::{Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// The sine, of radians.
    Sin = "sin", [onnx("Sin", 7, |node| node.direct(Sin))], check::same_float,
    |_, _, [x]| Expr::unary(Unary::Sin, x)
}
