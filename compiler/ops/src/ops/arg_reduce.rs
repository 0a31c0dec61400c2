use ir::{DType, OpError, TensorType};
use loops::{Compare, Definition, Expr, Fold, Source, Stage};
use serde::{Deserialize, Serialize};

use crate::{Import, Meaning, Onnx, Op, check, onnx, shape};

/// Where along an axis the largest or smallest element is, as `i64`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ArgReduce {
    /// The smallest element is looked for, not the largest.
    pub smallest: bool,
    /// Of several such elements the last one, not the first.
    pub last: bool,
    pub axis: usize,
    /// Whether the axis stays, with extent 1.
    pub keep_axis: bool,
}

impl Op for ArgReduce {
    const NAME: &'static str = "arg_reduce";
    const ONNX: &'static [Onnx] =
        &[onnx("ArgMax", 1, |node| import(node, false)), onnx("ArgMin", 1, |node| import(node, true))];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = shape::inputs(inputs)?;
        check::same_number(&[x.dtype])?;
        match x.shape.get(self.axis) {
            None => Err(OpError::new(format!("axis {} is outside {x}", self.axis))),
            Some(0) => Err(OpError::new(format!("axis {} of {x} is empty", self.axis))),
            Some(_) => Ok(vec![TensorType::new(DType::I64, self.domain(x))]),
        }
    }

    /// First the extreme, then the first (or last) place that equals it.
    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let x = &inputs[0];
        let domain = self.domain(x);
        let along = Expr::Axis(domain.len());
        let index = |axis: usize| match axis.cmp(&self.axis) {
            std::cmp::Ordering::Less => Expr::Axis(axis),
            std::cmp::Ordering::Equal => along.clone(),
            std::cmp::Ordering::Greater => Expr::Axis(axis - usize::from(!self.keep_axis)),
        };
        let element = Expr::read(Source::Operand(0), (0..x.rank()).map(index).collect::<Vec<_>>());
        let reduction = vec![x.shape[self.axis]];
        let fold = if self.smallest { Fold::Min } else { Fold::Max };
        let extreme = Stage::reduce(x.dtype, domain.clone(), fold, reduction.clone(), element.clone());
        let found = Expr::read(Source::Stage(0), (0..domain.len()).map(Expr::Axis).collect::<Vec<_>>());
        let fold = if self.last { Fold::Max } else { Fold::Min };
        let equal = Expr::compare(Compare::Eq, element, found);
        let place = Expr::select(equal, along, Expr::Const(fold.identity(DType::I64)));
        Meaning::Compute(Definition::of(vec![
            extreme,
            Stage::reduce(DType::I64, domain, fold, reduction, place),
        ]))
    }
}

impl ArgReduce {
    fn domain(&self, x: &TensorType) -> Vec<usize> {
        let mut domain = x.shape.clone();
        match self.keep_axis {
            true => domain[self.axis] = 1,
            false => drop(domain.remove(self.axis)),
        }
        domain
    }
}

fn import(node: &mut Import, smallest: bool) -> Result<Vec<ir::Value>, OpError> {
    let x = node.input(0)?;
    let axis = shape::axis(node.int("axis")?.unwrap_or(0), node.ty(x).rank())?;
    let keep_axis = node.int("keepdims")?.unwrap_or(1) != 0;
    let last = node.int("select_last_index")?.unwrap_or(0) != 0;
    Ok(vec![node.apply(ArgReduce { smallest, last, axis, keep_axis }, &[x])?])
}
