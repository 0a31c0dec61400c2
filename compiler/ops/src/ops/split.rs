use ir::{OpError, TensorType};
use loops::Expr;
use serde::{Deserialize, Serialize};

use crate::{Import, Meaning, Onnx, Op, onnx, shape};

/// The operand cut along an axis, one result per piece.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Split {
    pub axis: usize,
    /// Extents of the pieces along the axis.
    pub sizes: Vec<usize>,
}

impl Op for Split {
    const NAME: &'static str = "split";
    const ONNX: &'static [Onnx] = &[onnx("Split", 2, |node| {
        let x = node.input(0)?;
        let axis = shape::axis(node.int("axis")?.unwrap_or(0), node.ty(x).rank())?;
        let sizes = sizes(node, node.ty(x).shape[axis])?;
        node.apply_all(Split { axis, sizes }, &[x])
    })];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = shape::inputs(inputs)?;
        let extent = *x
            .shape
            .get(self.axis)
            .ok_or_else(|| OpError::new(format!("axis {} is outside {x}", self.axis)))?;
        if self.sizes.iter().try_fold(0usize, |sum, &size| sum.checked_add(size)) != Some(extent) {
            return Err(OpError::new(format!(
                "pieces of {:?} do not make the {extent} of axis {}",
                self.sizes, self.axis
            )));
        }
        let piece = |&size: &usize| {
            let mut shape = x.shape.clone();
            shape[self.axis] = size;
            x.with_shape(shape)
        };
        Ok(self.sizes.iter().map(piece).collect())
    }

    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let mut start = 0;
        let piece = |&size: &usize| {
            let mut index: Vec<Expr> = (0..inputs[0].rank()).map(Expr::Axis).collect();
            if start > 0 {
                index[self.axis] = Expr::Axis(self.axis) + Expr::int(start as i64);
            }
            start += size;
            index
        };
        Meaning::View(self.sizes.iter().map(piece).collect())
    }

    fn before_transpose(&self, permutation: &[usize]) -> Option<(Split, Vec<usize>)> {
        let axis = *permutation.get(self.axis)?;
        Some((Split { axis, ..self.clone() }, permutation.to_vec()))
    }
}

/// From the attribute (before opset 13), the input, or equal pieces of which the last may be smaller.
fn sizes(node: &Import, extent: usize) -> Result<Vec<usize>, OpError> {
    if let Some(list) = shape::input_or_ints(node, 1, "split", 13)? {
        return list.into_iter().map(|size| shape::extent(size, "split")).collect();
    }
    let pieces = match node.int("num_outputs")? {
        Some(n) => shape::positive(n, "num_outputs")?,
        None => node.outputs.len(),
    };
    if pieces == 0 || pieces > node.outputs.len() {
        return Err(OpError::new(format!("{pieces} pieces for {} outputs", node.outputs.len())));
    }
    let size = extent.div_ceil(pieces);
    Ok((0..pieces).map(|k| size.min(extent.saturating_sub(k * size))).collect())
}
