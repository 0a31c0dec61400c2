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
            return Err(OpError::new(format!("takes {least} to {most} inputs, got {}", inputs.len())));
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

    pub fn require(dtype: DType, holds: bool, wanted: &str) -> Result<DType, OpError> {
        if holds { Ok(dtype) } else { Err(OpError::new(format!("takes {wanted}, got {dtype}"))) }
    }
}
