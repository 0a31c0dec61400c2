use loops::{Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// `ln(1 + e^x)`, written so that nothing overflows.
    Softplus = "softplus", [onnx("Softplus", 1, |node| node.direct(Softplus))], check::same_float,
    |_, dtype, [x]| {
        let zero = Expr::constant(dtype, 0.0);
        let decay = Expr::unary(Unary::Exp, Expr::unary(Unary::Neg, Expr::unary(Unary::Abs, x.clone())));
        zero.max(x) + Expr::unary(Unary::Log, Expr::constant(dtype, 1.0) + decay)
    }
}
