use loops::{Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// `x · sigmoid(alpha · x)`; with `alpha` 1 also called SiLU.
    Swish { alpha: 1.0 } = "swish",
    [onnx("Swish", 24, |node| node.direct(Swish::from_onnx(node)?))],
    check::same_float,
    |op, dtype, [x]| {
        let constant = |value| Expr::constant(dtype, value);
        let decay = Expr::unary(Unary::Exp, x.clone() * constant(-op.alpha.wide()));
        x / (constant(1.0) + decay)
    }
}
