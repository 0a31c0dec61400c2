use ir::{DType, OpError};
use loops::Expr;
use serde::{Deserialize, Serialize};

use super::div::Div;
use crate::{Elementwise, Onnx, check, onnx};

/// `a + b`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Add;

impl Elementwise for Add {
    const NAME: &'static str = "add";
    const ONNX: &'static [Onnx] = &[
        onnx("Add", 7, |node| node.direct(Add)),
        onnx("Sum", 6, |node| node.chain(Add)),
        onnx("Mean", 6, |node| {
            let sum = node.chain(Add)?[0];
            let count = node.scalar(node.ty(sum).dtype, node.inputs.len() as f64);
            Ok(vec![node.apply(Div, &[sum, count])?])
        }),
    ];
    const ARITY: (usize, usize) = (2, 2);

    fn result(&self, inputs: &[DType]) -> Result<DType, OpError> {
        check::same_number(inputs)
    }

    fn body(&self, args: &[Expr], _: &[DType]) -> Expr {
        args[0].clone() + args[1].clone()
    }
}
