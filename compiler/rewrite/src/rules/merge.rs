//! Products and convolutions of one input as one with the weights of all: each is a part of its result.
//!
//! All that share an input are merged at once, not every subset of them.

use egg::Id;
use ir::Tensor;
use ops::AnyOp;
use ops::ops::add::Add;
use ops::ops::concat::Concat;
use ops::ops::conv::Conv;
use ops::ops::expand::Expand;
use ops::ops::matmul::Matmul;
use ops::ops::pad::Pad;
use ops::ops::slice::Slice;

use super::fold::{along_axis, constant_operand, with_constant};
use super::strength::both_ways;
use crate::Rule;
use crate::rule::{Found, Site, Term};

/// The products of other shapes may add in another order.
const REASSOCIATED: f64 = 1e-5;

/// These come after all that moves constants into weights: what shares an input is known by then.
pub const RULES: &[Rule] = &[
    Rule { name: "merge-matmuls", tolerance: REASSOCIATED, apply: merge_matmuls },
    Rule { name: "merge-convs", tolerance: REASSOCIATED, apply: merge_convs },
    Rule { name: "merge-sum", tolerance: REASSOCIATED, apply: merge_sum },
    Rule { name: "map-parts", tolerance: 0.0, apply: map_parts },
];

/// One of several that share an input: its class with the bias added, and what is constant in it.
struct Sibling {
    class: Id,
    weights: Id,
    bias: Option<Id>,
}

/// `matmul(x, w_k) + b_k = slice_k(matmul(x, concat(w)) + concat(b))`.
fn merge_matmuls(site: &Site, found: &mut Found) {
    let Some(x) = input_of_product(site) else { return };
    let mut siblings: Vec<Sibling> = Vec::new();
    for class in site.users(x) {
        let mut products = site.forms_of::<Matmul>(class).filter(|(_, args)| site.same(args[0], x));
        if let Some((_, args)) = products.find(|(_, args)| is_own_weights(site, args[1]))
            && site.ty(args[1]).rank() == 2
        {
            siblings.push(with_bias(site, class, args[1]));
        }
    }
    let siblings = last_of_chains(site, siblings);
    let Some(own) = siblings.iter().position(|sibling| site.same(sibling.class, site.class)) else { return };
    if siblings.len() < 2 {
        return;
    }
    let weights = Term::apply(Concat { axis: 1 }, siblings.iter().map(|sibling| Term::from(sibling.weights)));
    let mut merged = Term::apply(Matmul, [x.into(), weights]);
    let widths: Vec<usize> = siblings.iter().map(|sibling| site.ty(sibling.weights).shape[1]).collect();
    if siblings.iter().any(|sibling| sibling.bias.is_some()) {
        let biases = siblings.iter().zip(&widths).map(|(sibling, &width)| bias_vector(site, sibling, width));
        merged = Term::apply(Add, [merged, Term::apply(Concat { axis: 0 }, biases)]);
    }
    found.equal(part(site, merged, site.result().rank() - 1, &widths, own));
}

/// The left operand of the product that the site is, or is but for a constant term.
fn input_of_product(site: &Site) -> Option<Id> {
    match site.is::<Matmul>() {
        Some((_, args)) => is_own_weights(site, args[1]).then_some(args[0]),
        None => {
            let (y, _) = with_constant::<Add>(site)?;
            site.forms_of::<Matmul>(y)
                .find(|(_, args)| is_own_weights(site, args[1]))
                .map(|(_, args)| args[0])
        }
    }
}

/// Constants that were not put together from others here.
fn is_own_weights(site: &Site, weights: Id) -> bool {
    site.is_constant(weights) && site.forms_of::<Concat>(weights).next().is_none()
}

/// The product `class` together with the term per column that is added to it.
fn with_bias(site: &Site, class: Id, weights: Id) -> Sibling {
    let shifted = site.users(class).into_iter().find_map(|user| {
        let sums = site.forms_of::<Add>(user).filter_map(|(_, args)| constant_operand(site, args));
        let own = |&(y, c): &(Id, Id)| {
            site.same(y, class)
                && site.ty(user) == site.ty(class)
                && along_axis(site, c, class, site.ty(class).rank() - 1).is_some()
        };
        sums.filter(own).map(|(_, c)| (user, c)).next()
    });
    match shifted {
        Some((user, bias)) => Sibling { class: user, weights, bias: Some(bias) },
        None => Sibling { class, weights, bias: None },
    }
}

/// A bias as a vector; zeros where there is none.
fn bias_vector(site: &Site, sibling: &Sibling, width: usize) -> Term {
    let own = sibling
        .bias
        .and_then(|bias| along_axis(site, bias, sibling.class, site.ty(sibling.class).rank() - 1));
    match (own, sibling.bias) {
        (Some(vector), Some(bias)) if site.ty(bias).elements() == width => vector,
        (Some(vector), _) => Term::apply(Expand { shape: vec![width] }, [vector]),
        _ => Term::Constant(Tensor::zeros(site.ty(sibling.class).with_shape([width]))),
    }
}

/// One of several convolutions without groups that share an input and a layout.
struct ParallelConv<'a> {
    class: Id,
    conv: &'a Conv,
    /// The input, the weights, and perhaps the bias.
    args: &'a [Id],
}

impl<'a> ParallelConv<'a> {
    fn of(site: &Site, class: Id, (conv, args): (&'a Conv, &'a [Id])) -> Option<ParallelConv<'a>> {
        let constant = args[1..].iter().all(|&arg| is_own_weights(site, arg));
        (conv.group == 1 && constant).then_some(ParallelConv { class, conv, args })
    }

    fn kernel(&self, site: &Site<'a>) -> &'a [usize] {
        &site.ty(self.args[1]).shape[2..]
    }

    fn bias(&self, site: &Site) -> Term {
        match self.args.get(2) {
            Some(&bias) => bias.into(),
            None => {
                let weights = site.ty(self.args[1]);
                Term::Constant(Tensor::zeros(weights.with_shape([weights.shape[0]])))
            }
        }
    }
}

/// `conv(x, w_k, b_k) = slice_k(conv(x, concat(w), concat(b)))`, where the windows are the same; and where they can be
/// made the same by taps of weight zero around the smaller kernels.
fn merge_convs(site: &Site, found: &mut Found) {
    let Some(own) = site.is::<Conv>().and_then(|form| ParallelConv::of(site, site.class, form)) else {
        return;
    };
    let x = own.args[0];
    let sibling = |class: Id| {
        let mut forms = site.forms_of::<Conv>(class);
        forms.find_map(|(conv, args)| {
            let shares = conv.layout == own.conv.layout && site.same(args[0], x);
            ParallelConv::of(site, class, (conv, args)).filter(|_| shares)
        })
    };
    let siblings: Vec<ParallelConv> = site.users(x).into_iter().filter_map(sibling).collect();
    let classes: Vec<Id> = siblings.iter().map(|sibling| sibling.class).collect();
    let siblings: Vec<ParallelConv> =
        siblings.into_iter().filter(|sibling| !continues(site, sibling.class, &classes)).collect();
    let taps = |conv: &ParallelConv| conv.kernel(site).iter().product::<usize>();
    let largest = siblings.iter().max_by_key(|conv| taps(conv));
    found.equal.extend(merged_convs(site, &siblings, &own));
    if let Some(largest) = largest.filter(|largest| taps(largest) > taps(&own)) {
        found.equal.extend(merged_convs(site, &siblings, largest));
    }
}

/// The site's part of all siblings that can have the window of `target`.
fn merged_convs(site: &Site, siblings: &[ParallelConv], target: &ParallelConv) -> Option<Term> {
    let fitting: Vec<(&ParallelConv, Term)> =
        siblings.iter().filter_map(|conv| Some((conv, enlarged(site, conv, target)?))).collect();
    let own = fitting.iter().position(|(conv, _)| site.same(conv.class, site.class))?;
    if fitting.len() < 2 {
        return None;
    }
    let widths: Vec<usize> = fitting.iter().map(|(conv, _)| site.ty(conv.args[1]).shape[0]).collect();
    let weights = fitting.iter().map(|(_, weights)| weights.clone());
    let mut operands = vec![target.args[0].into(), Term::apply(Concat { axis: 0 }, weights)];
    if fitting.iter().any(|(conv, _)| conv.args.len() == 3) {
        operands.push(Term::apply(Concat { axis: 0 }, fitting.iter().map(|(conv, _)| conv.bias(site))));
    }
    let channels = target.conv.layout.axes(site.result().rank()).channel;
    Some(part(site, Term::apply(target.conv.clone(), operands), channels, &widths, own))
}

/// The weights of a convolution as those of one with the window of `target`, with zeros around them.
fn enlarged(site: &Site, conv: &ParallelConv, target: &ParallelConv) -> Option<Term> {
    let (own, wanted) = (&conv.conv.window, &target.conv.window);
    if own.strides != wanted.strides {
        return None;
    }
    let (weights, extents, kernel) = (conv.args[1], conv.kernel(site), target.kernel(site));
    let mut pads = vec![(0, 0); 2];
    for k in 0..kernel.len() {
        // A single tap has no neighbour to keep its distance from.
        let step = wanted.dilations[k];
        if own.dilations[k] != step && extents[k] > 1 {
            return None;
        }
        let missing = kernel[k].checked_sub(extents[k])?;
        let before =
            wanted.pads[k].0.checked_sub(own.pads[k].0).filter(|more| more.is_multiple_of(step))? / step;
        let after =
            wanted.pads[k].1.checked_sub(own.pads[k].1).filter(|more| more.is_multiple_of(step))? / step;
        if before + after != missing {
            return None;
        }
        pads.push((before as i64, after as i64));
    }
    match pads.iter().all(|&pad| pad == (0, 0)) {
        true => Some(weights.into()),
        false => Some(Term::apply(Pad { pads, ..Pad::default() }, [weights.into()])),
    }
}

/// `matmul(a, v) + matmul(b, w) = matmul(concat(a, b), concat(v, w))`, and so with a constant term between them: the two
/// products of a recurrent cell.
fn merge_sum(site: &Site, found: &mut Found) {
    let Some((_, args)) = site.is::<Add>() else { return };
    let product = |class: Id| {
        let own = |args: &&[Id]| is_own_weights(site, args[1]) && site.ty(args[1]).rank() == 2;
        site.forms_of::<Matmul>(class).map(|(_, args)| args).find(own).map(|args| (args[0], args[1]))
    };
    for (first, second) in both_ways(args) {
        let Some((b, w)) = product(second) else { continue };
        let shifted = site.forms_of::<Add>(first).filter_map(|(_, args)| constant_operand(site, args));
        let shifted = shifted.filter_map(|(y, c)| Some((product(y)?, Some(c)))).next();
        let Some(((a, v), bias)) = product(first).map(|found| (found, None)).or(shifted) else { continue };
        let (a_type, b_type) = (site.ty(a), site.ty(b));
        let axis = a_type.rank() - 1;
        if a_type.rank() != b_type.rank() || a_type.shape[..axis] != b_type.shape[..axis] || site.same(a, b) {
            continue;
        }
        let both = Term::apply(Concat { axis }, [a.into(), b.into()]);
        let weights = Term::apply(Concat { axis: 0 }, [v.into(), w.into()]);
        let sum = Term::apply(Matmul, [both, weights]);
        return found.equal(match bias {
            Some(bias) => Term::apply(Add, [sum, bias.into()]),
            None => sum,
        });
    }
}

/// `f(slice_k(y)) = slice_k(f(y))`, where every part of `y` that is read goes through `f`.
fn map_parts(site: &Site, found: &mut Found) {
    let (Some(map), Some((op, args))) = (site.map(), site.node.op()) else { return };
    let Some(&own) = args.iter().find(|&&arg| !site.is_constant(arg)) else { return };
    let Some((slice, y)) = site.forms_of::<Slice>(own).next() else { return };
    let y = y[0];
    let alone = |&arg: &Id| site.same(arg, own) || site.is_constant(arg) && site.ty(arg).elements() == 1;
    let in_place = *site.ty(own) == site.result().with_dtype(site.ty(own).dtype);
    if !map.aligned || !in_place || !args.iter().all(alone) {
        return;
    }
    let parts: Vec<Id> = site.users(y).into_iter().filter(|&part| is_part(site, part, y)).collect();
    let same_map = |part: Id| {
        let alike = |of: &[Id]| {
            of.iter().zip(args).all(|(&a, &b)| site.same(a, b) || site.same(a, part) && site.same(b, own))
        };
        site.users(part).into_iter().any(|user| site.forms(user).any(|(other, of)| other == op && alike(of)))
    };
    if parts.len() > 1 && parts.into_iter().all(same_map) {
        let whole = args.iter().map(|&arg| if site.same(arg, own) { y.into() } else { Term::from(arg) });
        found.equal(Term::apply(slice.clone(), [Term::Apply(op.clone(), whole.collect())]));
    }
}

fn is_part(site: &Site, part: Id, y: Id) -> bool {
    site.forms_of::<Slice>(part).any(|(_, args)| site.same(args[0], y))
}

/// Of those that share an input the ones that are needed themselves: `y · c` and `y + c` may have taken the constant
/// into their weights, and stand for `y`.
fn last_of_chains(site: &Site, siblings: Vec<Sibling>) -> Vec<Sibling> {
    let classes: Vec<Id> = siblings.iter().map(|sibling| sibling.class).collect();
    siblings.into_iter().filter(|sibling| !continues(site, sibling.class, &classes)).collect()
}

/// Whether one of `others` is `class` times or plus a constant.
fn continues(site: &Site, class: Id, others: &[Id]) -> bool {
    others.iter().filter(|&&other| !site.same(other, class)).any(|&other| {
        site.forms(other).any(|(op, args)| {
            matches!(op, AnyOp::Add(_) | AnyOp::Mul(_))
                && both_ways(args).into_iter().any(|(y, c)| site.same(y, class) && site.is_constant(c))
        })
    })
}

/// The `own`-th of the parts of these widths along `axis`; each as large as the site's class but for that.
fn part(site: &Site, whole: Term, axis: usize, widths: &[usize], own: usize) -> Term {
    let mut slice = Slice::whole(site.result());
    slice.starts[axis] = widths[..own].iter().sum();
    Term::apply(slice, [whole])
}
