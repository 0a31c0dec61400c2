//! Reshapes, transposes and slices that cancel, merge or do nothing.

use egg::Id;
use ir::TensorType;
use loops::Expr;
use ops::Meaning;
use ops::ops::reshape::Reshape;
use ops::ops::transpose::Transpose;

use crate::Rule;
use crate::rule::{Found, Site, Term};

pub const RULES: &[Rule] = &[
    Rule { name: "view-of-all", tolerance: 0.0, apply: view_of_all },
    Rule { name: "map-of-nothing", tolerance: 0.0, apply: map_of_nothing },
    Rule { name: "transpose-transpose", tolerance: 0.0, apply: transpose_transpose },
    Rule { name: "transpose-units", tolerance: 0.0, apply: transpose_units },
    Rule { name: "reshape-reshape", tolerance: 0.0, apply: reshape_reshape },
    Rule { name: "reshape-as-is", tolerance: 0.0, apply: reshape_as_is },
    Rule { name: "sink-reshape", tolerance: 0.0, apply: sink_reshape },
];

/// Forms of a class as one view or the other that a rule follows. Models need one or two; where axes of one element
/// abound, all orders of them would be found, and all views from each to each.
pub(super) const MOST_VIEWS: usize = 4;

/// `view(x) = x`, where the view shows every element of `x` in its place.
fn view_of_all(site: &Site, found: &mut Found) {
    let Some((op, args)) = site.node.op() else { return };
    let &[x] = args else { return };
    if site.egraph[site.class].data.types.len() != 1 || site.ty(x) != site.result() {
        return;
    }
    if let Meaning::View(views) = op.meaning(&site.types(args)) {
        let shape = &site.result().shape;
        let in_place = |(axis, index): (usize, &Expr)| *index == Expr::Axis(axis) || shape[axis] == 1;
        if views[0].iter().enumerate().all(in_place) {
            found.equal(x.into());
        }
    }
}

/// `map(x) = x`, where the map gives the element that it reads.
fn map_of_nothing(site: &Site, found: &mut Found) {
    let Some(map) = site.map() else { return };
    let Some((_, args)) = site.node.op() else { return };
    if let Expr::Read { source: loops::Source::Operand(k), .. } = map.body
        && site.ty(args[k]) == site.result()
        && map.reads_in_place(k, &site.result().shape)
    {
        found.equal(args[k].into());
    }
}

/// `transpose(transpose(x, p), q) = transpose(x, p[q])`.
fn transpose_transpose(site: &Site, found: &mut Found) {
    let Some((outer, &[arg])) = site.is::<Transpose>() else { return };
    for (inner, args) in site.forms_of::<Transpose>(arg).take(MOST_VIEWS) {
        let permutation: Vec<usize> = outer.permutation.iter().map(|&axis| inner.permutation[axis]).collect();
        match permutation.is_sorted() {
            true => found.equal(args[0].into()),
            false => found.equal(Term::apply(Transpose { permutation }, [args[0].into()])),
        }
    }
}

/// `transpose(x, p) = reshape(x)`, where only axes of one element change places.
fn transpose_units(site: &Site, found: &mut Found) {
    let Some((transpose, &[x])) = site.is::<Transpose>() else { return };
    if keeps_order(&transpose.permutation, site.ty(x)) {
        found.equal(Term::apply(Reshape { shape: site.result().shape.clone() }, [x.into()]));
    }
}

/// Whether a transpose leaves the elements of a `ty` where they are.
pub(crate) fn keeps_order(permutation: &[usize], ty: &TensorType) -> bool {
    ty.elements() == 0 || permutation.iter().filter(|&&axis| ty.shape[axis] > 1).is_sorted()
}

/// `reshape(reshape(x)) = reshape(x)`.
fn reshape_reshape(site: &Site, found: &mut Found) {
    let Some((outer, &[arg])) = site.is::<Reshape>() else { return };
    for (_, args) in site.forms_of::<Reshape>(arg).take(MOST_VIEWS) {
        found.equal(Term::apply(outer.clone(), [args[0].into()]));
    }
}

/// `reshape(x) = x`, where the shape is the same.
fn reshape_as_is(site: &Site, found: &mut Found) {
    let Some((_, &[x])) = site.is::<Reshape>() else { return };
    if site.ty(x) == site.result() {
        found.equal(x.into());
    }
}

/// `map(reshape(x), ...) = reshape(map(x, ...))`: so that the map can be an epilogue of what is before the reshape.
fn sink_reshape(site: &Site, found: &mut Found) {
    let (Some(map), Some((op, args))) = (site.map(), site.node.op()) else { return };
    if site.is_constant(site.class) || !map.aligned {
        return;
    }
    let shape = &site.result().shape;
    let mut shapes: Vec<&[usize]> = Vec::new();
    for &arg in args.iter().filter(|&&arg| site.ty(arg).shape == *shape && !site.is_constant(arg)) {
        for (_, inner) in site.forms_of::<Reshape>(arg).take(MOST_VIEWS) {
            let before = site.ty(inner[0]).shape.as_slice();
            if before != shape && !shapes.contains(&before) {
                shapes.push(before);
            }
        }
    }
    for before in shapes {
        let operands: Option<Vec<Term>> = args.iter().map(|&arg| before_reshape(site, arg, before)).collect();
        if let Some(operands) = operands {
            let map = Term::apply(op.clone(), operands);
            found.equal(Term::apply(Reshape { shape: shape.clone() }, [map]));
        }
    }
}

/// `arg` as an operand of the map over `before`: the same elements in that shape, or what broadcasts alike.
fn before_reshape(site: &Site, arg: Id, before: &[usize]) -> Option<Term> {
    let (ty, shape) = (site.ty(arg), &site.result().shape);
    if ty.shape == *shape {
        let known = site.forms_of::<Reshape>(arg).find(|(_, inner)| site.ty(inner[0]).shape == before);
        return Some(match known {
            Some((_, inner)) => inner[0].into(),
            None => Term::apply(Reshape { shape: before.to_vec() }, [arg.into()]),
        });
    }
    // One element, or one per element of a last axis that the reshape keeps.
    let last = ty.shape.last().copied().unwrap_or(1);
    let kept = last == 1 || before.last() == shape.last();
    (ty.elements() == last && kept).then(|| Term::apply(Reshape { shape: vec![last] }, [arg.into()]))
}
