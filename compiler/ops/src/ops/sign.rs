use loops::{Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// -1, 0 or 1; a NaN stays one.
    Sign = "sign", [onnx("Sign", 9, |node| node.direct(Sign))], check::same_number,
    |_, _, [x]| Expr::unary(Unary::Sign, x)
}
