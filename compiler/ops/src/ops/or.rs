use loops::{Binary, Expr};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// The logical or of bools, the bitwise one of integers.
    Or = "or",
    [onnx("Or", 7, |node| node.direct(Or)), onnx("BitwiseOr", 18, |node| node.direct(Or))],
    check::same_bits,
    |_, _, [a, b]| Expr::binary(Binary::Or, a, b)
}
