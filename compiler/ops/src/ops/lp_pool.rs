use ir::{OpError, TensorType};
use loops::{Binary, Definition, Expr, Fold, Stage, Unary};
use serde::{Deserialize, Serialize};

use crate::shape::{Layout, Pool};
use crate::{Meaning, Onnx, Op, check, onnx, shape};

/// The p-norm of the elements under the kernel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LpPool {
    pub pool: Pool,
    /// At least 1.
    pub p: usize,
}

impl Default for LpPool {
    fn default() -> LpPool {
        LpPool { pool: Pool::default(), p: 2 }
    }
}

impl Op for LpPool {
    const NAME: &'static str = "lp_pool";
    const ONNX: &'static [Onnx] = &[
        onnx("LpPool", 2, |node| {
            let x = node.input(0)?;
            let (pool, _) = Pool::import(node, node.ty(x))?;
            let p = shape::positive(node.int("p")?.unwrap_or(2), "p")?;
            Ok(vec![node.apply(LpPool { pool, p }, &[x])?])
        }),
        onnx("GlobalLpPool", 2, |node| {
            let x = node.input(0)?;
            let kernel = node.ty(x).shape.get(2..).unwrap_or_default().to_vec();
            let window = shape::Window::plain(kernel.len());
            let pool = Pool { kernel, window, layout: Layout::ChannelsFirst };
            let p = shape::positive(node.int("p")?.unwrap_or(2), "p")?;
            Ok(vec![node.apply(LpPool { pool, p }, &[x])?])
        }),
    ];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let result = self.pool.infer(inputs)?;
        check::require(result.dtype, result.dtype.is_float(), "a float type")?;
        if self.p == 0 {
            return Err(OpError::new("the norm's `p` is 0, must be at least 1"));
        }
        Ok(vec![result])
    }

    /// `(Σ |x|^p)^(1/p)`.
    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let x = &inputs[0];
        let domain = self.pool.infer(inputs).map(|result| result.shape).unwrap_or_default();
        let number = |value: f64| Expr::constant(x.dtype, value);
        let power = |element: Expr| match self.p {
            1 => Expr::unary(Unary::Abs, element),
            2 => element.clone() * element,
            p => Expr::binary(Binary::Pow, Expr::unary(Unary::Abs, element), number(p as f64)),
        };
        let body = self.pool.body(x, power, number(0.0));
        let mut stage = Stage::reduce(x.dtype, domain, Fold::Sum, self.pool.kernel.clone(), body);
        match self.p {
            1 => (),
            2 => stage = stage.finished(x.dtype, &Expr::unary(Unary::Sqrt, Expr::Folded)),
            p => {
                stage =
                    stage.finished(x.dtype, &Expr::binary(Binary::Pow, Expr::Folded, number(1.0 / p as f64)))
            }
        }
        Meaning::Compute(Definition::single(stage))
    }

    fn in_layout(&self, layout: Layout) -> Option<LpPool> {
        let pool = Pool { layout, ..self.pool.clone() };
        Some(LpPool { pool, ..self.clone() })
    }
}
