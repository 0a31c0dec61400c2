use ir::{OpError, TensorType};
use loops::{Definition, Expr, Source, Stage};
use serde::{Deserialize, Serialize};

use crate::{Meaning, Onnx, Op, onnx, shape};

/// Slices of the first operand by index vectors, the innermost axis of the second operand: a vector of length `n`
/// gives places along the `n` axes that follow the batch axes.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GatherNd {
    /// Leading axes that both operands share.
    pub batch_axes: usize,
}

impl Op for GatherNd {
    const NAME: &'static str = "gather_nd";
    const ONNX: &'static [Onnx] = &[onnx("GatherND", 11, |node| {
        let batch_axes = shape::extent(node.int("batch_dims")?.unwrap_or(0), "batch_dims")?;
        node.direct(GatherNd { batch_axes })
    })];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x, indices] = shape::inputs(inputs)?;
        if !indices.dtype.is_int() {
            return Err(OpError::new(format!("indices of type {indices}, not integers")));
        }
        let batch = self.batch_axes;
        let unfit =
            || OpError::new(format!("index vectors {indices} with {batch} batch axes do not fit {x}"));
        let Some((&places, _)) = indices.shape.split_last() else { return Err(unfit()) };
        if batch >= indices.rank() || batch > x.rank() || x.rank() - batch < places {
            return Err(unfit());
        }
        let empty = x.shape[batch..batch + places].contains(&0) && !indices.shape.contains(&0);
        if x.shape[..batch] != indices.shape[..batch] || empty {
            return Err(unfit());
        }
        Ok(vec![x.with_shape(self.shape(x, indices))])
    }

    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let (x, indices) = (&inputs[0], &inputs[1]);
        let outer = indices.rank() - 1;
        let places = indices.shape[outer];
        let place = |k: usize| {
            let mut at: Vec<Expr> = (0..outer).map(Expr::Axis).collect();
            at.push(Expr::int(k as i64));
            shape::looked_up(Expr::read(Source::Operand(1), at), x.shape[self.batch_axes + k])
        };
        let mut index: Vec<Expr> = (0..self.batch_axes).map(Expr::Axis).collect();
        index.extend((0..places).map(place));
        index.extend((0..x.rank() - self.batch_axes - places).map(|k| Expr::Axis(outer + k)));
        let body = Expr::read(Source::Operand(0), index);
        Meaning::Compute(Definition::single(Stage::map(x.dtype, self.shape(x, indices), body)))
    }
}

impl GatherNd {
    fn shape(&self, x: &TensorType, indices: &TensorType) -> Vec<usize> {
        let outer = indices.rank() - 1;
        [&indices.shape[..outer], &x.shape[self.batch_axes + indices.shape[outer]..]].concat()
    }
}
