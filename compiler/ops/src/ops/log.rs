use loops::{Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// The natural logarithm.
    Log = "log", [onnx("Log", 6, |node| node.direct(Log))], check::same_float,
    |_, _, [x]| Expr::unary(Unary::Log, x)
}
