use loops::{Compare, Expr};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// `a < b`; false where one is NaN.
    Less = "less", [onnx("Less", 7, |node| node.direct(Less))], check::number_to_bool,
    |_, _, [a, b]| Expr::compare(Compare::Lt, a, b)
}
