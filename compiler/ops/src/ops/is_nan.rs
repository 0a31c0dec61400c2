use loops::{Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// Whether `x` is not a number.
    IsNan = "is_nan", [onnx("IsNaN", 9, |node| node.direct(IsNan))], check::float_to_bool,
    |_, _, [x]| Expr::unary(Unary::IsNan, x)
}
