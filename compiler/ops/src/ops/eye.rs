use ir::{DType, OpError, TensorType};
use loops::{Compare, Definition, Expr, Stage};
use serde::{Deserialize, Serialize};

use crate::{Meaning, Onnx, Op, element_type, onnx, shape};

/// A matrix with ones on one diagonal, `offset` to the right of the main one, and zeros elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Eye {
    pub dtype: DType,
    pub rows: usize,
    pub columns: usize,
    pub offset: i64,
}

impl Default for Eye {
    fn default() -> Eye {
        Eye { dtype: DType::F32, rows: 0, columns: 0, offset: 0 }
    }
}

impl Op for Eye {
    const NAME: &'static str = "eye";
    const ONNX: &'static [Onnx] = &[onnx("EyeLike", 9, |node| {
        let like = node.ty(node.input(0)?).clone();
        let &[rows, columns] = like.shape.as_slice() else {
            return Err(OpError::new(format!("takes a matrix, got {like}")));
        };
        let dtype = node.int("dtype")?.map_or(Ok(like.dtype), element_type)?;
        let offset = node.int("k")?.unwrap_or(0);
        Ok(vec![node.apply(Eye { dtype, rows, columns, offset }, &[])?])
    })];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [] = shape::inputs(inputs)?;
        Ok(vec![TensorType::new(self.dtype, [self.rows, self.columns])])
    }

    fn meaning(&self, _: &[TensorType]) -> Meaning {
        let on_it = Expr::compare(Compare::Eq, Expr::Axis(1) - Expr::Axis(0), Expr::int(self.offset));
        let value = |v| Expr::constant(self.dtype, v);
        let body = Expr::select(on_it, value(1.0), value(0.0));
        Meaning::Compute(Definition::single(Stage::map(self.dtype, [self.rows, self.columns], body)))
    }
}
