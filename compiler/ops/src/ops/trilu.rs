use ir::{OpError, TensorType};
use loops::{Compare, Definition, Expr, Source, Stage};
use serde::{Deserialize, Serialize};

use crate::{Meaning, Onnx, Op, onnx, shape};

/// Matrices (the last two axes) of which only a triangle is kept; zero elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Trilu {
    /// What is below the diagonal is kept, not what is above.
    pub lower: bool,
    /// How far right of the main diagonal the kept one is; both count as kept.
    pub diagonal: i64,
}

impl Op for Trilu {
    const NAME: &'static str = "trilu";
    const ONNX: &'static [Onnx] = &[onnx("Trilu", 14, |node| {
        let x = node.input(0)?;
        let diagonal = match node.optional_constant(1)? {
            None => 0,
            Some(k) if k.ty.elements() == 1 => k.get(0).as_i64(),
            Some(k) => return Err(OpError::new(format!("`k` is of type {}, not one element", k.ty))),
        };
        let lower = node.int("upper")?.unwrap_or(1) == 0;
        Ok(vec![node.apply(Trilu { lower, diagonal }, &[x])?])
    })];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = shape::inputs(inputs)?;
        if x.rank() < 2 {
            return Err(OpError::new(format!("{x} is no matrix")));
        }
        Ok(vec![x.clone()])
    }

    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let x = &inputs[0];
        let right_of_diagonal = Expr::Axis(x.rank() - 1) - Expr::Axis(x.rank() - 2);
        let order = if self.lower { Compare::Le } else { Compare::Ge };
        let kept = Expr::compare(order, right_of_diagonal, Expr::int(self.diagonal));
        let read = Expr::read(Source::Operand(0), (0..x.rank()).map(Expr::Axis).collect::<Vec<_>>());
        let body = Expr::select(kept, read, Expr::constant(x.dtype, 0.0));
        Meaning::Compute(Definition::single(Stage::map(x.dtype, x.shape.clone(), body)))
    }
}
