use loops::{Compare, Expr};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// `a ≤ b`; false where one is NaN.
    LessOrEqual = "less_or_equal",
    [onnx("LessOrEqual", 12, |node| node.direct(LessOrEqual))],
    check::number_to_bool,
    |_, _, [a, b]| Expr::compare(Compare::Le, a, b)
}
