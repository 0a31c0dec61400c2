use loops::{Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// `|x|`; the most negative integer stays itself.
    Abs = "abs", [onnx("Abs", 6, |node| node.direct(Abs))], check::same_number,
    |_, _, [x]| Expr::unary(Unary::Abs, x)
}
