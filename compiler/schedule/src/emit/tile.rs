//! The register tile: accumulators, the reduction's loops, the finish and the stores.

use ir::DType;
use loops::affine::Affine;
use loops::{Binary, Expr, Fold, Reg, Stmt, Type, Unary};

use super::guard::index_condition;
use super::value::{Place, Together};
use super::{Emitter, computed};
use crate::Schedule;
use crate::choose::{LONG, Loads, lane_steps, side_by_side};
use crate::flat::{Flat, dtype_of};
use crate::range::decide;

/// When guards hold.
pub(super) enum Held {
    Never,
    Always,
    /// At run time.
    If(Expr),
}

impl Emitter<'_> {
    pub(super) fn tile(&mut self) {
        if let (Some(fold), Some(product)) = (self.flat.fold, self.in_matrices()) {
            return self.matrix_tile(product, fold);
        }
        let horizontal = self.horizontal_axis();
        match (self.flat.fold, horizontal) {
            (None, _) => {
                let places = self.places();
                let together = self.together_in(&[&self.body, &self.finish]);
                self.side_by_side(&places, together, |e, &place| {
                    let (value, lanes) = e.value(&e.flat.body.clone(), place, None);
                    let value = match e.finish {
                        Expr::Folded => value,
                        _ => e.bind(Type { dtype: computed(e.flat.folded), lanes }, value),
                    };
                    let value = e.finished((value, lanes), place);
                    e.store(value, place);
                });
            }
            (Some(fold), None) => {
                let ty = Type { dtype: computed(self.flat.folded), lanes: self.schedule.lanes };
                let places = self.places();
                let starts: Vec<Expr> = places.iter().map(|&place| self.start(fold, place)).collect();
                let block = self.dot.as_ref().and_then(|dot| dot.block);
                let starts = match block {
                    Some(block) => self.in_blocks(block, starts),
                    None => starts,
                };
                let accumulators: Vec<Reg> =
                    starts.into_iter().map(|start| self.register(ty, start)).collect();
                let axes: Vec<usize> = self.flat.axes_where(true).collect();
                self.ask_for_results();
                self.shares = self.shares();
                self.reduction(fold, &axes, &accumulators);
                let sums: Vec<Expr> = match block {
                    Some(block) => self.of_blocks(block, &accumulators),
                    None => accumulators.into_iter().map(Expr::Reg).collect(),
                };
                let results: Vec<(Place, Expr)> = places.into_iter().zip(sums).collect();
                let together = self.together_in(&[&self.finish]);
                self.side_by_side(&results, together, |e, (place, sum)| {
                    let value = e.finished((sum.clone(), ty.lanes), *place);
                    e.store(value, *place);
                });
            }
            (Some(fold), Some(axis)) => self.horizontal(fold, axis),
        }
    }

    fn horizontal_axis(&self) -> Option<usize> {
        self.schedule.vector_axis.filter(|&axis| self.flat.axes[axis].reduction)
    }

    /// The elements of the tile, row by row.
    pub(super) fn places(&self) -> Vec<Place> {
        let lanes = self.schedule.lanes;
        let row = |row: usize| {
            self.vectors.iter().enumerate().map(move |(k, &valid)| Place {
                row,
                first: k * lanes,
                lanes,
                valid,
            })
        };
        (0..self.rows).flat_map(row).collect()
    }

    /// What an accumulator holds before the first step.
    fn start(&mut self, fold: Fold, place: Place) -> Expr {
        match self.start.clone() {
            Some(start) => self.widened(&start, place),
            None => self.constant_vector(fold.identity(computed(self.flat.folded)), place.lanes),
        }
    }

    /// How many values are worked out side by side by such expressions. A long one (an exponential and what it needs) is a
    /// chain in which each operation waits for the one before; what processors hold of waiting operations is three such
    /// chains or so.
    pub(super) fn together_in(&self, exprs: &[&Expr]) -> usize {
        let axes = (self.schedule.vector_axis, self.schedule.tile_axis);
        let operations = |expr: &&Expr| Loads::of(expr, &self.flat.operands, axes, 1, self.target).operations;
        let long = exprs.iter().map(operations).sum::<usize>() >= LONG;
        if long && self.schedule.lanes > 1 { side_by_side(self.target) } else { 1 }
    }

    /// Writes a part for each of `items`, which do not depend on each other: of several the first statements, then the
    /// second ones, and so on.
    pub(super) fn side_by_side<T>(&mut self, items: &[T], together: usize, write: impl Fn(&mut Self, &T)) {
        if together == 1 {
            return items.iter().for_each(|item| write(self, item));
        }
        for several in items.chunks(together) {
            let mut parts: Vec<_> =
                several.iter().map(|item| self.block(|e| write(e, item)).into_iter()).collect();
            loop {
                let next: Vec<Stmt> = parts.iter_mut().filter_map(Iterator::next).collect();
                if next.is_empty() {
                    break;
                }
                next.into_iter().for_each(|stmt| self.push(stmt));
            }
        }
    }

    pub(super) fn finished(&mut self, folded: (Expr, usize), place: Place) -> (Expr, usize) {
        let finish = self.finish.clone();
        self.value(&finish, place, Some(folded))
    }

    pub(super) fn store(&mut self, (value, lanes): (Expr, usize), place: Place) {
        let value = if lanes < place.lanes {
            Expr::Broadcast { value: Box::new(value), lanes: place.lanes }
        } else {
            value
        };
        let value = match (self.flat.dtype, value) {
            // Rounded already, and widened to be computed with.
            (dtype, Expr::Cast(wide, rounded))
                if wide == computed(dtype) && matches!(*rounded, Expr::Cast(to, _) if to == dtype) =>
            {
                *rounded
            }
            (dtype, value) if computed(dtype) != dtype => value.cast(dtype),
            (_, value) => value,
        };
        let index = self.address(&Affine::of(&self.flat.result), place);
        self.push(Stmt::Store { buffer: self.result, index, value, valid: place.valid });
    }

    /// The reduction's loops over `axes`, outermost first, then one step of every accumulator.
    pub(super) fn reduction(&mut self, fold: Fold, axes: &[usize], accumulators: &[Reg]) {
        let Some((&axis, inner)) = axes.split_first() else {
            return self.accumulate(fold, accumulators);
        };
        if let Some(dot) = self.dot.clone().filter(|dot| dot.axis == axis) {
            return self.groups(&dot, fold, accumulators);
        }
        let extent = self.flat.axes[axis].extent;
        if self.unrolled.contains(&axis) {
            for step in 0..extent {
                self.axes[axis] = Expr::int(step as i64);
                self.reduction(fold, inner, accumulators);
            }
            return;
        }
        let (bounds, discharged) = self.narrowed(axis);
        let unroll = self.schedule.unroll;
        let together = lane_steps(self.flat, self.schedule, self.target) == Some(unroll);
        // Tiles at the map's edge are written out by window column already.
        let edge = !together && self.unrolled.len() > self.schedule.unrolled_axes.len();
        let unroll = if inner.is_empty() && discharged.is_empty() && !edge { unroll } else { 1 };
        let together = together && unroll > 1;
        let kept = self.guards.clone();
        let open = kept.iter().enumerate().filter(|(place, _)| !discharged.contains(place));
        self.guards = open.map(|(_, guard)| guard.clone()).collect();
        // Several steps at once go over the whole axis; what is left of it follows.
        let whole = extent - extent % unroll;
        let bounds = if unroll > 1 { (Expr::int(0), Expr::int(whole as i64)) } else { bounds };
        self.for_loop(bounds, unroll, (0, (whole - unroll) as i64), |e, var| {
            if inner.is_empty() {
                e.axes[axis] = var.clone();
                e.ask(&e.shares.clone());
            }
            for step in 0..unroll {
                e.axes[axis] = if step == 0 { var.clone() } else { var.clone() + Expr::int(step as i64) };
                e.together = together.then(|| Together { axis, first: var.clone(), step, steps: unroll });
                e.reduction(fold, inner, accumulators);
            }
            e.together = None;
        });
        for step in whole..extent {
            self.axes[axis] = Expr::int(step as i64);
            self.reduction(fold, inner, accumulators);
        }
        self.guards = kept;
    }

    /// The steps of a reduction axis for which the guards hold, and the guards that need no more asking for them.
    fn narrowed(&mut self, axis: usize) -> ((Expr, Expr), Vec<usize>) {
        let extent = self.flat.axes[axis].extent as i64;
        let (mut from, mut to) = (Expr::int(0), Expr::int(extent));
        let mut discharged = Vec::new();
        let axes: Vec<Expr> = (0..self.axes.len())
            .map(|a| if a == axis { Expr::Axis(axis) } else { self.axes[a].clone() })
            .collect();
        for (place, guard) in self.guards.clone().iter().enumerate() {
            let Some(sum) = &guard.sum else { continue };
            let coefficient = sum.coefficient(&Expr::Axis(axis));
            let varies = |a: usize| sum.coefficient(&Expr::Axis(a)) != 0 || sum.hides(&Expr::Axis(a));
            let is_row = |a: usize| Some(a) == self.schedule.tile_axis && self.rows > 1;
            let later = |a: usize| self.flat.axes[a].reduction && a > axis;
            if coefficient == 0
                || sum.hides(&Expr::Axis(axis))
                || (0..self.axes.len()).any(|a| {
                    a != axis && varies(a) && (is_row(a) || later(a) || Some(a) == self.schedule.vector_axis)
                })
            {
                continue;
            }
            discharged.push(place);
            let mut rest = Affine::of(&sum.to_expr().substitute_axes(&axes));
            rest.terms.remove(&Expr::Axis(axis));
            if self.always(&rest, coefficient, extent) {
                continue;
            }
            if coefficient > 0 {
                // axis >= ceil(-rest / coefficient)
                let least = Affine::constant(coefficient - 1).plus(&rest, -1).to_expr().max(Expr::int(0));
                from = from.max(divided(least, coefficient));
            } else {
                // axis < floor(rest / -coefficient) + 1
                let most = Affine::constant(-coefficient).plus(&rest, 1).to_expr().max(Expr::int(0));
                to = to.min(divided(most, -coefficient));
            }
        }
        let index = Type { dtype: DType::I64, lanes: 1 };
        let mut bound =
            |e: Expr| if matches!(e, Expr::Const(_)) { e } else { self.bind(index, simplified(e)) };
        ((bound(from), bound(to)), discharged)
    }

    /// Whether `coefficient · step + rest >= 0` for every step and wherever the loops stand.
    fn always(&self, rest: &Affine, coefficient: i64, extent: i64) -> bool {
        let least = rest.clone().plus(&Affine::constant((coefficient * (extent - 1)).min(0)), 1);
        let holds = Expr::compare(loops::Compare::Ge, least.to_expr(), Expr::int(0));
        decide(&holds, &self.ranges) == Some(true)
    }

    pub(super) fn accumulate(&mut self, fold: Fold, accumulators: &[Reg]) {
        if let Some(dot) = self.dot.clone() {
            if let Some(product) = self.in_matrices() {
                return self.accumulate_matrices(&dot, product, accumulators);
            }
            if let Some(block) = dot.block {
                return self.accumulate_blocks(&dot, block, accumulators);
            }
        }
        let places: Vec<(Place, Reg)> = self.places().into_iter().zip(accumulators.iter().copied()).collect();
        let together = self.together_in(&[&self.body]);
        self.side_by_side(&places, together, |e, &(place, accumulator)| {
            e.guarded_step(fold, accumulator, place);
        });
    }

    /// A step where the guards hold at `place`: decided now, or asked at run time.
    fn guarded_step(&mut self, fold: Fold, accumulator: Reg, place: Place) {
        match self.held(place) {
            Held::Never => (),
            Held::Always => self.step(fold, accumulator, place),
            Held::If(condition) => {
                let then = self.block(|e| e.step(fold, accumulator, place));
                self.push(Stmt::If { condition, then, otherwise: vec![] });
            }
        }
    }

    /// Whether the guards hold at `place`.
    pub(super) fn held(&self, place: Place) -> Held {
        let axes = self.axes_at(place);
        let conditions: Vec<Expr> = self.guards.iter().map(|g| g.condition.substitute_axes(&axes)).collect();
        let decided: Vec<Option<bool>> = conditions.iter().map(|c| decide(c, &self.ranges)).collect();
        if decided.contains(&Some(false)) {
            return Held::Never;
        }
        let open = conditions.into_iter().zip(decided).filter(|(_, known)| known.is_none()).map(|(c, _)| c);
        open.reduce(Expr::and).map_or(Held::Always, Held::If)
    }

    /// `accumulator = fold(accumulator, body)`, as one multiply-add where the body is a product.
    fn step(&mut self, fold: Fold, accumulator: Reg, place: Place) {
        if let Some(dot) = self.dot.clone() {
            let value = self.group(&dot, accumulator, place);
            return self.push(Stmt::Set { reg: accumulator, value });
        }
        let body = self.body.clone();
        let held = Expr::Reg(accumulator);
        let value = match (&fold, &body) {
            (Fold::Sum, Expr::Binary(Binary::Mul, a, b)) if computed(self.flat.folded).is_float() => {
                let a = self.widened(a, place);
                let b = self.widened(b, place);
                Expr::MulAdd(Box::new(a), Box::new(b), Box::new(held))
            }
            _ => {
                let value = self.widened(&body, place);
                Expr::binary(fold.binary(), value, held)
            }
        };
        self.push(Stmt::Set { reg: accumulator, value });
    }

    /// A value in as many lanes as the place has.
    fn widened(&mut self, expr: &Expr, place: Place) -> Expr {
        let (value, lanes) = self.value(expr, place, None);
        self.broadcast(expr, value, lanes, place.lanes)
    }

    /// Vectors along a reduction axis: several accumulators a row, folded into one number at the end; what even a last
    /// vector leaves of the axis is added element by element.
    fn horizontal(&mut self, fold: Fold, axis: usize) {
        let lanes = self.schedule.lanes;
        let extent = self.flat.axes[axis].extent;
        let others: Vec<usize> = self.flat.axes_where(true).filter(|&a| a != axis).collect();
        let dtype = computed(self.flat.folded);
        let scalar = Type { dtype, lanes: 1 };
        let (identity, rows) = (fold.identity(dtype), self.rows);
        let chunk = lanes * self.schedule.vectors.min(extent / lanes);
        let (full, per_row) = (extent / chunk * chunk, chunk / lanes);
        let last = self.last_vectors(fold, axis, full);
        let single = last.last().map_or(full, |(at, valid)| at + valid);
        let totals: Vec<Reg> = (0..rows).map(|_| self.register(scalar, Expr::Const(identity))).collect();

        self.vectors = vec![lanes; per_row];
        let wide = self.constant_vector(identity, lanes);
        let accumulators: Vec<Reg> =
            self.places().iter().map(|_| self.register(Type { dtype, lanes }, wide.clone())).collect();
        self.along(&others, &mut |e| {
            e.steps(axis, (0, full), chunk, |e| e.accumulate(fold, &accumulators));
            for (vector, &(at, valid)) in last.iter().enumerate() {
                e.axes[axis] = Expr::int(at as i64);
                e.vectors = vec![valid];
                let of_row = accumulators.chunks(per_row).map(|of_row| of_row[vector]);
                e.accumulate(fold, &of_row.collect::<Vec<Reg>>());
            }
        });
        for (row, &total) in totals.iter().enumerate() {
            let parts = accumulators[row * per_row..][..per_row].iter().map(|&reg| Expr::Reg(reg));
            let Some(joined) = parts.reduce(|a, b| Expr::binary(fold.binary(), a, b)) else { continue };
            self.push(Stmt::Set { reg: total, value: Expr::Horizontal { fold, value: Box::new(joined) } });
        }
        if single < extent {
            self.along(&others, &mut |e| {
                e.steps(axis, (single, extent), 1, |e| {
                    for (row, &total) in totals.iter().enumerate() {
                        e.guarded_step(fold, total, Place { row, first: 0, lanes: 1, valid: 1 });
                    }
                });
            });
        }
        for (row, &total) in totals.iter().enumerate() {
            let place = Place { row, first: 0, lanes: 1, valid: 1 };
            let value = self.finished((Expr::Reg(total), 1), place);
            self.store(value, place);
        }
    }

    /// The vectors, fewer than fill a row's accumulators, that go on from `full` along a reduction axis: where each
    /// starts, and how many of its lanes count. The last one of less than a vector goes back over elements that were
    /// there already, where a fold does not mind; or the lanes beyond the end read as zero, where a sum does not.
    fn last_vectors(&self, fold: Fold, axis: usize, full: usize) -> Vec<(usize, usize)> {
        let (lanes, extent) = (self.schedule.lanes, self.flat.axes[axis].extent);
        let whole = extent / lanes * lanes;
        let mut vectors: Vec<(usize, usize)> = (full..whole).step_by(lanes).map(|at| (at, lanes)).collect();
        if whole < extent {
            match fold {
                Fold::Max | Fold::Min => vectors.push((extent - lanes, lanes)),
                Fold::Sum if self.target.vector.masked && zero_of_zeros(&self.body, axis, self.flat) => {
                    vectors.push((whole, extent - whole));
                }
                _ => (),
            }
        }
        vectors
    }

    /// Plain loops over `axes` around `write`.
    fn along(&mut self, axes: &[usize], write: &mut dyn FnMut(&mut Self)) {
        match axes.split_first() {
            None => write(self),
            Some((&axis, inner)) => {
                let extent = self.flat.axes[axis].extent;
                self.for_loop(
                    (Expr::int(0), Expr::int(extent as i64)),
                    1,
                    (0, extent as i64 - 1),
                    |e, var| {
                        e.axes[axis] = var;
                        e.along(inner, write);
                    },
                );
            }
        }
    }
}

/// The constant that a sum's finish adds first (a bias), for the sum to begin with, and what is left of the finish.
pub(super) fn begun(flat: &Flat, schedule: &Schedule) -> (Option<Expr>, Expr) {
    let horizontal = schedule.vector_axis.is_some_and(|axis| flat.axes[axis].reduction);
    let (mut folded, mut asks) = (0, false);
    flat.finish.any(&mut |node| {
        folded += usize::from(*node == Expr::Folded);
        // What is only read where a question says so is not read before it.
        asks |= matches!(node, Expr::Select { condition, .. } if index_condition(condition));
        false
    });
    let is_sum = flat.fold == Some(Fold::Sum) && computed(flat.folded).is_float();
    let fits = is_sum && !horizontal && !asks && folded == 1 && schedule.matrix.is_none();
    let constant = |expr: &Expr| match expr {
        Expr::Load { buffer, .. } => {
            let operand = &flat.operands[buffer.0 as usize];
            operand.constant && operand.dtype == computed(flat.folded)
        }
        _ => false,
    };
    let mut start: Option<Expr> = None;
    let rest = flat.finish.rewrite(&mut |node| {
        let Expr::Binary(Binary::Add, a, b) = node else { return None };
        let added = match (&**a, &**b) {
            (Expr::Folded, added) | (added, Expr::Folded) if constant(added) => added,
            _ => return None,
        };
        // What is added to the sum of both comes later.
        if start.is_some() {
            return None;
        }
        start = Some(added.clone());
        Some(Expr::Folded)
    });
    match start {
        Some(_) if fits => (start, rest),
        _ => (None, flat.finish.clone()),
    }
}

/// Whether the expression is zero where all that it reads along `axis` is, whatever else it reads.
fn zero_of_zeros(expr: &Expr, axis: usize, flat: &Flat) -> bool {
    let zero = |expr: &Expr| zero_of_zeros(expr, axis, flat);
    match expr {
        Expr::Load { index, .. } => Affine::of(index).coefficient(&Expr::Axis(axis)) != 0,
        Expr::Cast(_, a) | Expr::Unary(Unary::Neg | Unary::Abs, a) => zero(a),
        // Zero times infinity is none.
        Expr::Binary(Binary::Mul, a, b) if !dtype_of(a, &flat.operands, flat.folded).is_float() => {
            zero(a) || zero(b)
        }
        Expr::Binary(Binary::Mul | Binary::Add | Binary::Sub, a, b) => zero(a) && zero(b),
        _ => false,
    }
}

fn divided(value: Expr, by: i64) -> Expr {
    if by == 1 { value } else { value / Expr::int(by) }
}

/// `max(0, x)` and `min(n, x)` without constants on both sides of a pair of the same kind.
fn simplified(expr: Expr) -> Expr {
    expr.rewrite(&mut |node| match node {
        Expr::Binary(op @ (Binary::Min | Binary::Max), a, b) => match (&**a, &**b) {
            (a, b) if a == b => Some(a.clone()),
            (Expr::Const(zero), Expr::Binary(inner, c, d))
                if inner == op && (**c == Expr::Const(*zero) || **d == Expr::Const(*zero)) =>
            {
                Some(b.as_ref().clone())
            }
            _ => None,
        },
        _ => None,
    })
}
