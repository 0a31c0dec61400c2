use loops::Expr;

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// `clip(alpha · x + beta, 0, 1)`.
    HardSigmoid { alpha: 0.2, beta: 0.5 } = "hard_sigmoid",
    [onnx("HardSigmoid", 6, |node| node.direct(HardSigmoid::from_onnx(node)?))],
    check::same_float,
    |op, dtype, [x]| {
        let constant = |value| Expr::constant(dtype, value);
        let line = x * constant(op.alpha.wide()) + constant(op.beta.wide());
        constant(1.0).min(constant(0.0).max(line))
    }
}
