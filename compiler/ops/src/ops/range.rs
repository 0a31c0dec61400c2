use ir::{OpError, Scalar, TensorType};
use loops::{Definition, Expr, Stage};
use serde::{Deserialize, Serialize};

use crate::along::{accumulator, stored};
use crate::{Meaning, Onnx, Op, check, onnx, shape};

/// `start, start + delta, ...`: `length` numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Range {
    pub start: Scalar,
    pub delta: Scalar,
    pub length: usize,
}

impl Default for Range {
    fn default() -> Range {
        Range { start: Scalar::i64(0), delta: Scalar::i64(1), length: 0 }
    }
}

impl Op for Range {
    const NAME: &'static str = "range";
    const ONNX: &'static [Onnx] = &[onnx("Range", 11, |node| {
        let scalar = |k: usize| -> Result<Scalar, OpError> {
            let tensor = node.constant(k)?;
            match tensor.ty.elements() {
                1 => Ok(tensor.get(0)),
                _ => Err(OpError::new(format!("input {k} is {}, not one number", tensor.ty))),
            }
        };
        let (start, limit, delta) = (scalar(0)?, scalar(1)?, scalar(2)?);
        check::same_number(&[start.dtype, limit.dtype, delta.dtype])?;
        let length = length(start, limit, delta)?;
        Ok(vec![node.apply(Range { start, delta, length }, &[])?])
    })];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [] = shape::inputs(inputs)?;
        let dtype = check::same_number(&[self.start.dtype, self.delta.dtype])?;
        Ok(vec![TensorType::new(dtype, [self.length])])
    }

    fn meaning(&self, _: &[TensorType]) -> Meaning {
        let dtype = self.start.dtype;
        let acc = accumulator(dtype);
        let wide = |scalar: Scalar| match dtype.is_float() {
            true => Expr::constant(acc, scalar.as_f64()),
            false => Expr::Const(scalar),
        };
        let value = wide(self.start) + Expr::Axis(0).cast(acc) * wide(self.delta);
        Meaning::Compute(Definition::single(Stage::map(dtype, [self.length], stored(value, acc, dtype))))
    }
}

/// `max(ceil((limit - start) / delta), 0)`.
fn length(start: Scalar, limit: Scalar, delta: Scalar) -> Result<usize, OpError> {
    if delta.is_zero() {
        return Err(OpError::new("the step is 0"));
    }
    if start.dtype.is_float() {
        let steps = ((limit.as_f64() - start.as_f64()) / delta.as_f64()).ceil();
        // The conversion saturates; too many elements are refused where the result's type is judged.
        return Ok(steps.max(0.0) as usize);
    }
    let (distance, step) =
        (i128::from(limit.as_i64()) - i128::from(start.as_i64()), i128::from(delta.as_i64()));
    let steps = distance / step + i128::from(distance % step != 0 && (distance < 0) == (step < 0));
    Ok(usize::try_from(steps.max(0)).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use ir::Tensor;

    use super::*;

    #[test]
    fn counts_every_started_step() {
        for (start, limit, delta, steps) in
            [(0, 10, 3, 4), (0, 9, 3, 3), (10, 0, -4, 3), (0, 10, -1, 0), (0, 0, 1, 0)]
        {
            let given = length(Scalar::i64(start), Scalar::i64(limit), Scalar::i64(delta));
            assert_eq!(given, Ok(steps), "from {start} to {limit} by {delta}");
            let scalar = |value: i64| Scalar::f32(value as f32);
            assert_eq!(length(scalar(start), scalar(limit), scalar(delta)), Ok(steps));
        }
        assert!(Range::default().infer(&[]).is_ok());
        assert_eq!(Tensor::from_slice([2], &[5i64, 3]), {
            let range = Range { start: Scalar::i64(5), delta: Scalar::i64(-2), length: 2 };
            crate::AnyOp::from(range).eval(&[]).remove(0)
        });
    }
}
