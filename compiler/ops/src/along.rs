use ir::DType;
use loops::{Expr, Fold, Source, Stage};

/// Stages for operators that hold each element against what some axes of its tensor come to: softmax, norms.
///
/// A fold keeps the axes that it folds, with extent 1, so that every stage has the tensor's rank.
pub struct Along {
    shape: Vec<usize>,
    /// Per axis its number among the folded ones.
    folded: Vec<Option<usize>>,
}

impl Along {
    /// Folding `axes` of a tensor of `shape`.
    pub fn new(shape: &[usize], axes: &[usize]) -> Along {
        let place = |axis| axes.iter().position(|&a| a == axis);
        Along { shape: shape.to_vec(), folded: (0..shape.len()).map(place).collect() }
    }

    /// How many elements are folded into one.
    pub fn count(&self) -> usize {
        self.shape
            .iter()
            .zip(&self.folded)
            .filter(|(_, folded)| folded.is_some())
            .map(|(&extent, _)| extent)
            .product()
    }

    /// The fold of `body`, which is given the index of an element.
    pub fn fold(&self, dtype: DType, fold: Fold, body: impl FnOnce(&[Expr]) -> Expr) -> Stage {
        let rank = self.shape.len();
        let extents = self.shape.iter().zip(&self.folded);
        let domain: Vec<usize> =
            extents.clone().map(|(&e, folded)| if folded.is_some() { 1 } else { e }).collect();
        let mut reduction: Vec<(usize, usize)> =
            extents.filter_map(|(&e, &folded)| Some((folded?, e))).collect();
        reduction.sort_unstable();
        let reduction: Vec<usize> = reduction.into_iter().map(|(_, extent)| extent).collect();
        let axis = |(a, &folded): (usize, &Option<usize>)| Expr::Axis(folded.map_or(a, |k| rank + k));
        let element: Vec<Expr> = self.folded.iter().enumerate().map(axis).collect();
        Stage::reduce(dtype, domain, fold, reduction, body(&element))
    }

    /// A map over the tensor's elements; `body` is given the index of one.
    pub fn map(&self, dtype: DType, body: impl FnOnce(&[Expr]) -> Expr) -> Stage {
        let element: Vec<Expr> = (0..self.shape.len()).map(Expr::Axis).collect();
        Stage::map(dtype, self.shape.clone(), body(&element))
    }

    /// What the fold in `stage` left for the current element, in a map as in another fold along the same axes.
    pub fn result(&self, stage: usize) -> Expr {
        let index = |(axis, folded): (usize, &Option<usize>)| match folded {
            Some(_) => Expr::int(0),
            None => Expr::Axis(axis),
        };
        Expr::read(Source::Stage(stage), self.folded.iter().enumerate().map(index).collect::<Vec<_>>())
    }
}

/// The type to compute in: the narrow floats lose too much on the way.
pub fn accumulator(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        other => other,
    }
}

/// Operand `k`, of `shape` and `dtype`, at the `element` of a tensor that it broadcasts to; as `wanted`.
pub fn operand(k: usize, ty: &ir::TensorType, wanted: DType, element: &[Expr]) -> Expr {
    let skipped = element.len() - ty.rank();
    let index = ty.shape.iter().zip(&element[skipped..]);
    let index: Vec<Expr> = index.map(|(&e, at)| if e == 1 { Expr::int(0) } else { at.clone() }).collect();
    let read = Expr::read(Source::Operand(k), index);
    if ty.dtype == wanted { read } else { read.cast(wanted) }
}

/// `value` computed as `from`, stored as `to`.
pub fn stored(value: Expr, from: DType, to: DType) -> Expr {
    if from == to { value } else { value.cast(to) }
}
