use loops::{Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// The greatest integer that is not above `x`.
    Floor = "floor", [onnx("Floor", 6, |node| node.direct(Floor))], check::same_float,
    |_, _, [x]| Expr::unary(Unary::Floor, x)
}
