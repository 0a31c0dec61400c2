use loops::{Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// `-x`.
    Neg = "neg", [onnx("Neg", 6, |node| node.direct(Neg))], check::same_signed,
    |_, _, [x]| Expr::unary(Unary::Neg, x)
}
