use loops::{Compare, Expr};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// `a = b`; false where one is NaN.
    Equal = "equal", [onnx("Equal", 7, |node| node.direct(Equal))], check::any_to_bool,
    |_, _, [a, b]| Expr::compare(Compare::Eq, a, b)
}
