use ir::{Float, OpError, TensorType};
use loops::{Binary, Definition, Expr, Fold, Source, Stage, Unary};
use serde::{Deserialize, Serialize};

use crate::along::{accumulator, operand, stored};
use crate::{Meaning, Onnx, Op, check, shape};

/// `softmax(scale · q · kᵀ + mask) · v`, for each of the batches (examples, heads) on its own.
///
/// Operands `q`: `[batch..., queries, depth]`, `k`: `[batch..., keys, depth]`, `v`: `[batch..., keys, width]`, and
/// optionally a mask that broadcasts to `[batch..., queries, keys]`; the result is `[batch..., queries, width]`. Batch
/// axes of one element in `k` and `v` are the same for all. The axes of all but the mask may lie in another order.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Attention {
    pub scale: Float,
    /// `transpose(q, query)` has its axes in the order above; so with the others.
    pub query: Vec<usize>,
    pub key: Vec<usize>,
    pub value: Vec<usize>,
    /// The result is `transpose(y, result)` of a `y` in the order above.
    pub result: Vec<usize>,
}

impl Op for Attention {
    const NAME: &'static str = "attention";
    const ONNX: &'static [Onnx] = &[];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let ([q, k, v] | [q, k, v, _]) = inputs else {
            return Err(OpError::new(format!("takes q, k, v and a mask, got {} inputs", inputs.len())));
        };
        check::same_float(&inputs.iter().map(|ty| ty.dtype).collect::<Vec<_>>())?;
        let rank = q.rank();
        let orders = [(&self.query, q), (&self.key, k), (&self.value, v), (&self.result, q)];
        if rank < 2 || orders.iter().any(|(order, ty)| ty.rank() != rank || !is_permutation(order, rank)) {
            return Err(OpError::new(format!("takes matrices with batches in the orders given, got {q}, {k}, {v}")));
        }
        let [q, k, v] = [(&self.query, q), (&self.key, k), (&self.value, v)].map(|(order, ty)| in_order(order, ty));
        let batch = rank - 2;
        let fits = |of: &[usize]| (0..batch).all(|axis| of[axis] == q[axis] || of[axis] == 1);
        if !fits(&k) || !fits(&v) || q[batch + 1] != k[batch + 1] || k[batch] != v[batch] {
            return Err(OpError::new(format!("queries {q:?}, keys {k:?} and values {v:?} do not fit")));
        }
        let mut scores = q.clone();
        scores[batch + 1] = k[batch];
        if let Some(mask) = inputs.get(3)
            && shape::broadcast(&[&scores, &mask.shape])? != scores
        {
            return Err(OpError::new(format!("the mask {mask} does not broadcast to {scores:?}")));
        }
        let mut result = q;
        result[batch + 1] = v[batch + 1];
        let result: Vec<usize> = self.result.iter().map(|&axis| result[axis]).collect();
        Ok(vec![inputs[0].with_shape(result)])
    }

    /// All stages have the axes of the result in their order, with keys in place of the result's width, so that the
    /// rows are the same for all. The greatest score is taken off first, so that no power overflows.
    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let (dtype, rank) = (inputs[0].dtype, inputs[0].rank());
        let (acc, batch) = (accumulator(dtype), rank - 2);
        let [q, k, v] = [(&self.query, 0), (&self.key, 1), (&self.value, 2)]
            .map(|(order, operand)| in_order(order, &inputs[operand]));
        let (depth, keys) = (q[batch + 1], k[batch]);
        let mut place = vec![0; rank];
        self.result.iter().enumerate().for_each(|(axis, &of)| place[of] = axis);
        let (row, column) = (place[batch], place[batch + 1]);

        // A stage's shape: batches as wide as `like`'s, queries, and so many columns.
        let shape = |like: &[usize], rows: usize, columns: usize| {
            let mut shape = vec![0; rank];
            (0..batch).for_each(|axis| shape[place[axis]] = like[axis]);
            (shape[row], shape[column]) = (rows, columns);
            shape
        };
        // An operand of the batches `like`, at the batch of the current element.
        let read = |number: usize, order: &[usize], like: &[usize], sequence: &Expr, inner: &Expr| {
            let mut index = vec![Expr::int(0); rank];
            for axis in (0..batch).filter(|&axis| like[axis] != 1) {
                index[order[axis]] = Expr::Axis(place[axis]);
            }
            (index[order[batch]], index[order[batch + 1]]) = (sequence.clone(), inner.clone());
            stored(Expr::read(Source::Operand(number), index), dtype, acc)
        };
        // An earlier stage, of the batches and rows `like`, at `at` in place of the column.
        let stage = |number: usize, like: &[usize], at: Expr| {
            let index = |axis| if like[axis] == 1 { Expr::int(0) } else { Expr::Axis(axis) };
            let mut index: Vec<Expr> = (0..rank).map(index).collect();
            index[column] = at;
            Expr::read(Source::Stage(number), index)
        };
        let (whole, single) = (shape(&q, q[batch], keys), shape(&q, q[batch], 1));
        let fold = Expr::Axis(rank);
        let mut stages = Vec::new();

        // Neighbouring keys become neighbours in memory, where they are not yet: vectors run along them.
        let key = if self.key[batch] == rank - 1 {
            read(1, &self.key, &k, &Expr::Axis(column), &fold)
        } else {
            let domain = shape(&k, 1, depth * keys);
            let at = |op: Binary| Expr::binary(op, Expr::Axis(column), Expr::int(keys.max(1) as i64));
            let turned = read(1, &self.key, &k, &at(Binary::Rem), &at(Binary::Div));
            stages.push(Stage::map(acc, domain.clone(), turned));
            stage(0, &domain, fold.clone() * Expr::int(keys as i64) + Expr::Axis(column))
        };
        let scores = stages.len();
        let mut score = Expr::Folded * Expr::constant(acc, self.scale.wide());
        if let Some(mask) = inputs.get(3) {
            let element: Vec<Expr> = (0..rank).map(|axis| Expr::Axis(place[axis])).collect();
            score = score + operand(3, mask, acc, &element);
        }
        let product = read(0, &self.query, &q, &Expr::Axis(row), &fold) * key;
        let reduce = |shape: &[usize], fold: Fold, over: usize, body: Expr| {
            Stage::reduce(acc, shape.to_vec(), fold, vec![over], body)
        };
        stages.push(reduce(&whole, Fold::Sum, depth, product).finished(acc, &score));
        stages.push(reduce(&single, Fold::Max, keys, stage(scores, &whole, fold.clone())));
        let greatest = stage(scores + 1, &single, Expr::int(0));
        let own = stage(scores, &whole, Expr::Axis(column));
        stages.push(Stage::map(acc, whole.clone(), Expr::unary(Unary::Exp, own - greatest)));
        let power = || stage(scores + 2, &whole, fold.clone());
        let inverse = Expr::constant(acc, 1.0) / Expr::Folded;
        stages.push(reduce(&single, Fold::Sum, keys, power()).finished(acc, &inverse));
        let weighted = power() * read(2, &self.value, &v, &fold, &Expr::Axis(column));
        let share = Expr::Folded * stage(scores + 3, &single, Expr::int(0));
        let result = shape(&q, q[batch], v[batch + 1]);
        stages.push(reduce(&result, Fold::Sum, keys, weighted).finished(dtype, &stored(share, acc, dtype)));
        Meaning::Compute(Definition::of(stages))
    }
}

fn is_permutation(order: &[usize], rank: usize) -> bool {
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    sorted.into_iter().eq(0..rank)
}

fn in_order(order: &[usize], ty: &TensorType) -> Vec<usize> {
    order.iter().map(|&axis| ty.shape[axis]).collect()
}
