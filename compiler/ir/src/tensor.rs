use std::fmt;
use std::sync::Arc;

use half::{bf16, f16};
use serde::{Deserialize, Serialize};

use crate::{DType, Scalar};

/// A dense, row-major tensor's type. All dimensions are known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TensorType {
    pub dtype: DType,
    pub shape: Vec<usize>,
}

impl TensorType {
    pub fn new(dtype: DType, shape: impl Into<Vec<usize>>) -> TensorType {
        TensorType { dtype, shape: shape.into() }
    }

    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements; 1 for a scalar.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn bytes(&self) -> usize {
        self.elements() * self.dtype.bytes()
    }

    /// Elements between neighbours along each axis, row-major.
    pub fn strides(&self) -> Vec<usize> {
        let mut strides = vec![1; self.rank()];
        for axis in (1..self.rank()).rev() {
            strides[axis - 1] = strides[axis] * self.shape[axis];
        }
        strides
    }

    /// The same shape with other elements.
    pub fn with_dtype(&self, dtype: DType) -> TensorType {
        TensorType { dtype, shape: self.shape.clone() }
    }

    /// The same elements in another shape.
    pub fn with_shape(&self, shape: impl Into<Vec<usize>>) -> TensorType {
        TensorType { dtype: self.dtype, shape: shape.into() }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims: Vec<String> = self.shape.iter().map(usize::to_string).collect();
        write!(f, "{}[{}]", self.dtype, dims.join(","))
    }
}

/// A tensor value: row-major little-endian bytes. Cloning shares the data.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tensor {
    pub ty: TensorType,
    pub data: Arc<Vec<u8>>,
}

impl Tensor {
    /// # Panics
    /// If `data` is not exactly as long as the type says; readers of files check before they call.
    pub fn new(ty: TensorType, data: Vec<u8>) -> Tensor {
        assert_eq!(ty.bytes(), data.len(), "a tensor of type {ty}");
        Tensor { ty, data: Arc::new(data) }
    }

    pub fn from_slice<T: Element>(shape: impl Into<Vec<usize>>, values: &[T]) -> Tensor {
        let mut data = Vec::with_capacity(size_of_val(values));
        values.iter().for_each(|value| value.write(&mut data));
        Tensor::new(TensorType::new(T::DTYPE, shape), data)
    }

    pub fn scalar(value: Scalar) -> Tensor {
        Tensor::new(TensorType::new(value.dtype, []), value.to_le_bytes())
    }

    pub fn zeros(ty: TensorType) -> Tensor {
        let bytes = ty.bytes();
        Tensor::new(ty, vec![0; bytes])
    }

    /// The elements, if `T` is their type.
    pub fn to_vec<T: Element>(&self) -> Option<Vec<T>> {
        (T::DTYPE == self.ty.dtype).then(|| self.data.chunks_exact(T::DTYPE.bytes()).map(T::read).collect())
    }

    pub fn get(&self, element: usize) -> Scalar {
        Scalar::from_le_bytes(self.ty.dtype, &self.data[element * self.ty.dtype.bytes()..])
    }

    pub fn scalars(&self) -> impl Iterator<Item = Scalar> + '_ {
        (0..self.ty.elements()).map(|element| self.get(element))
    }

    /// All elements as integers (for shapes, axes, pads): floats truncate.
    pub fn to_i64s(&self) -> Vec<i64> {
        self.scalars().map(Scalar::as_i64).collect()
    }

    pub fn to_f64s(&self) -> Vec<f64> {
        match self.ty.dtype {
            // Millions of weights are.
            DType::F32 => self.data.chunks_exact(4).map(f32::read).map(f64::from).collect(),
            _ => self.scalars().map(Scalar::as_f64).collect(),
        }
    }

    /// The same elements under another shape of as many elements.
    pub fn reshaped(&self, shape: impl Into<Vec<usize>>) -> Tensor {
        let ty = self.ty.with_shape(shape);
        assert_eq!(ty.elements(), self.ty.elements(), "{} reshaped to {ty}", self.ty);
        Tensor { ty, data: Arc::clone(&self.data) }
    }
}

/// A Rust type that is stored as one element.
pub trait Element: Copy {
    const DTYPE: DType;
    fn read(bytes: &[u8]) -> Self;
    fn write(self, out: &mut Vec<u8>);
}

macro_rules! elements {
    ($($rust:ty => $dtype:ident),* $(,)?) => {$(
        impl Element for $rust {
            const DTYPE: DType = DType::$dtype;
            fn read(bytes: &[u8]) -> $rust {
                let mut own = [0; std::mem::size_of::<$rust>()];
                own.copy_from_slice(bytes);
                <$rust>::from_le_bytes(own)
            }
            fn write(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}

elements! {
    u8 => U8, u16 => U16, u32 => U32, u64 => U64,
    i8 => I8, i16 => I16, i32 => I32, i64 => I64,
    f16 => F16, bf16 => BF16, f32 => F32, f64 => F64,
}

impl Element for bool {
    const DTYPE: DType = DType::Bool;
    fn read(bytes: &[u8]) -> bool {
        bytes[0] != 0
    }
    fn write(self, out: &mut Vec<u8>) {
        out.push(u8::from(self));
    }
}
