//! What the generated library takes and gives.

use ir::{DType, TensorType};
use serde::{Deserialize, Serialize};

use crate::identifier;

/// One input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// As the model calls it.
    pub name: String,
    /// The field of the header's struct.
    pub field: String,
    #[serde(flatten)]
    pub ty: TensorType,
    pub elements: usize,
    pub bytes: usize,
}

impl Port {
    /// The C type of one element. C99 has no 16-bit floats: their bits travel in `uint16_t`.
    pub fn c_type(&self) -> &'static str {
        match self.ty.dtype {
            DType::Bool | DType::U8 => "uint8_t",
            DType::U16 | DType::F16 | DType::BF16 => "uint16_t",
            DType::U32 => "uint32_t",
            DType::U64 => "uint64_t",
            DType::I8 => "int8_t",
            DType::I16 => "int16_t",
            DType::I32 => "int32_t",
            DType::I64 => "int64_t",
            DType::F32 => "float",
            DType::F64 => "double",
        }
    }
}

/// The inputs or the outputs of a model, in its order, with the fields they become.
pub fn ports(tensors: &[(String, TensorType)]) -> Vec<Port> {
    let fields = identifier::unique(tensors.iter().map(|(name, _)| name.as_str()), "tensor");
    let port = |((name, ty), field): (&(String, TensorType), String)| Port {
        name: name.clone(),
        field,
        elements: ty.elements(),
        bytes: ty.bytes(),
        ty: ty.clone(),
    };
    tensors.iter().zip(fields).map(port).collect()
}
