use loops::{Compare, Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// `gamma` times `x` where that is positive, else times `alpha · (e^x - 1)`.
    Selu { alpha: 1.673_263_2, gamma: 1.050_701 } = "selu",
    [onnx("Selu", 6, |node| node.direct(Selu::from_onnx(node)?))],
    check::same_float,
    |op, dtype, [x]| {
        let constant = |value| Expr::constant(dtype, value);
        let bend = constant(op.alpha.wide()) * (Expr::unary(Unary::Exp, x.clone()) - constant(1.0));
        constant(op.gamma.wide()) * Expr::select(Expr::compare(Compare::Gt, x.clone(), constant(0.0)), x, bend)
    }
}
