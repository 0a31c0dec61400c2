use loops::{Compare, Expr};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// `a ≥ b`; false where one is NaN.
    GreaterOrEqual = "greater_or_equal",
    [onnx("GreaterOrEqual", 12, |node| node.direct(GreaterOrEqual))],
    check::number_to_bool,
    |_, _, [a, b]| Expr::compare(Compare::Ge, a, b)
}
