use ir::{OpError, Tensor, TensorType, Value};
use loops::{Definition, Expr, Source, Stage};
use serde::{Deserialize, Serialize};

use crate::ops::{reshape::Reshape, slice::Slice};
use crate::{Import, Meaning, Onnx, Op, onnx, shape};

/// Slices of the first operand along an axis, chosen by the second, an index tensor: the axis is replaced by the
/// index tensor's axes.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Gather {
    pub axis: usize,
}

impl Op for Gather {
    const NAME: &'static str = "gather";
    const ONNX: &'static [Onnx] = &[onnx("Gather", 1, |node| {
        let (x, indices) = (node.input(0)?, node.input(1)?);
        let axis = shape::axis(node.int("axis")?.unwrap_or(0), node.ty(x).rank())?;
        let known = node.graph.constant_value(indices).cloned();
        if let Some(places) = &known {
            check_places(places, node.ty(x).shape[axis])?;
        }
        if let Some(sliced) = known.as_ref().and_then(|places| Gather { axis }.as_slice(places, node.ty(x))) {
            let shape = Gather { axis }.shape(node.ty(x), node.ty(indices));
            return Ok(vec![sliced_to(node, x, sliced, shape)?]);
        }
        Ok(vec![node.apply(Gather { axis }, &[x, indices])?])
    })];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x, indices] = shape::inputs(inputs)?;
        if !indices.dtype.is_int() {
            return Err(OpError::new(format!("indices of type {indices}, not integers")));
        }
        match x.shape.get(self.axis) {
            None => Err(OpError::new(format!("axis {} is outside {x}", self.axis))),
            Some(0) if !indices.shape.contains(&0) => {
                Err(OpError::new(format!("axis {} of {x} has nothing to gather", self.axis)))
            }
            Some(_) => Ok(vec![x.with_shape(self.shape(x, indices))]),
        }
    }

    /// `y[a.., i.., b..] = x[a.., indices[i..], b..]`.
    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let (x, indices) = (&inputs[0], &inputs[1]);
        let place = (0..indices.rank()).map(|k| Expr::Axis(self.axis + k)).collect::<Vec<_>>();
        let place = shape::looked_up(Expr::read(Source::Operand(1), place), x.shape[self.axis]);
        let mut index: Vec<Expr> = (0..self.axis).map(Expr::Axis).collect();
        index.push(place);
        index.extend((self.axis + 1..x.rank()).map(|axis| Expr::Axis(axis + indices.rank() - 1)));
        let body = Expr::read(Source::Operand(0), index);
        Meaning::Compute(Definition::single(Stage::map(x.dtype, self.shape(x, indices), body)))
    }
}

impl Gather {
    fn shape(&self, x: &TensorType, indices: &TensorType) -> Vec<usize> {
        [&x.shape[..self.axis], &indices.shape, &x.shape[self.axis + 1..]].concat()
    }

    /// The slice of `x` that holds the same elements, where `places` are at equal distances: it costs nothing.
    pub fn as_slice(&self, places: &Tensor, x: &TensorType) -> Option<Slice> {
        let extent = x.shape[self.axis] as i64;
        let from_start = |place: i64| if place < 0 { place + extent } else { place };
        let places: Vec<i64> = places.to_i64s().into_iter().map(from_start).collect();
        let step = match places.as_slice() {
            [] => return None,
            [_] => 1,
            [first, second, ..] => second - first,
        };
        if step == 0 || places.windows(2).any(|pair| pair[1] - pair[0] != step) {
            return None;
        }
        let mut slice = Slice::whole(x);
        slice.starts[self.axis] = usize::try_from(places[0]).ok()?;
        slice.steps[self.axis] = step;
        slice.shape[self.axis] = places.len();
        slice.infer(std::slice::from_ref(x)).is_ok().then_some(slice)
    }
}

/// Indices known at compile time must be inside.
fn check_places(places: &Tensor, extent: usize) -> Result<(), OpError> {
    let extent = extent as i64;
    match places.to_i64s().into_iter().find(|place| !(-extent..extent).contains(place)) {
        Some(place) => Err(OpError::new(format!("index {place} is outside an axis of {extent}"))),
        None => Ok(()),
    }
}

fn sliced_to(node: &mut Import, x: Value, slice: Slice, shape: Vec<usize>) -> Result<Value, OpError> {
    let sliced = slice.apply(node, x)?;
    if node.ty(sliced).shape == shape { Ok(sliced) } else { node.apply(Reshape { shape }, &[sliced]) }
}
