//! What the generated library takes and gives.

use ir::{DType, Tensor, TensorType};
use serde::{Deserialize, Serialize};

use crate::identifier;
use crate::io_layout::{self, IoLayout};

/// One input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// As the model calls it.
    pub name: String,
    /// The field of the header's struct.
    pub field: String,
    #[serde(flatten)]
    pub ty: TensorType,
    /// Where it is not in the model's own order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<IoLayout>,
    pub elements: usize,
    pub bytes: usize,
}

impl Port {
    /// The type that the model gives it.
    pub fn model_type(&self) -> TensorType {
        match self.layout {
            Some(IoLayout::Nhwc) => io_layout::model_type(&self.ty),
            _ => self.ty.clone(),
        }
    }

    /// `tensor`, of the model's type, as the library takes it.
    pub fn from_model(&self, tensor: Tensor) -> Tensor {
        match self.layout {
            Some(IoLayout::Nhwc) => io_layout::channels_last(&tensor),
            _ => tensor,
        }
    }

    /// `tensor`, as the library gives it, of the model's type.
    pub fn to_model(&self, tensor: Tensor) -> Tensor {
        match self.layout {
            Some(IoLayout::Nhwc) => io_layout::channels_first(&tensor),
            _ => tensor,
        }
    }

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
///
/// `last` says which have their channels last though the model has not.
pub fn ports(tensors: &[(String, TensorType)], last: &[bool]) -> Vec<Port> {
    let fields = identifier::unique(tensors.iter().map(|(name, _)| name.as_str()), "tensor");
    let port = |(k, ((name, ty), field)): (usize, (&(String, TensorType), String))| Port {
        name: name.clone(),
        field,
        layout: last.get(k).is_some_and(|&last| last).then_some(IoLayout::Nhwc),
        elements: ty.elements(),
        bytes: ty.bytes(),
        ty: ty.clone(),
    };
    tensors.iter().zip(fields).enumerate().map(port).collect()
}
