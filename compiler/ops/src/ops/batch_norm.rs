use ir::{Float, OpError, TensorType};
use loops::{Definition, Expr, Source, Stage, Unary};
use serde::{Deserialize, Serialize};

use crate::along::{accumulator, operand, stored};
use crate::shape::{self, Layout};
use crate::{Import, Meaning, Onnx, Op, check, onnx};

/// `(x - mean) / √(variance + epsilon) · scale + bias` with given statistics.
///
/// Operands `x`, then `scale`, `bias`, `mean` and `variance`, one element per channel each.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BatchNorm {
    pub epsilon: Float,
    pub layout: Layout,
}

impl Op for BatchNorm {
    const NAME: &'static str = "batch_norm";
    const ONNX: &'static [Onnx] = &[onnx("BatchNormalization", 7, |node| {
        inference_only(node)?;
        let epsilon = Float(node.float("epsilon")?.unwrap_or(1e-5));
        node.direct(BatchNorm { epsilon, layout: Layout::ChannelsFirst })
    })];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x, parameters @ ..] = shape::inputs::<5>(inputs)?;
        if x.rank() < 2 {
            return Err(OpError::new(format!("takes a batch of channels, got {x}")));
        }
        check::require(x.dtype, x.dtype.is_float(), "a float type")?;
        let channels = x.shape[self.layout.axes(x.rank()).channel];
        match parameters.iter().find(|ty| ty.shape != [channels] || !ty.dtype.is_float()) {
            Some(odd) => Err(OpError::new(format!("parameter {odd} does not fit {channels} channels"))),
            None => Ok(vec![x.clone()]),
        }
    }

    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let x = &inputs[0];
        let acc = accumulator(x.dtype);
        let element: Vec<Expr> = (0..x.rank()).map(Expr::Axis).collect();
        let channel = &element[self.layout.axes(x.rank()).channel];
        let parameter = |k: usize| {
            let read = Expr::read(Source::Operand(k), [channel.clone()]);
            stored(read, inputs[k].dtype, acc)
        };
        let deviation = Expr::unary(Unary::Sqrt, parameter(4) + Expr::constant(acc, self.epsilon.wide()));
        let centred = operand(0, x, acc, &element) - parameter(3);
        let value = centred / deviation * parameter(1) + parameter(2);
        let stage = Stage::map(x.dtype, x.shape.clone(), stored(value, acc, x.dtype));
        Meaning::Compute(Definition::single(stage))
    }

    fn in_layout(&self, layout: Layout) -> Option<BatchNorm> {
        Some(BatchNorm { layout, ..self.clone() })
    }
}

/// Training has other statistics, and results beside the first; opset 7 and 8 may have statistics per element.
fn inference_only(node: &Import) -> Result<(), OpError> {
    let trains =
        node.int("training_mode")?.unwrap_or(0) != 0 || node.outputs.iter().skip(1).any(|&read| read);
    if trains {
        return Err(OpError::new("is in training mode; only inference is supported"));
    }
    match node.int("spatial")? {
        Some(0) => Err(OpError::new("`spatial` is 0; only statistics per channel are supported")),
        _ => Ok(()),
    }
}
