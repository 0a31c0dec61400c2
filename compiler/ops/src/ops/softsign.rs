use loops::{Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// `x / (1 + |x|)`.
    Softsign = "softsign", [onnx("Softsign", 1, |node| node.direct(Softsign))], check::same_float,
    |_, dtype, [x]| x.clone() / (Expr::constant(dtype, 1.0) + Expr::unary(Unary::Abs, x))
}
