use ir::{DType, OpError, Scalar, Tensor, TensorType, Value};
use loops::{Definition, Expr, Stage};
use serde::{Deserialize, Serialize};

use crate::{Import, Meaning, Onnx, Op, onnx, shape};

/// One value everywhere. Takes no operands; like all that ONNX states or derives from shapes alone, it becomes a
/// constant at import.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Splat {
    pub value: Scalar,
    pub shape: Vec<usize>,
}

impl Default for Splat {
    fn default() -> Splat {
        Splat { value: Scalar::f32(0.0), shape: vec![] }
    }
}

impl Op for Splat {
    const NAME: &'static str = "splat";
    const ONNX: &'static [Onnx] = &[
        onnx("ConstantOfShape", 9, |node| {
            let shape = shape::extents(&node.constant(0)?.to_i64s())?;
            let value = match node.tensor("value")? {
                None => Scalar::f32(0.0),
                Some(tensor) if tensor.ty.elements() == 1 => tensor.get(0),
                Some(tensor) => {
                    return Err(OpError::new(format!("`value` is {}, not one element", tensor.ty)));
                }
            };
            Ok(vec![node.apply(Splat { value, shape }, &[])?])
        }),
        onnx("Constant", 1, constant),
        onnx("Shape", 1, |node| {
            let dims = node.ty(node.input(0)?).shape.clone();
            let bound = |name: &str, absent: usize| -> Result<usize, OpError> {
                let rank = dims.len() as i64;
                let place = node.int(name)?.unwrap_or(absent as i64);
                Ok((if place < 0 { place.saturating_add(rank) } else { place }).clamp(0, rank) as usize)
            };
            let (start, end) = (bound("start", 0)?, bound("end", dims.len())?);
            let part: Vec<i64> = dims[start..end.max(start)].iter().map(|&d| d as i64).collect();
            Ok(vec![node.tensor_constant(Tensor::from_slice([part.len()], &part))])
        }),
        onnx("Size", 1, |node| {
            let elements = node.ty(node.input(0)?).elements();
            Ok(vec![node.tensor_constant(Tensor::scalar(Scalar::i64(elements as i64)))])
        }),
    ];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [] = shape::inputs(inputs)?;
        Ok(vec![TensorType::new(self.value.dtype, self.shape.clone())])
    }

    fn meaning(&self, _: &[TensorType]) -> Meaning {
        let stage = Stage::map(self.value.dtype, self.shape.clone(), Expr::Const(self.value));
        Meaning::Compute(Definition::single(stage))
    }
}

/// ONNX `Constant`, whose value stands in one of several attributes.
fn constant(node: &mut Import) -> Result<Vec<Value>, OpError> {
    let tensor = if let Some(tensor) = node.tensor("value")? {
        tensor
    } else if let Some(value) = node.int("value_int")? {
        Tensor::scalar(Scalar::i64(value))
    } else if let Some(values) = node.ints("value_ints")? {
        Tensor::from_slice([values.len()], &values)
    } else if let Some(value) = node.float("value_float")? {
        Tensor::scalar(Scalar::from_f64(DType::F32, f64::from(value)))
    } else if let Some(values) = node.floats("value_floats")? {
        Tensor::from_slice([values.len()], &values)
    } else {
        let given: Vec<&str> = node.attributes.keys().map(String::as_str).collect();
        return Err(OpError::new(format!("has its value in [{}]", given.join(", ")))
            .with_hint("value, value_int, value_ints, value_float and value_floats are supported"));
    };
    Ok(vec![node.tensor_constant(tensor)])
}
