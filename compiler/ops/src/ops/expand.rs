use ir::{OpError, TensorType};
use serde::{Deserialize, Serialize};

use crate::{Meaning, Onnx, Op, meaning, onnx, shape};

/// The operand broadcast to a shape.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Expand {
    pub shape: Vec<usize>,
}

impl Op for Expand {
    const NAME: &'static str = "expand";
    const ONNX: &'static [Onnx] = &[onnx("Expand", 8, |node| {
        let x = node.input(0)?;
        let target = node.constant(1)?.to_i64s();
        let target = target.into_iter().map(|n| shape::extent(n, "shape")).collect::<Result<Vec<_>, _>>()?;
        let shape = shape::broadcast(&[&node.ty(x).shape, &target])?;
        if shape == node.ty(x).shape { Ok(vec![x]) } else { Ok(vec![node.apply(Expand { shape }, &[x])?]) }
    })];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = shape::inputs(inputs)?;
        if shape::broadcast(&[&x.shape, &self.shape])? != self.shape {
            return Err(OpError::new(format!("{x} does not broadcast to {:?}", self.shape)));
        }
        Ok(vec![x.with_shape(self.shape.clone())])
    }

    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        Meaning::View(vec![meaning::broadcast_index(&inputs[0].shape, self.shape.len())])
    }

    fn before_transpose(&self, permutation: &[usize]) -> Option<(Expand, Vec<usize>)> {
        let shape = shape::before_transpose(&self.shape, permutation)?;
        Some((Expand { shape }, permutation.to_vec()))
    }
}
