use loops::{Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// The lesser one; a NaN among them is the result.
    Min = "min", [onnx("Min", 6, |node| node.chain(Min))], check::same_number,
    |_, dtype, [a, b]| {
        let lesser = a.clone().min(b);
        if !dtype.is_float() {
            return lesser;
        }
        // `Expr::min` gives its second operand where one is NaN: only the first is left to ask.
        Expr::select(Expr::unary(Unary::IsNan, a.clone()), a, lesser)
    }
}
