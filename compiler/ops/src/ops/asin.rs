use loops::{Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// The inverse sine, in radians.
    Asin = "asin", [onnx("Asin", 7, |node| node.direct(Asin))], check::same_float,
    |_, _, [x]| Expr::unary(Unary::Asin, x)
}
