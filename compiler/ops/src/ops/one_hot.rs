use ir::{DType, OpError, TensorType};
use loops::{Compare, Definition, Expr, Source, Stage};
use serde::{Deserialize, Serialize};

use crate::{Meaning, Onnx, Op, onnx, shape};

/// For each place (first operand) a vector along a new axis: `values[1]` at that place and `values[0]` elsewhere
/// (second operand, of two elements).
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OneHot {
    /// Where the new axis stands in the result.
    pub axis: usize,
    /// The new axis's extent.
    pub depth: usize,
}

impl Op for OneHot {
    const NAME: &'static str = "one_hot";
    const ONNX: &'static [Onnx] = &[onnx("OneHot", 9, |node| {
        let (places, values) = (node.input(0)?, node.input(2)?);
        let depth = node.constant(1)?;
        if depth.ty.elements() != 1 {
            return Err(OpError::new(format!("`depth` is of type {}, not one element", depth.ty)));
        }
        let depth = shape::extent(depth.get(0).as_i64(), "depth")?;
        let axis = shape::axis(node.int("axis")?.unwrap_or(-1), node.ty(places).rank() + 1)?;
        Ok(vec![node.apply(OneHot { axis, depth }, &[places, values])?])
    })];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [places, values] = shape::inputs(inputs)?;
        if places.dtype == DType::Bool || self.axis > places.rank() {
            return Err(OpError::new(format!("places {places} do not fit axis {}", self.axis)));
        }
        if values.shape != [2] {
            return Err(OpError::new(format!("`values` is of type {values}, not two elements")));
        }
        let mut shape = places.shape.clone();
        shape.insert(self.axis, self.depth);
        Ok(vec![values.with_shape(shape)])
    }

    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let (places, values) = (&inputs[0], &inputs[1]);
        let index: Vec<Expr> =
            (0..=places.rank()).filter(|&axis| axis != self.axis).map(Expr::Axis).collect();
        let place = Expr::read(Source::Operand(0), index).cast(DType::I64);
        let negative = Expr::compare(Compare::Lt, place.clone(), Expr::int(0));
        let place = Expr::select(negative, place.clone() + Expr::int(self.depth as i64), place);
        let value = |k: i64| Expr::read(Source::Operand(1), vec![Expr::int(k)]);
        let body = Expr::select(Expr::compare(Compare::Eq, place, Expr::Axis(self.axis)), value(1), value(0));
        let mut domain = places.shape.clone();
        domain.insert(self.axis, self.depth);
        Meaning::Compute(Definition::single(Stage::map(values.dtype, domain, body)))
    }
}
