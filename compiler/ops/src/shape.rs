//! Shape arithmetic that several operators share.

mod layout;
mod window;

use ir::{OpError, TensorType};

pub use layout::{Layout, LayoutAxes};
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
    let one = |shape: &&[usize]| format!("[{}]", shape.iter().map(usize::to_string).collect::<Vec<_>>().join(","));
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

/// Exactly `N` inputs.
pub fn inputs<const N: usize>(inputs: &[TensorType]) -> Result<&[TensorType; N], OpError> {
    inputs.try_into().map_err(|_| OpError::invalid(format!("takes {N} inputs, got {}", inputs.len())))
}

/// An attribute that must be at least 1.
pub fn positive(value: i64, name: &str) -> Result<usize, OpError> {
    usize::try_from(value)
        .ok()
        .filter(|&v| v > 0)
        .ok_or_else(|| OpError::invalid(format!("`{name}` is {value}, must be at least 1")))
}
