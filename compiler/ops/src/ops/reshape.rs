use ir::{OpError, TensorType};
use serde::{Deserialize, Serialize};

use crate::{Meaning, Onnx, Op, onnx, shape};

/// The same elements in row-major order under another shape.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Reshape {
    pub shape: Vec<usize>,
}

impl Reshape {
    /// ONNX `Reshape`'s target: 0 copies the operand's extent (unless `allow_zero`), one -1 takes what is left.
    fn resolve(target: &[i64], x: &TensorType, allow_zero: bool) -> Result<Vec<usize>, OpError> {
        let mut dims = Vec::with_capacity(target.len());
        for (axis, &extent) in target.iter().enumerate() {
            dims.push(match extent {
                0 if !allow_zero => *x.shape.get(axis).ok_or_else(|| {
                    OpError::new(format!("extent 0 at axis {axis} has nothing to copy from {x}"))
                })?,
                -1 => usize::MAX,
                e => usize::try_from(e).map_err(|_| OpError::new(format!("extent {e} at axis {axis}")))?,
            });
        }
        let known: usize = dims.iter().filter(|&&d| d != usize::MAX).try_fold(1usize, |n, &d| n.checked_mul(d)).unwrap_or(0);
        match dims.iter().filter(|&&d| d == usize::MAX).count() {
            0 => (),
            1 if known > 0 && x.elements().is_multiple_of(known) => {
                dims.iter_mut().filter(|d| **d == usize::MAX).for_each(|d| *d = x.elements() / known);
            }
            1 => return Err(OpError::new(format!("{x} does not divide into {target:?}"))),
            _ => return Err(OpError::new(format!("more than one -1 in {target:?}"))),
        }
        Ok(dims)
    }
}

impl Op for Reshape {
    const NAME: &'static str = "reshape";
    const ONNX: &'static [Onnx] = &[onnx("Reshape", 5, |node| {
        let x = node.input(0)?;
        let target = node.constant(1)?.to_i64s();
        let allow_zero = node.int("allowzero")?.unwrap_or(0) != 0;
        let shape = Reshape::resolve(&target, node.ty(x), allow_zero)?;
        Ok(vec![node.apply(Reshape { shape }, &[x])?])
    })];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = shape::inputs(inputs)?;
        let elements = self.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        if elements != Some(x.elements()) {
            return Err(OpError::new(format!("{x} does not reshape to {:?}", self.shape)));
        }
        Ok(vec![x.with_shape(self.shape.clone())])
    }

    fn meaning(&self, _: &[TensorType]) -> Meaning {
        Meaning::Reshape
    }
}
