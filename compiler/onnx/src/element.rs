//! ONNX's numbering of element types (`TensorProto.DataType`).

use ir::DType;

use crate::problem::{Problem, code};

/// Names by number, as in the standard; [`ops::element_type`] says which of them are supported.
#[rustfmt::skip]
const NAMES: [&str; 27] = [
    "undefined", "float", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool", "float16", "double",
    "uint32", "uint64", "complex64", "complex128", "bfloat16", "float8e4m3fn", "float8e4m3fnuz", "float8e5m2",
    "float8e5m2fnuz", "uint4", "int4", "float4e2m1", "float8e8m0", "uint2", "int2",
];

/// The name in the standard, for messages.
pub(crate) fn name(number: i32) -> String {
    let known = usize::try_from(number).ok().and_then(|n| NAMES.get(n));
    known.map_or_else(|| format!("type number {number}"), |name| (*name).into())
}

pub(crate) fn dtype(number: i32) -> Result<DType, Problem> {
    if !(1..NAMES.len() as i32).contains(&number) {
        return Err(Problem::invalid(code::TYPE, format!("{number} is not the number of an element type")));
    }
    ops::element_type(i64::from(number)).map_err(|error| {
        let problem =
            Problem::unsupported(code::TYPE, format!("elements of type {} are not supported", name(number)));
        Problem { hint: error.hint, ..problem }
    })
}

/// The inverse of [`dtype`].
pub(crate) fn number(dtype: DType) -> i32 {
    let is = |number: &i32| ops::element_type(i64::from(*number)) == Ok(dtype);
    (1..NAMES.len() as i32).find(is).unwrap_or(0)
}
