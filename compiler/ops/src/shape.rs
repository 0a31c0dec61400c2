//! Shape arithmetic that several operators share.

mod group;
mod interpolation;
mod layout;
mod lookup;
mod pool;
mod window;

use ir::{OpError, TensorType};

use crate::Import;

pub use group::Group;
pub use interpolation::{Coordinates, Kernel, ResizedAxis, Rounding};
pub use layout::{Layout, LayoutAxes};
pub use lookup::looked_up;
pub use pool::Pool;
pub use window::Window;

/// The ONNX (NumPy) broadcast of `shapes`.
pub fn broadcast(shapes: &[&[usize]]) -> Result<Vec<usize>, OpError> {
    let rank = shapes.iter().map(|shape| shape.len()).max().unwrap_or(0);
    let mut result = vec![1; rank];
    for shape in shapes {
        for (extent, &next) in result[rank - shape.len()..].iter_mut().zip(*shape) {
            match (*extent, next) {
                (1, n) => *extent = n,
                (_, 1) => (),
                (a, b) if a == b => (),
                _ => return Err(OpError::invalid(format!("shapes {} do not broadcast", list(shapes)))),
            }
        }
    }
    Ok(result)
}

/// Shapes as text for messages: `[2,3] and [4]`.
pub fn list(shapes: &[&[usize]]) -> String {
    let one =
        |shape: &&[usize]| format!("[{}]", shape.iter().map(usize::to_string).collect::<Vec<_>>().join(","));
    shapes.iter().map(one).collect::<Vec<_>>().join(" and ")
}

/// An ONNX axis, which may count from the end, as an index below `rank`.
pub fn axis(axis: i64, rank: usize) -> Result<usize, OpError> {
    let counted = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    usize::try_from(counted)
        .ok()
        .filter(|&a| a < rank)
        .ok_or_else(|| OpError::invalid(format!("axis {axis} is outside a tensor of rank {rank}")))
}

/// Several axes, sorted; an axis named twice is an error.
pub fn axes(list: &[i64], rank: usize) -> Result<Vec<usize>, OpError> {
    let mut axes = list.iter().map(|&a| axis(a, rank)).collect::<Result<Vec<_>, _>>()?;
    axes.sort_unstable();
    match axes.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(OpError::invalid(format!("axis {} is named twice", pair[0]))),
        None => Ok(axes),
    }
}

/// Extents that a model states as a tensor.
pub fn extents(list: &[i64]) -> Result<Vec<usize>, OpError> {
    let extent = |&e: &i64| usize::try_from(e).map_err(|_| OpError::new(format!("an extent is {e}")));
    list.iter().map(extent).collect()
}

/// Exactly `N` inputs.
pub fn inputs<const N: usize>(inputs: &[TensorType]) -> Result<&[TensorType; N], OpError> {
    inputs.try_into().map_err(|_| OpError::invalid(format!("takes {N} inputs, got {}", inputs.len())))
}

/// A feature map and weights that have its spatial axes.
pub fn convolution(x: &TensorType, w: &TensorType) -> Result<(), OpError> {
    if x.rank() < 3 || w.rank() != x.rank() {
        return Err(OpError::new(format!("input {x} and weights {w} are of no convolution")));
    }
    Ok(())
}

/// An attribute that must be at least 1.
pub fn positive(value: i64, name: &str) -> Result<usize, OpError> {
    usize::try_from(value)
        .ok()
        .filter(|&v| v > 0)
        .ok_or_else(|| OpError::invalid(format!("`{name}` is {value}, must be at least 1")))
}

/// An attribute or input that must be at least 0.
pub fn extent(value: i64, name: &str) -> Result<usize, OpError> {
    usize::try_from(value).map_err(|_| OpError::new(format!("`{name}` is {value}, must not be negative")))
}

/// The list that opset `since` and later give as input `k` and earlier ones as attribute `name`.
pub fn input_or_ints(node: &Import, k: usize, name: &str, since: i64) -> Result<Option<Vec<i64>>, OpError> {
    if node.opset < since {
        node.ints(name)
    } else {
        Ok(node.optional_constant(k)?.map(|tensor| tensor.to_i64s()))
    }
}

/// A list with an entry per axis of `transpose(x, permutation)`, as one with an entry per axis of `x`.
pub fn before_transpose<T: Clone>(list: &[T], permutation: &[usize]) -> Option<Vec<T>> {
    if list.len() != permutation.len() {
        return None;
    }
    let mut moved = list.to_vec();
    permutation.iter().zip(list).for_each(|(&axis, entry)| moved[axis] = entry.clone());
    Some(moved)
}
