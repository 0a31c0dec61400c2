use ir::{DType, TensorType};
use loops::{Expr, Source};
use ops::{AnyOp, Meaning};

/// An elementwise computation: each element on its own, from the operands' elements at the same place.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    pub dtype: DType,
    /// Over the result's axes; reads operands alone.
    pub body: Expr,
    /// Whether operands broadcast the ONNX way: their last axes are the result's last.
    pub aligned: bool,
}

impl Map {
    /// `op` as a map, if that is what it means: a single stage without a fold, which reads each operand where it
    /// writes, or at the start of an axis of one element.
    pub fn of(op: &AnyOp, inputs: &[TensorType]) -> Option<Map> {
        let Meaning::Compute(definition) = op.meaning(inputs) else { return None };
        let ([stage], [], [0]) = (&definition.stages[..], &definition.tables[..], &definition.results[..])
        else {
            return None;
        };
        if stage.fold.is_some() {
            return None;
        }
        let rank = stage.domain.len();
        let mut map = Map { dtype: stage.dtype, body: stage.body.clone(), aligned: true };
        map.follows_axes(&stage.body, rank).then_some(())?;
        map.aligned = reads(&stage.body).iter().all(|(_, index)| aligned(index, rank));
        Some(map)
    }

    /// Whether `expr` uses axes only to read, in their order.
    fn follows_axes(&self, expr: &Expr, rank: usize) -> bool {
        match expr {
            Expr::Axis(_) => false,
            Expr::Read { source: Source::Operand(_), index } => in_order(index, rank),
            Expr::Read { .. } => false,
            other => other.children().into_iter().all(|child| self.follows_axes(child, rank)),
        }
    }

    /// Whether every element of operand `k` is read exactly where the result of `shape` has its element.
    pub fn reads_in_place(&self, k: usize, shape: &[usize]) -> bool {
        let in_place = |index: &[Expr]| {
            index.len() == shape.len()
                && index.iter().enumerate().all(|(axis, i)| *i == Expr::Axis(axis) || shape[axis] == 1)
        };
        reads(&self.body).into_iter().filter(|(operand, _)| *operand == k).all(|(_, index)| in_place(index))
    }
}

/// The operands that are read, with their indices.
fn reads(expr: &Expr) -> Vec<(usize, &[Expr])> {
    match expr {
        Expr::Read { source: Source::Operand(k), index } => vec![(*k, index)],
        other => other.children().into_iter().flat_map(reads).collect(),
    }
}

/// Each index an axis or zero, axes ascending.
fn in_order(index: &[Expr], rank: usize) -> bool {
    let mut next = 0;
    index.iter().all(|i| match i {
        Expr::Axis(axis) if *axis >= next && *axis < rank => {
            next = axis + 1;
            true
        }
        Expr::Const(scalar) => scalar.is_zero(),
        _ => false,
    })
}

fn aligned(index: &[Expr], rank: usize) -> bool {
    let skipped = rank.checked_sub(index.len());
    let at = |(k, i): (usize, &Expr)| match i {
        Expr::Axis(axis) => skipped.is_some_and(|skipped| *axis == skipped + k),
        _ => true,
    };
    index.iter().enumerate().all(at)
}
