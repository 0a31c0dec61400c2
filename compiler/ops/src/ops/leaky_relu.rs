use loops::{Compare, Expr};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// `x` where it is not negative, else `alpha · x`.
    LeakyRelu { alpha: 0.01 } = "leaky_relu",
    [onnx("LeakyRelu", 6, |node| node.direct(LeakyRelu::from_onnx(node)?))],
    check::same_float,
    |op, dtype, [x]| {
        let slope = x.clone() * Expr::constant(dtype, op.alpha.wide());
        Expr::select(Expr::compare(Compare::Ge, x.clone(), Expr::constant(dtype, 0.0)), x, slope)
    }
}
