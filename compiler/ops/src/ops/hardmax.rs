use ir::{DType, OpError, TensorType};
use loops::{Compare, Definition, Expr, Fold};
use serde::{Deserialize, Serialize};

use super::softmax;
use crate::along::{Along, operand};
use crate::{Meaning, Onnx, Op, onnx};

/// 1 at the first greatest element along an axis, 0 elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hardmax {
    pub axis: usize,
}

impl Op for Hardmax {
    const NAME: &'static str = "hardmax";
    const ONNX: &'static [Onnx] =
        &[onnx("Hardmax", 1, |node| softmax::along_axis(node, |axis| Hardmax { axis }.into()))];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        softmax::infer(self.axis, inputs)
    }

    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let x = &inputs[0];
        let along = Along::new(&x.shape, &[self.axis]);
        let read = |element: &[Expr]| operand(0, x, x.dtype, element);
        let place = |element: &[Expr]| {
            let greatest = Expr::compare(Compare::Eq, read(element), along.result(0));
            Expr::select(greatest, element[self.axis].clone(), Expr::int(x.shape[self.axis] as i64))
        };
        let hit = |element: &[Expr]| {
            let here = Expr::compare(Compare::Eq, element[self.axis].clone(), along.result(1));
            Expr::select(here, Expr::constant(x.dtype, 1.0), Expr::constant(x.dtype, 0.0))
        };
        Meaning::Compute(Definition::of(vec![
            along.fold(x.dtype, Fold::Max, read),
            along.fold(DType::I64, Fold::Min, place),
            along.map(x.dtype, hit),
        ]))
    }
}
