use loops::{Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// The square root.
    Sqrt = "sqrt", [onnx("Sqrt", 6, |node| node.direct(Sqrt))], check::same_float,
    |_, _, [x]| Expr::unary(Unary::Sqrt, x)
}
