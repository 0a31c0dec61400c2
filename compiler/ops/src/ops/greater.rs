use loops::{Compare, Expr};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// `a > b`; false where one is NaN.
    Greater = "greater", [onnx("Greater", 7, |node| node.direct(Greater))], check::number_to_bool,
    |_, _, [a, b]| Expr::compare(Compare::Gt, a, b)
}
