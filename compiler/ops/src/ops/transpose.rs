use ir::{OpError, TensorType};
use loops::Expr;
use serde::{Deserialize, Serialize};

use crate::{Meaning, Onnx, Op, onnx, shape};

/// The operand's axes in another order: result axis `k` is operand axis `permutation[k]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Transpose {
    pub permutation: Vec<usize>,
}

impl Op for Transpose {
    const NAME: &'static str = "transpose";
    const ONNX: &'static [Onnx] = &[onnx("Transpose", 1, |node| {
        let x = node.input(0)?;
        let rank = node.ty(x).rank();
        let permutation = match node.ints("perm")? {
            None => (0..rank).rev().collect(),
            Some(perm) => perm.iter().map(|&a| shape::axis(a, rank)).collect::<Result<_, _>>()?,
        };
        Ok(vec![node.apply(Transpose { permutation }, &[x])?])
    })];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = shape::inputs(inputs)?;
        let mut sorted = self.permutation.clone();
        sorted.sort_unstable();
        if sorted != (0..x.rank()).collect::<Vec<_>>() {
            return Err(OpError::new(format!("{:?} is no permutation of {} axes", self.permutation, x.rank())));
        }
        Ok(vec![x.with_shape(self.permutation.iter().map(|&axis| x.shape[axis]).collect::<Vec<_>>())])
    }

    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let mut index = vec![Expr::int(0); inputs[0].rank()];
        for (result, &operand) in self.permutation.iter().enumerate() {
            index[operand] = Expr::Axis(result);
        }
        Meaning::View(vec![index])
    }
}
