use loops::{Compare, Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// `x` where it is positive, else `alpha · (e^(x / alpha) - 1)`.
    Celu { alpha: 1.0 } = "celu",
    [onnx("Celu", 12, |node| node.direct(Celu::from_onnx(node)?))],
    check::same_float,
    |op, dtype, [x]| {
        let constant = |value| Expr::constant(dtype, value);
        let scaled = Expr::unary(Unary::Exp, x.clone() / constant(op.alpha.wide()));
        let bend = constant(op.alpha.wide()) * (scaled - constant(1.0));
        Expr::select(Expr::compare(Compare::Gt, x.clone(), constant(0.0)), x, bend)
    }
}
