use loops::{Expr, Unary};

use crate::elementwise::elementwise;
use crate::ops::softplus::Softplus;
use crate::{check, onnx};

elementwise! {
    /// `x · tanh(ln(1 + e^x))`, the logarithm as in `softplus`.
    Mish = "mish", [onnx("Mish", 18, |node| node.direct(Mish))], check::same_float,
    |_, dtype, [x]| {
        let softplus = Softplus.body(std::slice::from_ref(&x), &[dtype]);
        x * Expr::unary(Unary::Tanh, softplus)
    }
}
