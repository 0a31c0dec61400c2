use ir::{DType, Float, OpError, Scalar, Value};
use loops::Expr;
use serde::{Deserialize, Serialize};

use super::{max::Max, min::Min};
use crate::{Elementwise, Import, Onnx, check, onnx};

/// `min(max(x, self.min), self.max)`; an infinite bound is none, a NaN stays one.
///
/// A bound that ONNX leaves out is none, as in the operator's function body: infinities pass on that side.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Clip {
    pub min: Float,
    pub max: Float,
}

impl Default for Clip {
    fn default() -> Clip {
        Clip { min: Float(f32::NEG_INFINITY), max: Float(f32::INFINITY) }
    }
}

impl Elementwise for Clip {
    const NAME: &'static str = "clip";
    const ONNX: &'static [Onnx] = &[onnx("Clip", 6, |node| {
        let x = node.input(0)?;
        if node.opset < 11 {
            let (min, max) = (node.float("min")?, node.float("max")?);
            let clip = Clip::between(min.unwrap_or(f32::NEG_INFINITY), max.unwrap_or(f32::INFINITY));
            return Ok(vec![node.apply(clip, &[x])?]);
        }
        let none = Clip::default();
        let bounds = (bound(node, 1, none.min), bound(node, 2, none.max));
        Ok(vec![match bounds {
            (Some(min), Some(max)) => node.apply(Clip { min, max }, &[x])?,
            _ => clip_by_values(node, x)?,
        }])
    })];
    const ARITY: (usize, usize) = (1, 1);

    fn result(&self, inputs: &[DType]) -> Result<DType, OpError> {
        check::same_number(inputs)
    }

    fn body(&self, args: &[Expr], inputs: &[DType]) -> Expr {
        let constant = |bound: Float| Expr::constant(inputs[0], bound.wide());
        let mut value = args[0].clone();
        // The bound first: `Min` and `Max` give their second operand where one is NaN.
        if self.min.0 != f32::NEG_INFINITY {
            value = constant(self.min).max(value);
        }
        if self.max.0 != f32::INFINITY {
            value = constant(self.max).min(value);
        }
        value
    }
}

impl Clip {
    pub fn between(min: f32, max: f32) -> Clip {
        Clip { min: Float(min), max: Float(max) }
    }
}

/// Input `k` as an attribute, if it is a constant that an attribute holds exactly; `absent` if it is left out.
fn bound(node: &Import, k: usize, absent: Float) -> Option<Float> {
    let Some(value) = node.optional(k) else { return Some(absent) };
    let tensor = node.graph.constant_value(value).filter(|tensor| tensor.ty.elements() == 1)?;
    let scalar = tensor.get(0);
    let bound = Float(scalar.as_f64() as f32);
    (Scalar::from_f64(scalar.dtype, bound.wide()) == scalar && !bound.0.is_nan()).then_some(bound)
}

fn clip_by_values(node: &mut Import, x: Value) -> Result<Value, OpError> {
    let mut value = x;
    if let Some(min) = node.optional(1) {
        value = node.apply(Max, &[min, value])?;
    }
    if let Some(max) = node.optional(2) {
        value = node.apply(Min, &[max, value])?;
    }
    Ok(value)
}
