use loops::{Expr, Unary};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// The greater one; a NaN among them is the result.
    Max = "max", [onnx("Max", 6, |node| node.chain(Max))], check::same_number,
    |_, dtype, [a, b]| {
        let greater = a.clone().max(b);
        if !dtype.is_float() {
            return greater;
        }
        // `Expr::max` gives its second operand where one is NaN: only the first is left to ask.
        Expr::select(Expr::unary(Unary::IsNan, a.clone()), a, greater)
    }
}
