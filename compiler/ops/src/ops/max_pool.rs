use ir::{DType, OpError, TensorType};
use loops::{Definition, Expr, Fold, Stage};
use serde::{Deserialize, Serialize};

use crate::shape::{Layout, Pool};
use crate::{Meaning, Onnx, Op, onnx};

/// The largest element under the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MaxPool {
    pub pool: Pool,
}

impl Op for MaxPool {
    const NAME: &'static str = "max_pool";
    const ONNX: &'static [Onnx] = &[onnx("MaxPool", 1, |node| {
        if node.outputs.get(1).copied().unwrap_or(false) {
            return Err(OpError::new("the output `Indices` is not supported")
                .with_hint("only the first output, the maxima, is"));
        }
        let x = node.input(0)?;
        let (pool, _) = Pool::import(node, node.ty(x))?;
        Ok(vec![node.apply(MaxPool { pool }, &[x])?])
    })];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let result = self.pool.infer(inputs)?;
        crate::check::require(result.dtype, result.dtype != DType::Bool, "a number type")?;
        Ok(vec![result])
    }

    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let x = &inputs[0];
        let domain = self.pool.infer(inputs).map(|result| result.shape).unwrap_or_default();
        let body = self.pool.body(x, |element| element, Expr::Const(Fold::Max.identity(x.dtype)));
        let kernel = self.pool.kernel.clone();
        Meaning::Compute(Definition::single(Stage::reduce(x.dtype, domain, Fold::Max, kernel, body)))
    }

    fn in_layout(&self, layout: Layout) -> Option<MaxPool> {
        let pool = Pool { layout, ..self.pool.clone() };
        Some(MaxPool { pool })
    }
}
