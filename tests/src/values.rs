//! Tensors for tests, and how far apart two of them are.

use ir::{Scalar, Tensor, TensorType};

/// Small integers, the same for the same seed: sums and products of them are exact in every float type that tests
/// use, so that an equality that does not round must hold to the bit.
pub fn integers(ty: &TensorType, seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % 9) as i64 - 4
    };
    let data = (0..ty.elements()).flat_map(|_| Scalar::from_i64(ty.dtype, next()).to_le_bytes()).collect();
    Tensor::new(ty.clone(), data)
}

/// The inputs of a graph.
pub fn inputs(graph: &ops::Graph, seed: u64) -> Vec<Tensor> {
    let types = graph.inputs().iter().map(|&id| &graph.node(id).types[0]);
    types.zip(seed * 1000..).map(|(ty, seed)| integers(ty, seed)).collect()
}

/// Whether both are the same: floats within `tolerance` of the largest magnitude among them, all else to the bit. NaN
/// and infinities must be in the same places.
pub fn compare(a: &Tensor, b: &Tensor, tolerance: f64) -> Result<(), String> {
    if a.ty != b.ty {
        return Err(format!("types {} and {}", a.ty, b.ty));
    }
    if a.data == b.data {
        return Ok(());
    }
    let (left, right) = (a.to_f64s(), b.to_f64s());
    let largest = left.iter().filter(|v| v.is_finite()).fold(0f64, |m, v| m.max(v.abs()));
    let allowed = if a.ty.dtype.is_float() { tolerance * largest } else { 0.0 };
    let same = |x: f64, y: f64| x == y || x.is_nan() && y.is_nan() || (x - y).abs() <= allowed;
    match left.iter().zip(&right).position(|(&x, &y)| !same(x, y)) {
        None => Ok(()),
        Some(at) => Err(format!("element {at} of {}: {} and {}", a.ty, left[at], right[at])),
    }
}

/// Sums of inputs of magnitude 4 that are nearly zero may be anything in the last places of the terms.
const CANCELLED: f64 = 1e-6;

/// Whether two tensors differ by no more than what is left of sums whose terms cancel.
pub fn cancelled(a: &Tensor, b: &Tensor) -> bool {
    let mut pairs = a.scalars().zip(b.scalars());
    a.ty == b.ty && pairs.all(|(a, b)| (a.as_f64() - b.as_f64()).abs() <= CANCELLED)
}
