use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// `a - b`.
    Sub = "sub", [onnx("Sub", 7, |node| node.direct(Sub))], check::same_number,
    |_, _, [a, b]| a - b
}
