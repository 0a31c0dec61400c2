use loops::{Compare, Expr};

use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// `x` moved towards 0 by `bias` where it is outside `±lambd`, else 0.
    Shrink { lambd: 0.5, bias: 0.0 } = "shrink",
    [onnx("Shrink", 9, |node| node.direct(Shrink::from_onnx(node)?))],
    check::same_number,
    |op, dtype, [x]| {
        let constant = |value| Expr::constant(dtype, value);
        let (lambd, bias) = (op.lambd.wide(), op.bias.wide());
        let above = Expr::compare(Compare::Gt, x.clone(), constant(lambd));
        let below = Expr::compare(Compare::Lt, x.clone(), constant(-lambd));
        let inner = Expr::select(above, x.clone() - constant(bias), constant(0.0));
        Expr::select(below, x + constant(bias), inner)
    }
}
