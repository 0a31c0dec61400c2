use ir::{OpError, TensorType, Value};
use serde::{Deserialize, Serialize};

use crate::{Import, Meaning, Onnx, Op, onnx, shape};

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
        let known: usize =
            dims.iter().filter(|&&d| d != usize::MAX).try_fold(1usize, |n, &d| n.checked_mul(d)).unwrap_or(0);
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
    const ONNX: &'static [Onnx] = &[
        onnx("Reshape", 5, |node| {
            let x = node.input(0)?;
            let target = node.constant(1)?.to_i64s();
            let allow_zero = node.int("allowzero")?.unwrap_or(0) != 0;
            let shape = Reshape::resolve(&target, node.ty(x), allow_zero)?;
            Ok(vec![node.apply(Reshape { shape }, &[x])?])
        }),
        onnx("Flatten", 1, flatten),
        onnx("Squeeze", 1, squeeze),
        onnx("Unsqueeze", 1, unsqueeze),
    ];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = shape::inputs(inputs)?;
        let elements = |shape: &[usize]| shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        if elements(&x.shape).is_none() || elements(&self.shape) != elements(&x.shape) {
            return Err(OpError::new(format!("{x} does not reshape to {:?}", self.shape)));
        }
        Ok(vec![x.with_shape(self.shape.clone())])
    }

    fn meaning(&self, _: &[TensorType]) -> Meaning {
        Meaning::Reshape
    }
}

/// To a matrix: the axes before `axis` become the rows.
fn flatten(node: &mut Import) -> Result<Vec<Value>, OpError> {
    let x = node.input(0)?;
    let extents = node.ty(x).shape.clone();
    let axis = node.int("axis")?.unwrap_or(1);
    // One behind the last axis is allowed too: all elements in one column.
    let axis = if axis == extents.len() as i64 { extents.len() } else { shape::axis(axis, extents.len())? };
    let (rows, columns) = extents.split_at(axis);
    let elements = |axes: &[usize]| axes.iter().fold(1usize, |n, &extent| n.saturating_mul(extent));
    let shape = vec![elements(rows), elements(columns)];
    Ok(vec![node.apply(Reshape { shape }, &[x])?])
}

/// Drops axes of extent 1: the named ones, or all.
fn squeeze(node: &mut Import) -> Result<Vec<Value>, OpError> {
    let x = node.input(0)?;
    let ty = node.ty(x).clone();
    let dropped = match shape::input_or_ints(node, 1, "axes", 13)? {
        Some(axes) => shape::axes(&axes, ty.rank())?,
        None => (0..ty.rank()).filter(|&axis| ty.shape[axis] == 1).collect(),
    };
    if let Some(&axis) = dropped.iter().find(|&&axis| ty.shape[axis] != 1) {
        return Err(OpError::new(format!("axis {axis} of {ty} is not of extent 1")));
    }
    let shape = (0..ty.rank()).filter(|axis| !dropped.contains(axis)).map(|axis| ty.shape[axis]).collect();
    Ok(vec![node.apply(Reshape { shape }, &[x])?])
}

/// Adds axes of extent 1, at these places of the result.
fn unsqueeze(node: &mut Import) -> Result<Vec<Value>, OpError> {
    let x = node.input(0)?;
    let axes = shape::input_or_ints(node, 1, "axes", 13)?.ok_or_else(|| OpError::new("`axes` is missing"))?;
    let mut shape = node.ty(x).shape.clone();
    for axis in shape::axes(&axes, shape.len() + axes.len())? {
        shape.insert(axis, 1);
    }
    Ok(vec![node.apply(Reshape { shape }, &[x])?])
}
