use loops::{Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// The nearest integer, ties to even.
    Round = "round", [onnx("Round", 11, |node| node.direct(Round))], check::same_float,
    |_, _, [x]| Expr::unary(Unary::Round, x)
}
