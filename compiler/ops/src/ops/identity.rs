use ir::OpError;

use crate::elementwise::elementwise;
use crate::{Import, check, onnx};

elementwise! {
    /// The operand itself. ONNX operators that do nothing leave no node: their readers read the operand.
    Identity = "identity",
    [onnx("Identity", 1, |node| Ok(vec![node.input(0)?])), onnx("Dropout", 7, dropout)],
    check::same,
    |_, _, [x]| x
}

/// In inference nothing is dropped, and the mask is all ones.
fn dropout(node: &mut Import) -> Result<Vec<ir::Value>, OpError> {
    let training = node.optional_constant(2)?.is_some_and(|mode| !mode.to_i64s().iter().all(|&m| m == 0));
    if training {
        return Err(OpError::new("is in training mode; only inference is supported"));
    }
    let x = node.input(0)?;
    let mut results = vec![x];
    if node.outputs.len() > 1 {
        let ty = node.ty(x).clone();
        let dtype = if node.opset < 10 { ty.dtype } else { ir::DType::Bool };
        let value = ir::Scalar::from_i64(dtype, 1);
        results.push(node.apply(super::splat::Splat { value, shape: ty.shape }, &[])?);
    }
    Ok(results)
}
