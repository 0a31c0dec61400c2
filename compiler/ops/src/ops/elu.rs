use loops::{Compare, Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// `x` where it is positive, else `alpha · (e^x - 1)`.
    Elu { alpha: 1.0 } = "elu",
    [onnx("Elu", 6, |node| node.direct(Elu::from_onnx(node)?))],
    check::same_float,
    |op, dtype, [x]| {
        let constant = |value| Expr::constant(dtype, value);
        let bend = constant(op.alpha.wide()) * (Expr::unary(Unary::Exp, x.clone()) - constant(1.0));
        Expr::select(Expr::compare(Compare::Gt, x.clone(), constant(0.0)), x, bend)
    }
}
