use loops::{Binary, Expr};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// The logical and of bools, the bitwise one of integers.
    And = "and",
    [onnx("And", 7, |node| node.direct(And)), onnx("BitwiseAnd", 18, |node| node.direct(And))],
    check::same_bits,
    |_, _, [a, b]| Expr::binary(Binary::And, a, b)
}
