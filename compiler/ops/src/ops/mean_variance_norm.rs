use ir::{OpError, TensorType};
use loops::{Definition, Expr, Fold, Unary};
use serde::{Deserialize, Serialize};

use super::layer_norm::infer_norm;
use crate::along::{Along, accumulator, operand, stored};
use crate::{Meaning, Onnx, Op, onnx, shape};

/// `(x - mean) / (deviation + 1e-9)`, mean and standard deviation taken along `axes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MeanVarianceNorm {
    /// Sorted.
    pub axes: Vec<usize>,
}

/// Added to the deviation; ONNX has it in the operator's function body.
const EPSILON: f64 = 1e-9;

impl Op for MeanVarianceNorm {
    const NAME: &'static str = "mean_variance_norm";
    const ONNX: &'static [Onnx] = &[onnx("MeanVarianceNormalization", 9, |node| {
        let axes = node.ints("axes")?.unwrap_or_else(|| vec![0, 2, 3]);
        let axes = shape::axes(&axes, node.ty(node.input(0)?).rank())?;
        node.direct(MeanVarianceNorm { axes })
    })];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        Ok(vec![infer_norm(&self.axes, inputs, 1)?.clone()])
    }

    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let x = &inputs[0];
        let (along, acc) = (Along::new(&x.shape, &self.axes), accumulator(x.dtype));
        let constant = |value| Expr::constant(acc, value);
        let centred = |element: &[Expr]| operand(0, x, acc, element) - along.result(0);
        let mean = Expr::Folded / constant(along.count() as f64);
        let deviation = Expr::unary(Unary::Sqrt, mean.clone()) + constant(EPSILON);
        Meaning::Compute(Definition::of(vec![
            along.fold(acc, Fold::Sum, |element| operand(0, x, acc, element)).finished(acc, &mean),
            along
                .fold(acc, Fold::Sum, |element| centred(element) * centred(element))
                .finished(acc, &(constant(1.0) / deviation)),
            along.map(x.dtype, |element| stored(centred(element) * along.result(1), acc, x.dtype)),
        ]))
    }
}
