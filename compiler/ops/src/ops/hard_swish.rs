use loops::Expr;

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// `x · clip(x / 6 + 1/2, 0, 1)`: the piecewise linear stand-in for `swish`.
    HardSwish = "hard_swish", [onnx("HardSwish", 14, |node| node.direct(HardSwish))], check::same_float,
    |_, dtype, [x]| {
        let constant = |value| Expr::constant(dtype, value);
        let gate = x.clone() * constant(1.0 / 6.0) + constant(0.5);
        x * constant(1.0).min(constant(0.0).max(gate))
    }
}
