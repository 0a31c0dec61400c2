//! ONNX's numbering of element types (`TensorProto.DataType`).

use ir::DType;

use crate::problem::{Problem, code};

/// Names by number; those without a `DType` are known but not supported.
const ELEMENTS: [(&str, Option<DType>); 27] = [
    ("undefined", None),
    ("float", Some(DType::F32)),
    ("uint8", Some(DType::U8)),
    ("int8", Some(DType::I8)),
    ("uint16", Some(DType::U16)),
    ("int16", Some(DType::I16)),
    ("int32", Some(DType::I32)),
    ("int64", Some(DType::I64)),
    ("string", None),
    ("bool", Some(DType::Bool)),
    ("float16", Some(DType::F16)),
    ("double", Some(DType::F64)),
    ("uint32", Some(DType::U32)),
    ("uint64", Some(DType::U64)),
    ("complex64", None),
    ("complex128", None),
    ("bfloat16", Some(DType::BF16)),
    ("float8e4m3fn", None),
    ("float8e4m3fnuz", None),
    ("float8e5m2", None),
    ("float8e5m2fnuz", None),
    ("uint4", None),
    ("int4", None),
    ("float4e2m1", None),
    ("float8e8m0", None),
    ("uint2", None),
    ("int2", None),
];

fn entry(number: i32) -> Option<&'static (&'static str, Option<DType>)> {
    usize::try_from(number).ok().and_then(|n| ELEMENTS.get(n))
}

/// The name in the standard, for messages.
pub(crate) fn name(number: i32) -> String {
    entry(number).map_or_else(|| format!("type number {number}"), |(name, _)| (*name).into())
}

pub(crate) fn dtype(number: i32) -> Result<DType, Problem> {
    match entry(number) {
        Some((_, Some(dtype))) => Ok(*dtype),
        Some((_, None)) if number != 0 => {
            Err(Problem::unsupported(code::TYPE, format!("elements of type {} are not supported", name(number))))
        }
        _ => Err(Problem::invalid(code::TYPE, format!("{number} is not the number of an element type"))),
    }
}

/// The inverse of [`dtype`].
pub(crate) fn number(dtype: DType) -> i32 {
    ELEMENTS.iter().position(|(_, d)| *d == Some(dtype)).unwrap_or(0) as i32
}
