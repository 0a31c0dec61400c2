use loops::Expr;

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// `1 / x`.
    Reciprocal = "reciprocal", [onnx("Reciprocal", 6, |node| node.direct(Reciprocal))], check::same_float,
    |_, dtype, [x]| Expr::constant(dtype, 1.0) / x
}
