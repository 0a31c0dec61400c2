use ir::{DType, OpError, TensorType};
use loops::{Expr, Source};
use serde::{Deserialize, Serialize};

use crate::{Meaning, Onnx, Op, check, onnx, shape};

/// `(x - zero point) · scale`, with one scale for all of `x` or one per place on `axis`: operands `x`, the scale and an
/// optional zero point of `x`'s type.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DequantizeLinear {
    /// Of no account where the scale is a scalar.
    pub axis: usize,
}

impl Op for DequantizeLinear {
    const NAME: &'static str = "dequantize_linear";
    const ONNX: &'static [Onnx] = &[onnx("DequantizeLinear", 10, |node| {
        if node.int("block_size")?.unwrap_or(0) != 0 {
            return Err(OpError::new("`block_size` is not supported")
                .with_hint("per-tensor and per-axis quantization are"));
        }
        let (x, scale) = (node.input(0)?, node.input(1)?);
        let rank = node.ty(x).rank();
        let axis = match single(node.ty(scale)) {
            true => 0,
            false => shape::axis(node.int("axis")?.unwrap_or(1), rank)?,
        };
        let mut operands = vec![x, scale];
        operands.extend(node.optional(2));
        Ok(vec![node.apply(DequantizeLinear { axis }, &operands)?])
    })];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let (x, scale) = match inputs {
            [x, scale] => (x, scale),
            [x, scale, zero]
                if zero.dtype == x.dtype
                    && (zero.shape == scale.shape || (single(zero) && single(scale))) =>
            {
                (x, scale)
            }
            [x, scale, zero] => {
                return Err(OpError::new(format!("zero point {zero} does not fit {x} and scale {scale}")));
            }
            _ => return Err(OpError::new(format!("takes 2 or 3 inputs, got {}", inputs.len()))),
        };
        check::require(x.dtype, x.dtype.is_int(), "an integer type")?;
        check::require(scale.dtype, scale.dtype.is_float(), "a float scale")?;
        if !single(scale) && (scale.rank() != 1 || x.shape.get(self.axis) != Some(&scale.shape[0])) {
            return Err(OpError::new(format!("scale {scale} does not fit axis {} of {x}", self.axis)));
        }
        Ok(vec![x.with_dtype(scale.dtype)])
    }

    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let (x, scale) = (&inputs[0], &inputs[1]);
        let result = x.with_dtype(scale.dtype);
        let axis = match single(scale) {
            true => Expr::int(0),
            false => Expr::Axis(self.axis),
        };
        let parameter = |operand: usize| Expr::read(Source::Operand(operand), vec![axis.clone(); inputs[operand].rank()]);
        // Differences of 8- and 16-bit integers, and 32-bit ones with their zero point of 0, fit an `I32`.
        let wide = if x.dtype.bits() < 32 { DType::I32 } else { x.dtype };
        Meaning::map(&inputs[..1], &result, |args| {
            let value = args[0].clone().cast(wide);
            let shifted = if inputs.len() == 3 { value - parameter(2).cast(wide) } else { value };
            shifted.cast(scale.dtype) * parameter(1)
        })
    }
}

/// One for all of the tensor; unlike a count of the elements this cannot overflow.
fn single(ty: &TensorType) -> bool {
    ty.shape.iter().all(|&extent| extent == 1)
}
