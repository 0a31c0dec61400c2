use ir::{OpError, TensorType};
use loops::{Definition, Expr, Source, Stage};
use serde::{Deserialize, Serialize};

use crate::{Meaning, Onnx, Op, onnx, shape};

/// One element of the first operand for each of the second, an index tensor: where it says along the axis, and at the
/// index tensor's own place along the others.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GatherElements {
    pub axis: usize,
}

impl Op for GatherElements {
    const NAME: &'static str = "gather_elements";
    const ONNX: &'static [Onnx] = &[onnx("GatherElements", 11, |node| {
        let rank = node.ty(node.input(0)?).rank();
        let axis = shape::axis(node.int("axis")?.unwrap_or(0), rank)?;
        node.direct(GatherElements { axis })
    })];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x, indices] = shape::inputs(inputs)?;
        if !indices.dtype.is_int() {
            return Err(OpError::new(format!("indices of type {indices}, not integers")));
        }
        if self.axis >= x.rank() || indices.rank() != x.rank() {
            return Err(OpError::new(format!("indices {indices} along axis {} do not fit {x}", self.axis)));
        }
        let inside = |axis: usize| match axis == self.axis {
            true => x.shape[axis] > 0 || indices.shape.contains(&0),
            false => indices.shape[axis] <= x.shape[axis],
        };
        match (0..x.rank()).find(|&axis| !inside(axis)) {
            Some(axis) => Err(OpError::new(format!("indices {indices} leave axis {axis} of {x}"))),
            None => Ok(vec![x.with_shape(indices.shape.clone())]),
        }
    }

    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let (x, indices) = (&inputs[0], &inputs[1]);
        let mut index: Vec<Expr> = (0..x.rank()).map(Expr::Axis).collect();
        index[self.axis] =
            shape::looked_up(Expr::read(Source::Operand(1), index.clone()), x.shape[self.axis]);
        let body = Expr::read(Source::Operand(0), index);
        Meaning::Compute(Definition::single(Stage::map(x.dtype, indices.shape.clone(), body)))
    }
}
