use ir::{OpError, TensorType};
use loops::{Compare, Definition, Expr, Fold, Source, Stage};
use serde::{Deserialize, Serialize};

use crate::{Import, Meaning, Onnx, Op, check, onnx, shape};

/// Running sums (or products) along an axis.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CumSum {
    pub axis: usize,
    /// Without the element itself.
    pub exclusive: bool,
    /// From the end.
    pub reverse: bool,
    /// Products instead of sums.
    pub product: bool,
}

impl Op for CumSum {
    const NAME: &'static str = "cum_sum";
    const ONNX: &'static [Onnx] =
        &[onnx("CumSum", 11, |node| import(node, false)), onnx("CumProd", 26, |node| import(node, true))];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = shape::inputs(inputs)?;
        check::same_number(&[x.dtype])?;
        match self.axis < x.rank() {
            true => Ok(vec![x.clone()]),
            false => Err(OpError::new(format!("axis {} is outside {x}", self.axis))),
        }
    }

    /// `y[i] = Σ_j x[j]` over the `j` up to (or from) `i`.
    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let x = &inputs[0];
        let (here, other) = (Expr::Axis(self.axis), Expr::Axis(x.rank()));
        let mut index: Vec<Expr> = (0..x.rank()).map(Expr::Axis).collect();
        index[self.axis] = other.clone();
        let order = match (self.reverse, self.exclusive) {
            (false, false) => Compare::Le,
            (false, true) => Compare::Lt,
            (true, false) => Compare::Ge,
            (true, true) => Compare::Gt,
        };
        let fold = if self.product { Fold::Product } else { Fold::Sum };
        let element = Expr::read(Source::Operand(0), index);
        let identity = Expr::Const(fold.identity(x.dtype));
        let body = Expr::select(Expr::compare(order, other, here), element, identity);
        Meaning::Compute(Definition::single(Stage::reduce(
            x.dtype,
            x.shape.clone(),
            fold,
            vec![x.shape[self.axis]],
            body,
        )))
    }
}

fn import(node: &mut Import, product: bool) -> Result<Vec<ir::Value>, OpError> {
    let x = node.input(0)?;
    let [axis] = node.constant(1)?.to_i64s()[..] else {
        return Err(OpError::new("`axis` must be one number"));
    };
    let axis = shape::axis(axis, node.ty(x).rank())?;
    let flag = |name: &str| -> Result<bool, OpError> { Ok(node.int(name)?.unwrap_or(0) != 0) };
    let op = CumSum { axis, exclusive: flag("exclusive")?, reverse: flag("reverse")?, product };
    Ok(vec![node.apply(op, &[x])?])
}
