//! `TensorProto` ↔ [`Tensor`], in every form of storage.

use std::sync::Arc;

use ir::{DType, Tensor, TensorType};
use prost::Message;
use prost::bytes::Bytes;

use crate::element;
use crate::external::External;
use crate::problem::{Problem, code};
use crate::proto::TensorProto;

/// Extents as a model declares them, refused when negative or too many elements for any target.
pub(crate) fn shape(dims: &[i64]) -> Result<Vec<usize>, Problem> {
    let extents = dims
        .iter()
        .map(|&d| {
            usize::try_from(d).map_err(|_| Problem::invalid(code::TENSOR, format!("extent {d} is negative")))
        })
        .collect::<Result<Vec<usize>, Problem>>()?;
    within_limits(&extents)?;
    Ok(extents)
}

/// Axes of a tensor at most; ONNX models use up to 8 or so.
const MOST_AXES: usize = 32;

pub(crate) fn within_limits(shape: &[usize]) -> Result<(), Problem> {
    if shape.len() > MOST_AXES {
        let message = format!("a tensor of {} axes; up to {MOST_AXES} are supported", shape.len());
        return Err(Problem::unsupported(code::LIMIT, message));
    }
    match ops::elements_within_limits(shape) {
        true => Ok(()),
        false => Err(Problem::unsupported(code::LIMIT, format!("shape {shape:?} has too many elements"))),
    }
}

/// The tensor's value. Nothing is allocated before the declared size was held against the data that is there.
pub(crate) fn decode(proto: &TensorProto, external: &mut External) -> Result<Tensor, Problem> {
    let dtype = element::dtype(proto.data_type)?;
    let ty = TensorType::new(dtype, shape(&proto.dims)?);
    if proto.segment.is_some() {
        return Err(Problem::unsupported(code::TENSOR, "tensors in segments are not supported"));
    }
    let data = match proto.data_location {
        0 => Arc::new(stored(proto, &ty)?),
        1 => external.read(&proto.external_data, ty.bytes())?,
        other => return Err(Problem::invalid(code::TENSOR, format!("data location {other} does not exist"))),
    };
    let data = if dtype == DType::Bool { normalized(data) } else { data };
    Ok(Tensor { ty, data })
}

/// Any byte but 0 is true; ours is 1.
fn normalized(data: Arc<Vec<u8>>) -> Arc<Vec<u8>> {
    match data.iter().all(|&b| b <= 1) {
        true => data,
        false => Arc::new(data.iter().map(|&b| u8::from(b != 0)).collect()),
    }
}

/// The bytes of a tensor whose data is in the model itself.
fn stored(proto: &TensorProto, ty: &TensorType) -> Result<Vec<u8>, Problem> {
    let typed = [
        proto.float_data.len(),
        proto.int32_data.len(),
        proto.int64_data.len(),
        proto.double_data.len(),
        proto.uint64_data.len(),
    ];
    let raw = proto.raw_data.as_ref().filter(|raw| !raw.is_empty());
    let fields = typed.iter().filter(|&&n| n > 0).count() + usize::from(raw.is_some());
    if fields > 1 {
        return Err(Problem::invalid(code::TENSOR, "the data is stored in more than one field"));
    }
    match raw {
        Some(raw) if raw.len() == ty.bytes() => Ok(raw.to_vec()),
        Some(raw) => Err(wrong_length(ty, raw.len(), ty.bytes(), "bytes")),
        None => typed_data(proto, ty),
    }
}

fn wrong_length(ty: &TensorType, have: usize, need: usize, unit: &str) -> Problem {
    Problem::invalid(code::TENSOR, format!("a tensor of type {ty} needs {need} {unit}, the file has {have}"))
}

/// The bytes from the field that the standard assigns to the element type.
fn typed_data(proto: &TensorProto, ty: &TensorType) -> Result<Vec<u8>, Problem> {
    match ty.dtype {
        DType::F32 => spread(ty, &proto.float_data, |v| Some(v.to_le_bytes())),
        DType::F64 => spread(ty, &proto.double_data, |v| Some(v.to_le_bytes())),
        DType::I64 => spread(ty, &proto.int64_data, |v| Some(v.to_le_bytes())),
        DType::U64 => spread(ty, &proto.uint64_data, |v| Some(v.to_le_bytes())),
        DType::U32 => spread(ty, &proto.uint64_data, |v| u32::try_from(v).ok().map(u32::to_le_bytes)),
        DType::I32 => spread(ty, &proto.int32_data, |v| Some(v.to_le_bytes())),
        DType::I16 => spread(ty, &proto.int32_data, |v| i16::try_from(v).ok().map(i16::to_le_bytes)),
        DType::I8 => spread(ty, &proto.int32_data, |v| i8::try_from(v).ok().map(i8::to_le_bytes)),
        DType::Bool | DType::U8 => {
            spread(ty, &proto.int32_data, |v| u8::try_from(v).ok().map(u8::to_le_bytes))
        }
        // Half floats are stored as their bits.
        DType::U16 | DType::F16 | DType::BF16 => {
            spread(ty, &proto.int32_data, |v| u16::try_from(v).ok().map(u16::to_le_bytes))
        }
    }
}

fn spread<T: Copy + std::fmt::Display, const N: usize>(
    ty: &TensorType,
    values: &[T],
    bytes: impl Fn(T) -> Option<[u8; N]>,
) -> Result<Vec<u8>, Problem> {
    if values.len() != ty.elements() {
        return Err(wrong_length(ty, values.len(), ty.elements(), "elements"));
    }
    let mut data = Vec::with_capacity(ty.bytes());
    for &value in values {
        let element = bytes(value).ok_or_else(|| {
            Problem::invalid(code::TENSOR, format!("the element {value} is not of type {}", ty.dtype))
        })?;
        data.extend_from_slice(&element);
    }
    Ok(data)
}

pub(crate) fn encode(name: &str, tensor: &Tensor) -> TensorProto {
    TensorProto {
        dims: tensor.ty.shape.iter().map(|&extent| extent as i64).collect(),
        data_type: element::number(tensor.ty.dtype),
        name: name.into(),
        raw_data: Some(Bytes::copy_from_slice(&tensor.data)),
        ..TensorProto::default()
    }
}

/// Reads one tensor and its name from a file as the ONNX test data keeps them (`input_0.pb`).
pub fn read_tensor_pb(bytes: &[u8]) -> Result<(String, Tensor), Problem> {
    let proto = TensorProto::decode(bytes).map_err(|err| {
        Problem::invalid(code::PROTOBUF, format!("these bytes are not an ONNX tensor: {err}"))
    })?;
    let tensor = decode(&proto, &mut External::nowhere())?;
    Ok((proto.name, tensor))
}

/// The inverse of [`read_tensor_pb`].
pub fn write_tensor_pb(name: &str, tensor: &Tensor) -> Vec<u8> {
    encode(name, tensor).encode_to_vec()
}
