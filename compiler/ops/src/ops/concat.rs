use ir::{OpError, TensorType};
use serde::{Deserialize, Serialize};

use crate::{Meaning, Onnx, Op, check, onnx, shape};

/// The operands one after the other along an axis.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Concat {
    pub axis: usize,
}

impl Op for Concat {
    const NAME: &'static str = "concat";
    const ONNX: &'static [Onnx] = &[onnx("Concat", 4, |node| {
        let operands = node.all_inputs()?;
        let rank = node.ty(node.input(0)?).rank();
        let axis = node.int("axis")?.ok_or_else(|| OpError::new("attribute `axis` is missing"))?;
        let axis = shape::axis(axis, rank)?;
        Ok(vec![node.apply(Concat { axis }, &operands)?])
    })];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let Some(first) = inputs.first() else {
            return Err(OpError::new("takes at least one input"));
        };
        check::same(&inputs.iter().map(|ty| ty.dtype).collect::<Vec<_>>())?;
        if self.axis >= first.rank() {
            return Err(OpError::new(format!("axis {} is outside {first}", self.axis)));
        }
        let mut result = first.clone();
        for ty in &inputs[1..] {
            let fits = |(axis, (a, b)): (usize, (&usize, &usize))| axis == self.axis || a == b;
            if ty.rank() != first.rank() || !ty.shape.iter().zip(&first.shape).enumerate().all(fits) {
                return Err(OpError::new(format!("{ty} and {first} differ beside axis {}", self.axis)));
            }
            let sum = result.shape[self.axis].checked_add(ty.shape[self.axis]);
            result.shape[self.axis] = sum.ok_or_else(|| OpError::new("the result is too long"))?;
        }
        Ok(vec![result])
    }

    fn meaning(&self, _: &[TensorType]) -> Meaning {
        Meaning::Concat { axis: self.axis }
    }

    fn before_transpose(&self, permutation: &[usize]) -> Option<(Concat, Vec<usize>)> {
        let axis = *permutation.get(self.axis)?;
        Some((Concat { axis }, permutation.to_vec()))
    }
}
