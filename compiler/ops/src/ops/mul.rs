use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// `a · b`.
    Mul = "mul", [onnx("Mul", 7, |node| node.direct(Mul))], check::same_number,
    |_, _, [a, b]| a * b
}
