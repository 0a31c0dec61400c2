use ir::{DType, OpError, Value};
use loops::Expr;
use serde::{Deserialize, Serialize};

use crate::elementwise::Elementwise;
use crate::{Import, Onnx, onnx, shape};

/// `(x - zero_point) · scale`: operands `x`, `scale` and an optional `zero_point` of `x`'s type, which broadcast.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DequantizeLinear;

impl DequantizeLinear {
    /// A scale or zero point in a shape that broadcasts against `x`: one for all, or one for each place on `axis`.
    fn along(node: &mut Import, operand: Value, x: Value, axis: i64) -> Result<Value, OpError> {
        let (x, ty) = (node.ty(x).clone(), node.ty(operand).clone());
        if ty.elements() == 1 {
            return node.reshape(operand, &[]);
        }
        let axis = shape::axis(axis, x.rank())?;
        if ty.shape != x.shape[axis..=axis] {
            return Err(OpError::new(format!("a scale or zero point of {ty} on axis {axis} of {x}"))
                .with_hint("one for all of the tensor, or one for each place on the axis, are supported"));
        }
        let mut shape = vec![1; x.rank()];
        shape[axis] = x.shape[axis];
        node.reshape(operand, &shape)
    }
}

impl Elementwise for DequantizeLinear {
    const NAME: &'static str = "dequantize_linear";
    const ONNX: &'static [Onnx] = &[onnx("DequantizeLinear", 10, |node| {
        let (x, scale) = (node.input(0)?, node.input(1)?);
        if node.int("block_size")?.unwrap_or(0) != 0 {
            return Err(OpError::new("blocks of scales (`block_size`) are not supported"));
        }
        let axis = node.int("axis")?.unwrap_or(1);
        let mut operands = vec![x, DequantizeLinear::along(node, scale, x, axis)?];
        if let Some(zero_point) = node.optional(2) {
            operands.push(DequantizeLinear::along(node, zero_point, x, axis)?);
        }
        Ok(vec![node.apply(DequantizeLinear, &operands)?])
    })];
    const ARITY: (usize, usize) = (2, 3);

    fn result(&self, inputs: &[DType]) -> Result<DType, OpError> {
        let (x, scale) = (inputs[0], inputs[1]);
        if !x.is_int() || x.bits() > 32 || !scale.is_float() {
            return Err(OpError::new(format!("takes integers of up to 32 bits and a float scale, got {x} and {scale}")));
        }
        match inputs.get(2) {
            Some(&zero_point) if zero_point != x => {
                Err(OpError::invalid(format!("the zero point is {zero_point}, the input {x}")))
            }
            _ => Ok(scale),
        }
    }

    /// The difference of two 32-bit integers does not fit one; it is then exact in 64 bits.
    fn body(&self, args: &[Expr], inputs: &[DType]) -> Expr {
        let wide = if inputs[0].bits() < 32 { DType::I32 } else { DType::I64 };
        let x = args[0].clone().cast(wide);
        let x = if inputs.len() == 3 { x - args[2].clone().cast(wide) } else { x };
        x.cast(inputs[1]) * args[1].clone()
    }
}
