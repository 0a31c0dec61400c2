//! The conditions around a fold's body.

use loops::affine::Affine;
use loops::{Expr, LoopVar};

use crate::flat::{Flat, is_index, outside_loads};
use crate::range::{Ranges, conjuncts, decide, not_negative};

/// A condition under which the body counts; elsewhere the fold is left as it is.
#[derive(Debug, Clone)]
pub struct Guard {
    pub condition: Expr,
    /// The condition as `0 <= sum`, if it has that form.
    pub sum: Option<Affine>,
}

impl Guard {
    /// Whether the answer depends on the place on an axis.
    pub fn asks(&self, axis: usize) -> bool {
        outside_loads(&self.condition, &[&Expr::Axis(axis)])
    }
}

/// Takes the guards off a fold's body: `if condition { inner } else { the fold's identity }`.
pub fn of(flat: &Flat) -> (Vec<Guard>, Expr) {
    let mut guards = Vec::new();
    let mut body = flat.body.clone();
    while let (Some(fold), Expr::Select { condition, then, otherwise }) = (flat.fold, &body) {
        if **otherwise != Expr::Const(fold.identity(flat.folded)) || !index_condition(condition) {
            break;
        }
        for conjunct in conjuncts(condition) {
            guards.push(Guard { condition: conjunct.clone(), sum: not_negative(conjunct) });
        }
        body = then.as_ref().clone();
    }
    (guards, body)
}

/// Whether a condition asks indices alone, so that it may stand around a read.
pub fn index_condition(condition: &Expr) -> bool {
    match condition {
        Expr::Const(_) => true,
        Expr::Compare(_, a, b) => is_index(a) && is_index(b),
        Expr::Binary(_, a, b) => index_condition(a) && index_condition(b),
        Expr::Unary(_, a) => index_condition(a),
        _ => false,
    }
}

/// The places `from..to` of `axis` at which every guard that concerns it holds for all steps of the reduction.
pub fn interior(guards: &[Guard], axis: usize, flat: &Flat) -> (usize, usize) {
    let extent = flat.axes[axis].extent as i64;
    let atom = Expr::Axis(axis);
    let (mut from, mut to) = (0, extent);
    for guard in guards.iter().filter(|guard| mentions(&guard.condition, &atom)) {
        match least_over_reduction(guard, axis, flat) {
            // coefficient · axis + least >= 0
            Some((coefficient, least)) if coefficient > 0 => from = from.max(-least.div_euclid(coefficient)),
            Some((coefficient, least)) if coefficient < 0 => to = to.min(least.div_euclid(-coefficient) + 1),
            _ => (from, to) = (extent, extent),
        }
    }
    (from.clamp(0, extent) as usize, to.clamp(0, extent) as usize)
}

/// The guard's coefficient of `axis` and the least that the rest can be; `None` if it asks anything but `axis` and the
/// reduction.
fn least_over_reduction(guard: &Guard, axis: usize, flat: &Flat) -> Option<(i64, i64)> {
    let sum = guard.sum.as_ref()?;
    let coefficients = sum.over_axes(flat.axes.len())?;
    let mut least = sum.offset;
    for (other, &coefficient) in coefficients.iter().enumerate() {
        if other == axis || coefficient == 0 {
            continue;
        }
        if !flat.axes[other].reduction {
            return None;
        }
        least += (coefficient * (flat.axes[other].extent as i64 - 1)).min(0);
    }
    Some((coefficients[axis], least))
}

fn mentions(expr: &Expr, atom: &Expr) -> bool {
    expr.any(&mut |node| node == atom)
}

/// The reduction axes whose steps decide the guards of a tile of `rows` rows at `at`: written out, every guard on the
/// tile's axis is answered.
pub fn undecided_axes(guards: &[Guard], axis: usize, at: usize, rows: usize, flat: &Flat) -> Vec<usize> {
    let mut ranges = Ranges::new();
    let axes: Vec<Expr> = (0..flat.axes.len())
        .map(|a| {
            let var = LoopVar(a as u32);
            let extent = flat.axes[a].extent as i64;
            ranges.insert(var, if a == axis { (at as i64, (at + rows - 1) as i64) } else { (0, extent - 1) });
            Expr::Loop(var)
        })
        .collect();
    let mut undecided = Vec::new();
    for guard in guards.iter().filter(|guard| mentions(&guard.condition, &Expr::Axis(axis))) {
        if decide(&guard.condition.substitute_axes(&axes), &ranges).is_none() {
            undecided.extend(flat.axes_where(true).filter(|&r| mentions(&guard.condition, &Expr::Axis(r))));
        }
    }
    undecided.sort_unstable();
    undecided.dedup();
    undecided
}
