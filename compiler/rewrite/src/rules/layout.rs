//! Feature maps with their channels last, and transposes on their way to where they vanish.
//!
//! A transpose only ever moves towards the results: `f(transpose(x)) = transpose(f'(x))`. So the rules come to an end,
//! and between two operators that like the same layout a transpose meets its inverse.

use egg::Id;
use ops::Meaning;
use ops::ops::reshape::Reshape;
use ops::ops::transpose::Transpose;
use ops::shape::{Group, Layout};

use super::view::{MOST_VIEWS, keeps_order};
use crate::rule::{Found, Site, Term};
use crate::{Node, Rule};

pub const RULES: &[Rule] = &[
    Rule { name: "channels-last", tolerance: 0.0, apply: channels_last },
    Rule { name: "sink-transpose", tolerance: 0.0, apply: sink_transpose },
    Rule { name: "sink-transpose-split", tolerance: 0.0, apply: sink_transpose_split },
    Rule { name: "sink-transpose-reshape", tolerance: 0.0, apply: sink_transpose_reshape },
];

/// `f(x) = transpose(f'(transpose(x)))`, where `f'` is `f` with its channels last.
fn channels_last(site: &Site, found: &mut Found) {
    let Some((op, [x, rest @ ..])) = site.node.op() else { return };
    let rank = site.ty(*x).rank();
    if rank < 3 || site.result().rank() != rank || site.is_constant(site.class) {
        return;
    }
    let Some(last) = op.in_layout(Layout::ChannelsLast).filter(|last| last != op) else { return };
    let mut args =
        vec![transposed((*x).into(), Layout::ChannelsLast.join(0, 1, &(2..rank).collect::<Vec<_>>()))];
    args.extend(rest.iter().map(|&arg| Term::from(arg)));
    let back = Layout::ChannelsFirst.join(0, rank - 1, &(1..rank - 1).collect::<Vec<_>>());
    found.equal(transposed(Term::apply(last, args), back));
}

/// `f(transpose(x), ...) = transpose(f'(x, ...))`; elementwise operators and concatenations take all their operands
/// along.
fn sink_transpose(site: &Site, found: &mut Found) {
    let Some((op, args)) = site.node.op() else { return };
    if site.egraph[site.class].data.types.len() != 1 || site.is_constant(site.class) {
        return;
    }
    for (permutation, args) in operands_before(site, args) {
        if let Some((before, axes)) = op.before_transpose(&permutation) {
            found.equal(transposed(Term::apply(before, args), axes));
        }
    }
}

/// `split(transpose(x))[k] = transpose(split'(x)[k])`.
fn sink_transpose_split(site: &Site, found: &mut Found) {
    let Node::Proj(k, [of]) = site.node else { return };
    for (op, args) in site.forms(*of) {
        let &[arg] = args else { continue };
        for (transpose, args) in moving(site, arg) {
            if let Some((before, axes)) = op.before_transpose(&transpose.permutation) {
                let result = Term::Proj(*k, Box::new(Term::apply(before, [args[0].into()])));
                found.equal(transposed(result, axes));
            }
        }
    }
}

/// The forms of `class` that are a transpose which moves elements; others are reshapes, and free wherever they are.
fn moving<'a>(site: &Site<'a>, class: Id) -> impl Iterator<Item = (&'a Transpose, &'a [Id])> + use<'a> {
    let site = *site;
    site.forms_of::<Transpose>(class)
        .filter(move |(transpose, inner)| !keeps_order(&transpose.permutation, site.ty(inner[0])))
        .take(MOST_VIEWS)
}

/// Each transpose that some operand comes from, and all operands as they are before it.
fn operands_before(site: &Site, args: &[Id]) -> Vec<(Vec<usize>, Vec<Term>)> {
    let result = site.result();
    let together = match site.map() {
        Some(map) => map.aligned,
        None => matches!(
            site.node.op().map(|(op, _)| op.meaning(&site.types(args))),
            Some(Meaning::Concat { .. })
        ),
    };
    let leading = if together { args } else { &args[..args.len().min(1)] };
    let mut permutations: Vec<(Vec<usize>, Id)> = Vec::new();
    for &arg in leading.iter().filter(|&&arg| !site.is_constant(arg)) {
        for (transpose, inner) in moving(site, arg) {
            let full_rank = !together || transpose.permutation.len() == result.rank();
            if full_rank && !permutations.iter().any(|(known, _)| *known == transpose.permutation) {
                permutations.push((transpose.permutation.clone(), inner[0]));
            }
        }
    }
    let before = |(permutation, inner): (Vec<usize>, Id)| {
        let args = match together {
            true => args.iter().map(|&arg| before_transpose(site, arg, &permutation)).collect(),
            false => [inner].iter().chain(&args[1..]).map(|&arg| Term::from(arg)).collect(),
        };
        (permutation, args)
    };
    permutations.into_iter().map(before).collect()
}

/// `y` such that `arg`, broadcast to as many axes as `permutation` has, is `transpose(y, permutation)`.
fn before_transpose(site: &Site, arg: Id, permutation: &[usize]) -> Term {
    let ty = site.ty(arg);
    if ty.elements() == 1 && ty.rank() < permutation.len() {
        return arg.into();
    }
    let known = site.forms_of::<Transpose>(arg).find(|(transpose, _)| transpose.permutation == permutation);
    if let Some((_, args)) = known {
        return args[0].into();
    }
    let missing = permutation.len() - ty.rank();
    let full = match missing {
        0 => arg.into(),
        _ => Term::apply(Reshape { shape: [vec![1; missing], ty.shape.clone()].concat() }, [arg.into()]),
    };
    transposed(full, inverse(permutation))
}

/// `reshape(transpose(x))`, where the reshape merges and splits groups of neighbouring axes, is the transpose of whole
/// groups after the reshape of each, after what must be transposed within them.
fn sink_transpose_reshape(site: &Site, found: &mut Found) {
    let Some((reshape, &[arg])) = site.is::<Reshape>() else { return };
    if site.is_constant(site.class) {
        return;
    }
    let groups = Group::all(&site.ty(arg).shape, &reshape.shape);
    for (transpose, inner) in moving(site, arg) {
        let permutation = &transpose.permutation;
        // Groups in the order of where their first wide axis lies in `x`, those without one in front: wherever axes of
        // one element were, the result is the same.
        let wide = |group: &Group| group.before.clone().filter(|&axis| site.ty(arg).shape[axis] > 1);
        let place = |group: &Group| wide(group).map(|axis| permutation[axis]).min();
        let mut order: Vec<usize> = (0..groups.len()).collect();
        order.sort_by_key(|&g| place(&groups[g]));
        if order.is_sorted() {
            continue;
        }
        let within: Vec<usize> =
            order.iter().flat_map(|&g| groups[g].before.clone()).map(|axis| permutation[axis]).collect();
        let after: Vec<usize> = order.iter().flat_map(|&g| groups[g].after.clone()).collect();
        let shape: Vec<usize> = after.iter().map(|&axis| reshape.shape[axis]).collect();
        let outer = inverse(&after);
        if keeps_order(&outer, &site.result().with_shape(shape.clone())) {
            continue;
        }
        let x = match keeps_order(&within, site.ty(inner[0])) {
            true => inner[0].into(),
            false => transposed(inner[0].into(), within),
        };
        found.equal(transposed(Term::apply(Reshape { shape }, [x]), outer));
    }
}

fn transposed(term: Term, permutation: Vec<usize>) -> Term {
    if permutation.is_sorted() { term } else { Term::apply(Transpose { permutation }, [term]) }
}

fn inverse(permutation: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; permutation.len()];
    permutation.iter().enumerate().for_each(|(k, &axis)| inverse[axis] = k);
    inverse
}
