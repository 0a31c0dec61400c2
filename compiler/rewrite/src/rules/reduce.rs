//! Folds of whole axes: merged with each other, with the work before and after them, and pools that are folds.

use egg::Id;
use ops::AnyOp;
use ops::ops::abs::Abs;
use ops::ops::exp::Exp;
use ops::ops::log::Log;
use ops::ops::mul::Mul;
use ops::ops::reduce::{Reduce, ReduceKind};
use ops::ops::reshape::Reshape;
use ops::ops::sqrt::Sqrt;
use ops::shape::Pool;

use super::fold::constant_operand;
use super::recognize::close;
use crate::Rule;
use crate::rule::{Found, Site, Term};

/// Sums are taken in another order, or divided elsewhere.
const REASSOCIATED: f64 = 1e-5;

pub const RULES: &[Rule] = &[
    Rule { name: "reduce-reduce", tolerance: REASSOCIATED, apply: reduce_reduce },
    Rule { name: "reduce-nothing", tolerance: 0.0, apply: reduce_nothing },
    Rule { name: "reduce-kept", tolerance: 0.0, apply: reduce_kept },
    Rule { name: "mean-of-sum", tolerance: REASSOCIATED, apply: mean_of_sum },
    Rule { name: "reduce-map", tolerance: REASSOCIATED, apply: reduce_map },
    Rule { name: "map-reduce", tolerance: REASSOCIATED, apply: map_reduce },
    Rule { name: "pool-of-all", tolerance: REASSOCIATED, apply: pool_of_all },
];

/// `reduce(reduce(x))` of one kind is the fold of all their axes.
fn reduce_reduce(site: &Site, found: &mut Found) {
    let Some((outer, &[arg])) = site.is::<Reduce>() else { return };
    use ReduceKind::{Max, Mean, Min, Product, Sum};
    // The mean of integers truncates.
    let exact = outer.kind != Mean || site.result().dtype.is_float();
    if !exact || !matches!(outer.kind, Sum | Mean | Max | Min | Product) {
        return;
    }
    for (inner, args) in site.forms_of::<Reduce>(arg).filter(|(inner, _)| inner.kind == outer.kind) {
        let rank = site.ty(args[0]).rank();
        // The axes of `x` that are still there for the outer fold.
        let there: Vec<usize> =
            (0..rank).filter(|axis| inner.keep_axes || !inner.axes.contains(axis)).collect();
        let mut axes: Vec<usize> = inner.axes.clone();
        axes.extend(outer.axes.iter().map(|&axis| there[axis]));
        axes.sort_unstable();
        axes.dedup();
        let whole = Reduce { kind: outer.kind, axes, keep_axes: outer.keep_axes };
        let shape = site.result().shape.clone();
        found.equal(Term::apply(Reshape { shape }, [Term::apply(whole, [args[0].into()])]));
    }
}

/// The fold of axes of one element gives that element.
fn reduce_nothing(site: &Site, found: &mut Found) {
    let Some((reduce, &[x])) = site.is::<Reduce>() else { return };
    use ReduceKind::{Max, Mean, Min, Product, Sum};
    let alone = matches!(reduce.kind, Sum | Mean | Max | Min | Product);
    if alone && reduce.axes.iter().all(|&axis| site.ty(x).shape[axis] == 1) {
        found.equal(Term::apply(Reshape { shape: site.result().shape.clone() }, [x.into()]));
    }
}

/// `reshape(reduce(x)) = reduce{keep}(x)`, where the shape is that of `x` with the folded axes kept.
fn reduce_kept(site: &Site, found: &mut Found) {
    let Some((_, &[arg])) = site.is::<Reshape>() else { return };
    for (reduce, args) in site.forms_of::<Reduce>(arg).filter(|(reduce, _)| !reduce.keep_axes) {
        let extent = |(axis, &extent): (usize, &usize)| if reduce.axes.contains(&axis) { 1 } else { extent };
        let kept = site.ty(args[0]).shape.iter().enumerate().map(extent);
        if kept.eq(site.result().shape.iter().copied()) {
            found.equal(Term::apply(Reduce { keep_axes: true, ..reduce.clone() }, [args[0].into()]));
        }
    }
}

/// `Σ x · (1 / n) = mean(x)`.
fn mean_of_sum(site: &Site, found: &mut Found) {
    let Some((_, args)) = site.is::<Mul>() else { return };
    let Some((sum, factor)) = constant_operand(site, args) else { return };
    let Some(factor) = site.uniform(factor).filter(|_| site.ty(sum) == site.result()) else { return };
    for (reduce, args) in site.forms_of::<Reduce>(sum).filter(|(reduce, _)| reduce.kind == ReduceKind::Sum) {
        let count: usize = reduce.axes.iter().map(|&axis| site.ty(args[0]).shape[axis]).product();
        if close(factor * count as f64, 1.0, site.result().dtype) {
            found.equal(Term::apply(Reduce { kind: ReduceKind::Mean, ..reduce.clone() }, [args[0].into()]));
        }
    }
}

/// `Σ x · x`, `Σ |x|` and the mean of squares, without a tensor of what is summed.
fn reduce_map(site: &Site, found: &mut Found) {
    let Some((reduce, &[arg])) = site.is::<Reduce>() else { return };
    let as_kind = |kind, x: Id| Term::apply(Reduce { kind, ..reduce.clone() }, [x.into()]);
    let squared = || site.forms_of::<Mul>(arg).filter(|(_, args)| site.same(args[0], args[1]));
    match reduce.kind {
        ReduceKind::Sum => {
            found.equal.extend(squared().map(|(_, args)| as_kind(ReduceKind::SumSquare, args[0])));
            let magnitudes = site.forms_of::<Abs>(arg);
            found.equal.extend(magnitudes.map(|(_, args)| as_kind(ReduceKind::L1, args[0])));
        }
        ReduceKind::Mean if site.result().dtype.is_float() => {
            let count: usize = reduce.axes.iter().map(|&axis| site.ty(arg).shape[axis]).product();
            for (_, args) in squared().filter(|_| count > 0) {
                let one_of = super::scalar(site.result().dtype, 1.0 / count as f64);
                found.equal(Term::apply(Mul, [as_kind(ReduceKind::SumSquare, args[0]), one_of]));
            }
        }
        _ => (),
    }
}

/// `√(Σ x²) = ‖x‖`, `ln(Σ e^x)` in one fold.
fn map_reduce(site: &Site, found: &mut Found) {
    if !site.result().dtype.is_float() {
        return;
    }
    let (arg, before, after) = match site.node.op() {
        Some((AnyOp::Sqrt(Sqrt), &[arg])) => (arg, ReduceKind::SumSquare, ReduceKind::L2),
        Some((AnyOp::Log(Log), &[arg])) => (arg, ReduceKind::Sum, ReduceKind::LogSumExp),
        _ => return,
    };
    for (reduce, args) in site.forms_of::<Reduce>(arg).filter(|(reduce, _)| reduce.kind == before) {
        let whole = Reduce { kind: after, ..reduce.clone() };
        match after {
            ReduceKind::LogSumExp => {
                let powers = site.forms_of::<Exp>(args[0]);
                found.equal.extend(powers.map(|(_, args)| Term::apply(whole.clone(), [args[0].into()])));
            }
            _ => found.equal(Term::apply(whole, [args[0].into()])),
        }
    }
}

/// A pool whose kernel is the whole map is a fold of its spatial axes.
fn pool_of_all(site: &Site, found: &mut Found) {
    let (pool, kind, x): (&Pool, ReduceKind, Id) = match site.node.op() {
        Some((AnyOp::AveragePool(average), &[x])) => (&average.pool, ReduceKind::Mean, x),
        Some((AnyOp::MaxPool(max), &[x])) => (&max.pool, ReduceKind::Max, x),
        _ => return,
    };
    let ty = site.ty(x);
    let (_, _, spatial) = pool.layout.split(&ty.shape);
    let (_, _, positions) = pool.layout.split(&site.result().shape);
    let whole = pool.kernel == spatial && pool.window.pads.iter().all(|&pad| pad == (0, 0));
    if whole && positions.iter().all(|&extent| extent == 1) && pool.window.dilations.iter().all(|&d| d == 1) {
        let mut axes: Vec<usize> =
            (0..spatial.len()).map(|k| pool.layout.axes(ty.rank()).spatial(k)).collect();
        axes.sort_unstable();
        found.equal(Term::apply(Reduce { kind, axes, keep_axes: true }, [x.into()]));
    }
}
