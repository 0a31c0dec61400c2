use loops::{Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// The logical complement of bools, the bitwise one of integers.
    Not = "not",
    [onnx("Not", 1, |node| node.direct(Not)), onnx("BitwiseNot", 18, |node| node.direct(Not))],
    check::same_bits,
    |_, _, [x]| Expr::unary(Unary::Not, x)
}
