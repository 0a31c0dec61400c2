use loops::{Compare, Expr};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// `x` where it is above `alpha`, else 0.
    ThresholdedRelu { alpha: 1.0 } = "thresholded_relu",
    [onnx("ThresholdedRelu", 10, |node| node.direct(ThresholdedRelu::from_onnx(node)?))],
    check::same_float,
    |op, dtype, [x]| {
        let above = Expr::compare(Compare::Gt, x.clone(), Expr::constant(dtype, op.alpha.wide()));
        Expr::select(above, x, Expr::constant(dtype, 0.0))
    }
}
