use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// `a / b`; integers truncate towards zero.
    Div = "div", [onnx("Div", 7, |node| node.direct(Div))], check::same_number,
    |_, _, [a, b]| a / b
}
