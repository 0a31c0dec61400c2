use ir::{OpError, TensorType};
use loops::{Binary, Expr};
use serde::{Deserialize, Serialize};

use crate::{Meaning, Onnx, Op, onnx, shape};

/// The operand repeated along each axis.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tile {
    pub repeats: Vec<usize>,
}

impl Op for Tile {
    const NAME: &'static str = "tile";
    const ONNX: &'static [Onnx] = &[onnx("Tile", 6, |node| {
        let x = node.input(0)?;
        let repeats = node.constant(1)?.to_i64s();
        let repeats =
            repeats.into_iter().map(|n| shape::extent(n, "repeats")).collect::<Result<Vec<_>, _>>()?;
        if repeats.len() == node.ty(x).rank() && repeats.iter().all(|&n| n == 1) {
            return Ok(vec![x]);
        }
        Ok(vec![node.apply(Tile { repeats }, &[x])?])
    })];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = shape::inputs(inputs)?;
        if self.repeats.len() != x.rank() {
            return Err(OpError::new(format!("{} repeats for {x}", self.repeats.len())));
        }
        let shape: Option<Vec<usize>> =
            x.shape.iter().zip(&self.repeats).map(|(&a, &b)| a.checked_mul(b)).collect();
        Ok(vec![x.with_shape(shape.ok_or_else(|| OpError::new("the result has too many elements"))?)])
    }

    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let index = |(axis, (&extent, &repeats)): (usize, (&usize, &usize))| match (extent, repeats) {
            (_, 1) => Expr::Axis(axis),
            (1, _) => Expr::int(0),
            _ => Expr::binary(Binary::Rem, Expr::Axis(axis), Expr::int(extent as i64)),
        };
        Meaning::View(vec![inputs[0].shape.iter().zip(&self.repeats).enumerate().map(index).collect()])
    }

    fn before_transpose(&self, permutation: &[usize]) -> Option<(Tile, Vec<usize>)> {
        let repeats = shape::before_transpose(&self.repeats, permutation)?;
        Some((Tile { repeats }, permutation.to_vec()))
    }
}
