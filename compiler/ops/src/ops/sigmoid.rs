use loops::{Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// `1 / (1 + e^-x)`.
    Sigmoid = "sigmoid", [onnx("Sigmoid", 6, |node| node.direct(Sigmoid))], check::same_float,
    |_, dtype, [x]| {
        let one = Expr::constant(dtype, 1.0);
        one.clone() / (one + Expr::unary(Unary::Exp, Expr::unary(Unary::Neg, x)))
    }
}
