use loops::{Binary, Expr};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// The logical exclusive or of bools, the bitwise one of integers.
    Xor = "xor",
    [onnx("Xor", 7, |node| node.direct(Xor)), onnx("BitwiseXor", 18, |node| node.direct(Xor))],
    check::same_bits,
    |_, _, [a, b]| Expr::binary(Binary::Xor, a, b)
}
