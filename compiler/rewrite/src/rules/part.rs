//! Parts of tensors: slices, splits and concatenations that cancel or merge.

use egg::Id;
use ops::ops::concat::Concat;
use ops::ops::gather::Gather;
use ops::ops::reshape::Reshape;
use ops::ops::slice::Slice;
use ops::ops::split::Split;

use super::view::MOST_VIEWS;
use crate::rule::{Found, Site, Term};
use crate::{Node, Rule};

pub const RULES: &[Rule] = &[
    Rule { name: "gather-slice", tolerance: 0.0, apply: gather_slice },
    Rule { name: "split-slice", tolerance: 0.0, apply: split_slice },
    Rule { name: "slice-slice", tolerance: 0.0, apply: slice_slice },
    Rule { name: "slice-concat", tolerance: 0.0, apply: slice_concat },
    Rule { name: "concat-slices", tolerance: 0.0, apply: concat_slices },
    Rule { name: "concat-concat", tolerance: 0.0, apply: concat_concat },
    Rule { name: "concat-of-one", tolerance: 0.0, apply: concat_of_one },
];

/// `gather(x, places) = reshape(slice(x))`, where the places are constants at equal distances.
fn gather_slice(site: &Site, found: &mut Found) {
    let Some((gather, &[x, places])) = site.is::<Gather>() else { return };
    let Some(places) = site.tensor(places).filter(|_| !site.is_constant(x)) else { return };
    if let Some(slice) = gather.as_slice(places, site.ty(x)) {
        let part = sliced(site, slice, x);
        found.equal(Term::apply(Reshape { shape: site.result().shape.clone() }, [part]));
    }
}

/// `split(x)[k] = slice(x)`.
fn split_slice(site: &Site, found: &mut Found) {
    let Node::Proj(k, [of]) = site.node else { return };
    for (split, args) in site.forms_of::<Split>(*of).filter(|_| !site.is_constant(site.class)) {
        let mut slice = Slice::whole(site.ty(args[0]));
        slice.starts[split.axis] = split.sizes[..*k].iter().sum();
        slice.shape[split.axis] = split.sizes[*k];
        if split.sizes[*k] > 0 {
            found.equal(sliced(site, slice, args[0]));
        }
    }
}

/// `slice(slice(x)) = slice(x)`.
fn slice_slice(site: &Site, found: &mut Found) {
    let Some((outer, &[arg])) = site.is::<Slice>() else { return };
    for (inner, args) in site.forms_of::<Slice>(arg).take(MOST_VIEWS) {
        if let Some(slice) = outer.after(inner) {
            found.equal(sliced(site, slice, args[0]));
        }
    }
}

/// `slice(concat(.., x, ..)) = slice(x)`, where it takes from `x` alone.
fn slice_concat(site: &Site, found: &mut Found) {
    let Some((slice, &[arg])) = site.is::<Slice>() else { return };
    for (Concat { axis }, parts) in site.forms_of::<Concat>(arg).take(MOST_VIEWS) {
        let Some((low, high)) = slice.reach(*axis) else { continue };
        let mut start = 0;
        for &part in parts {
            let extent = site.ty(part).shape[*axis];
            if start <= low && high < start + extent {
                let mut within = slice.clone();
                within.starts[*axis] -= start;
                found.equal(sliced(site, within, part));
            }
            start += extent;
        }
    }
}

/// `concat(.., slice(x), slice(x), ..) = concat(.., slice(x), ..)`, where the second slice starts where the first ends.
fn concat_slices(site: &Site, found: &mut Found) {
    let Some((&Concat { axis }, args)) = site.is::<Concat>() else { return };
    let mut parts: Vec<Term> = Vec::new();
    let mut at = 0;
    while at < args.len() {
        let (part, taken) = longest_run(site, axis, &args[at..]);
        parts.push(part);
        at += taken;
    }
    if parts.len() < args.len() {
        found.equal(Term::apply(Concat { axis }, parts));
    }
}

/// One slice for as many of the first operands of a concatenation along `axis` as possible, and how many those are.
fn longest_run(site: &Site, axis: usize, args: &[Id]) -> (Term, usize) {
    let mut longest = (Term::from(args[0]), 1);
    for (first, x) in site.forms_of::<Slice>(args[0]).take(MOST_VIEWS) {
        let mut run = first.clone();
        let mut taken = 1;
        while let Some(&next) = args.get(taken) {
            let of_same = site.forms_of::<Slice>(next).filter(|(_, y)| site.same(x[0], y[0]));
            let Some(joined) = of_same.take(MOST_VIEWS).find_map(|(slice, _)| run.joined(slice, axis)) else {
                break;
            };
            run = joined;
            taken += 1;
        }
        if taken > longest.1 {
            longest = (sliced(site, run, x[0]), taken);
        }
    }
    longest
}

/// `concat(.., concat(x..), ..) = concat(.., x.., ..)` along one axis.
fn concat_concat(site: &Site, found: &mut Found) {
    let Some((outer, args)) = site.is::<Concat>() else { return };
    for (at, &arg) in args.iter().enumerate().filter(|(_, arg)| !site.is_constant(**arg)) {
        for (_, parts) in site.forms_of::<Concat>(arg).filter(|(inner, _)| *inner == outer).take(MOST_VIEWS) {
            let operands = [&args[..at], parts, &args[at + 1..]].concat();
            // A class may hold a concatenation of itself with what has no elements.
            if operands.len() <= MOST_PARTS && !parts.iter().any(|&part| site.same(part, arg)) {
                found.equal(Term::apply(outer.clone(), operands.into_iter().map(Term::from)));
            }
        }
    }
}

/// Operands of the concatenations that are flattened.
const MOST_PARTS: usize = 64;

/// `concat(x) = x`.
fn concat_of_one(site: &Site, found: &mut Found) {
    if let Some((_, &[x])) = site.is::<Concat>() {
        found.equal(x.into());
    }
}

/// The part of `x`; `x` itself where that is all of it.
fn sliced(site: &Site, slice: Slice, x: Id) -> Term {
    match slice == Slice::whole(site.ty(x)) {
        true => x.into(),
        false => Term::apply(slice, [x.into()]),
    }
}
