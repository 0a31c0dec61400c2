use std::fmt;

use half::{bf16, f16};
use serde::{Deserialize, Serialize};

use crate::DType;

/// One typed element, kept as its bits so that it has equality, order and hash.
///
/// The bits are the element's own (an `F32` uses the low 32), zero-extended; signed integers are kept in
/// their own width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Scalar {
    pub dtype: DType,
    pub bits: u64,
}

impl Scalar {
    pub fn f32(value: f32) -> Scalar {
        Scalar { dtype: DType::F32, bits: u64::from(value.to_bits()) }
    }

    pub fn i64(value: i64) -> Scalar {
        Scalar { dtype: DType::I64, bits: value as u64 }
    }

    pub fn bool(value: bool) -> Scalar {
        Scalar { dtype: DType::Bool, bits: u64::from(value) }
    }

    /// `value` as `dtype`: floats are rounded to nearest, integers take the value's truncation (saturating).
    pub fn from_f64(dtype: DType, value: f64) -> Scalar {
        let bits = match dtype {
            DType::F64 => value.to_bits(),
            DType::F32 => u64::from((value as f32).to_bits()),
            DType::F16 => u64::from(f16::from_f64(value).to_bits()),
            DType::BF16 => u64::from(bf16::from_f64(value).to_bits()),
            DType::Bool => u64::from(value != 0.0),
            DType::U64 => value as u64,
            _ => return Scalar::from_i64(dtype, value as i64),
        };
        Scalar { dtype, bits }
    }

    /// `value` as `dtype`; integers wrap.
    pub fn from_i64(dtype: DType, value: i64) -> Scalar {
        if dtype.is_float() {
            return Scalar::from_f64(dtype, value as f64);
        }
        let bits = match dtype {
            DType::Bool => u64::from(value != 0),
            DType::U8 | DType::I8 => u64::from(value as u8),
            DType::U16 | DType::I16 => u64::from(value as u16),
            DType::U32 | DType::I32 => u64::from(value as u32),
            _ => value as u64,
        };
        Scalar { dtype, bits }
    }

    /// The value, exact for everything but large 64-bit integers.
    pub fn as_f64(self) -> f64 {
        match self.dtype {
            DType::F64 => f64::from_bits(self.bits),
            DType::F32 => f64::from(f32::from_bits(self.bits as u32)),
            DType::F16 => f16::from_bits(self.bits as u16).to_f64(),
            DType::BF16 => bf16::from_bits(self.bits as u16).to_f64(),
            DType::U64 => self.bits as f64,
            _ => self.as_i64() as f64,
        }
    }

    /// The value as an integer: floats truncate, `U64` wraps.
    pub fn as_i64(self) -> i64 {
        match self.dtype {
            DType::I8 => i64::from(self.bits as i8),
            DType::I16 => i64::from(self.bits as i16),
            DType::I32 => i64::from(self.bits as i32),
            DType::I64 | DType::U64 => self.bits as i64,
            DType::Bool | DType::U8 | DType::U16 | DType::U32 => self.bits as i64,
            DType::F16 | DType::BF16 | DType::F32 | DType::F64 => self.as_f64() as i64,
        }
    }

    pub fn is_zero(self) -> bool {
        self.as_f64() == 0.0
    }

    pub fn to_le_bytes(self) -> Vec<u8> {
        self.bits.to_le_bytes()[..self.dtype.bytes()].to_vec()
    }

    /// Reads one element from the front of `bytes`, which must hold at least `dtype.bytes()` bytes.
    pub fn from_le_bytes(dtype: DType, bytes: &[u8]) -> Scalar {
        let mut wide = [0; 8];
        wide[..dtype.bytes()].copy_from_slice(&bytes[..dtype.bytes()]);
        Scalar { dtype, bits: u64::from_le_bytes(wide) }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dtype {
            // `{:?}` prints the shortest text that reads back to the same value, always with a point or exponent.
            DType::F32 => write!(f, "{:?}", f32::from_bits(self.bits as u32)),
            d if d.is_float() => write!(f, "{:?}", self.as_f64()),
            DType::Bool => write!(f, "{}", self.bits != 0),
            DType::U64 => write!(f, "{}", self.bits),
            _ => write!(f, "{}", self.as_i64()),
        }
    }
}
