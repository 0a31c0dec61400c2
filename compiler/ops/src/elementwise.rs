use ir::{DType, OpError, TensorType};
use loops::Expr;

use crate::{Meaning, Onnx, Op, shape};

/// An operator that computes each element on its own from operands that broadcast: the short way to write one.
pub trait Elementwise:
    Clone
    + std::fmt::Debug
    + Eq
    + Ord
    + std::hash::Hash
    + Default
    + serde::Serialize
    + serde::de::DeserializeOwned
{
    const NAME: &'static str;
    const ONNX: &'static [Onnx];
    /// How many operands it takes: at least and at most.
    const ARITY: (usize, usize);
    /// The result's element type for operands of these types, or why not.
    fn result(&self, inputs: &[DType]) -> Result<DType, OpError>;
    /// One element from the operands' elements, in their own types.
    fn body(&self, args: &[Expr], inputs: &[DType]) -> Expr;
}

impl<T: Elementwise> Op for T {
    const NAME: &'static str = T::NAME;
    const ONNX: &'static [Onnx] = T::ONNX;

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let (least, most) = T::ARITY;
        if !(least..=most).contains(&inputs.len()) {
            let takes = if least == most { least.to_string() } else { format!("{least} to {most}") };
            return Err(OpError::invalid(format!("takes {takes} inputs, got {}", inputs.len())));
        }
        let dtype = self.result(&dtypes(inputs))?;
        let shapes: Vec<&[usize]> = inputs.iter().map(|ty| ty.shape.as_slice()).collect();
        Ok(vec![TensorType::new(dtype, shape::broadcast(&shapes)?)])
    }

    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let shapes: Vec<&[usize]> = inputs.iter().map(|ty| ty.shape.as_slice()).collect();
        let dtypes = dtypes(inputs);
        // Only types that `infer` accepted arrive here, so neither side can fail.
        let (Ok(dtype), Ok(shape)) = (self.result(&dtypes), shape::broadcast(&shapes)) else {
            panic!("{} means nothing for {inputs:?}", T::NAME)
        };
        Meaning::map(inputs, &TensorType::new(dtype, shape), |args| self.body(args, &dtypes))
    }

    fn before_transpose(&self, permutation: &[usize]) -> Option<(T, Vec<usize>)> {
        Some((self.clone(), permutation.to_vec()))
    }
}

fn dtypes(inputs: &[TensorType]) -> Vec<DType> {
    inputs.iter().map(|ty| ty.dtype).collect()
}

/// Writes an elementwise operator in one piece: name, ONNX operators, result type and what one element is.
///
/// The last part is a closure over the operator, the first operand's type and the operands' elements. Float attributes
/// are listed with their defaults after the name; `from_onnx` then reads them under the same names.
macro_rules! elementwise {
    (
        $(#[$doc:meta])*
        $op:ident = $name:literal, $onnx:expr, $result:expr, $body:expr $(,)?
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub struct $op;

        crate::elementwise::elementwise! { @meaning $op = $name, $onnx, $result, $body }
    };
    (
        $(#[$doc:meta])*
        $op:ident { $($field:ident: $default:expr),+ } = $name:literal, $onnx:expr, $result:expr, $body:expr $(,)?
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub struct $op { $(pub $field: ir::Float),+ }

        impl Default for $op {
            fn default() -> $op {
                $op { $($field: ir::Float($default)),+ }
            }
        }

        impl $op {
            /// The attributes of an ONNX node, which has them under the same names.
            fn from_onnx(node: &crate::Import) -> Result<$op, ir::OpError> {
                Ok($op { $($field: ir::Float(node.float(stringify!($field))?.unwrap_or($default))),+ })
            }
        }

        crate::elementwise::elementwise! { @meaning $op = $name, $onnx, $result, $body }
    };
    (@meaning $op:ident = $name:literal, $onnx:expr, $result:expr, $body:expr) => {
        impl crate::Elementwise for $op {
            const NAME: &'static str = $name;
            const ONNX: &'static [crate::Onnx] = &$onnx;
            const ARITY: (usize, usize) = crate::elementwise::arity::<$op, _>($body);

            fn result(&self, inputs: &[ir::DType]) -> Result<ir::DType, ir::OpError> {
                $result(inputs)
            }

            fn body(&self, args: &[loops::Expr], inputs: &[ir::DType]) -> loops::Expr {
                crate::elementwise::body::<$op, _>($body, self, inputs, args)
            }
        }
    };
}
pub(crate) use elementwise;

type Body<T, const N: usize> = fn(&T, DType, [Expr; N]) -> Expr;

pub(crate) const fn arity<T, const N: usize>(_: Body<T, N>) -> (usize, usize) {
    (N, N)
}

pub(crate) fn body<T, const N: usize>(body: Body<T, N>, op: &T, inputs: &[DType], args: &[Expr]) -> Expr {
    match args.to_vec().try_into() {
        Ok(args) => body(op, inputs[0], args),
        Err(_) => panic!("{} elements for an operator of {N} operands", args.len()),
    }
}

/// Checks for [`Elementwise::result`].
pub mod check {
    use super::*;

    /// All operands of one type, which is the result's.
    pub fn same(inputs: &[DType]) -> Result<DType, OpError> {
        match inputs.iter().find(|&&d| d != inputs[0]) {
            Some(other) => Err(OpError::new(format!("inputs differ in type: {} and {other}", inputs[0]))),
            None => Ok(inputs[0]),
        }
    }

    /// As [`same`], floats only.
    pub fn same_float(inputs: &[DType]) -> Result<DType, OpError> {
        same(inputs).and_then(|d| require(d, d.is_float(), "a float type"))
    }

    /// As [`same`], anything but `bool`.
    pub fn same_number(inputs: &[DType]) -> Result<DType, OpError> {
        same(inputs).and_then(|d| require(d, d != DType::Bool, "a number type"))
    }

    /// As [`same`], integers only.
    pub fn same_int(inputs: &[DType]) -> Result<DType, OpError> {
        same(inputs).and_then(|d| require(d, d.is_int(), "an integer type"))
    }

    /// As [`same`], types with negative numbers only.
    pub fn same_signed(inputs: &[DType]) -> Result<DType, OpError> {
        same(inputs).and_then(|d| require(d, d.is_float() || d.is_signed_int(), "a signed type"))
    }

    /// As [`same`], `bool` and integers.
    pub fn same_bits(inputs: &[DType]) -> Result<DType, OpError> {
        same(inputs).and_then(|d| require(d, !d.is_float(), "bool or an integer type"))
    }

    /// Numbers of one type, about which the result is a statement.
    pub fn number_to_bool(inputs: &[DType]) -> Result<DType, OpError> {
        same_number(inputs).map(|_| DType::Bool)
    }

    /// Floats of one type, about which the result is a statement.
    pub fn float_to_bool(inputs: &[DType]) -> Result<DType, OpError> {
        same_float(inputs).map(|_| DType::Bool)
    }

    /// Anything of one type, about which the result is a statement.
    pub fn any_to_bool(inputs: &[DType]) -> Result<DType, OpError> {
        same(inputs).map(|_| DType::Bool)
    }

    pub fn require(dtype: DType, holds: bool, wanted: &str) -> Result<DType, OpError> {
        if holds { Ok(dtype) } else { Err(OpError::new(format!("takes {wanted}, got {dtype}"))) }
    }
}
