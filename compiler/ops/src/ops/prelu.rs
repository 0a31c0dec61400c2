use loops::{Compare, Expr};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// `x` where it is not negative, else `slope · x`; operands `x` and `slope`.
    Prelu = "prelu", [onnx("PRelu", 7, |node| node.direct(Prelu))], check::same_number,
    |_, dtype, [x, slope]| {
        let negative = Expr::compare(Compare::Lt, x.clone(), Expr::constant(dtype, 0.0));
        Expr::select(negative, x.clone() * slope, x)
    }
}
