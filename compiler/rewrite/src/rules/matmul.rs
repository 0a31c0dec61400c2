//! Laws of the matrix product: what is done to its operands or its result, moved into constant weights.

use egg::Id;
use ops::AnyOp;
use ops::ops::add::Add;
use ops::ops::matmul::Matmul;
use ops::ops::mul::Mul;
use ops::ops::reshape::Reshape;
use ops::ops::transpose::Transpose;

use super::fold::{along_axis, constant_operand, is_float, with_constant};
use super::view::{MOST_VIEWS, keeps_order};
use crate::Rule;
use crate::rule::{Found, Site, Term};

/// Sums and products are associated differently.
const REASSOCIATED: f64 = 1e-5;

pub const RULES: &[Rule] = &[
    Rule { name: "scale-matmul", tolerance: REASSOCIATED, apply: scale_matmul },
    Rule { name: "shift-matmul", tolerance: REASSOCIATED, apply: shift_matmul },
    Rule { name: "matmul-scale-left", tolerance: REASSOCIATED, apply: matmul_scale_left },
    Rule { name: "scale-of-shifted", tolerance: REASSOCIATED, apply: scale_of_shifted },
    Rule { name: "matmul-matmul", tolerance: REASSOCIATED, apply: matmul_matmul },
    Rule { name: "matmul-of-permuted", tolerance: REASSOCIATED, apply: matmul_of_permuted },
];

/// The operands of a product with a constant matrix, if all that reads the first one is such a product: what is done to
/// it last would have to be done for other readers anyway.
fn with_weights(site: &Site) -> Option<(Id, Id)> {
    let &[arg, w] = site.is::<Matmul>()?.1 else { return None };
    let is_weights = |w: Id| site.is_constant(w) && site.ty(w).rank() == 2;
    let is_product = |user: Id| {
        let mut readers =
            site.forms(user).filter(|(_, args)| args.iter().any(|&other| site.same(other, arg)));
        readers.all(|(op, args)| matches!(op, AnyOp::Matmul(_)) && is_weights(args[1]))
    };
    let alone = || site.users(arg).into_iter().all(is_product);
    (is_weights(w) && !site.is_constant(arg) && alone()).then_some((arg, w))
}

/// `matmul(x · c, w) = matmul(x, c · w)`, where `c` is one factor or one per column of `x`, which is a row of `w`.
fn scale_matmul(site: &Site, found: &mut Found) {
    let Some((arg, w)) = with_weights(site) else { return };
    let scaled = site.forms_of::<Mul>(arg).filter_map(|(_, args)| constant_operand(site, args));
    for (x, c) in scaled.filter(|&(x, _)| site.ty(x) == site.ty(arg)) {
        if let Some(factor) = along_axis(site, c, x, site.ty(x).rank() - 1) {
            let column = Term::apply(Reshape { shape: vec![site.ty(c).elements(), 1] }, [factor]);
            found.equal(Term::apply(Matmul, [x.into(), Term::apply(Mul, [w.into(), column])]));
        }
    }
}

/// `matmul(x + c, w) = matmul(x, w) + matmul(c, w)`, where `c` is one term per column of `x`.
fn shift_matmul(site: &Site, found: &mut Found) {
    let Some((arg, w)) = with_weights(site) else { return };
    let shifted = site.forms_of::<Add>(arg).filter_map(|(_, args)| constant_operand(site, args));
    for (x, c) in shifted.filter(|&(x, _)| site.ty(x) == site.ty(arg)) {
        let columns = site.ty(x).shape[site.ty(x).rank() - 1];
        if along_axis(site, c, x, site.ty(x).rank() - 1).is_some() && site.ty(c).elements() == columns {
            let row = Term::apply(Reshape { shape: vec![1, columns] }, [c.into()]);
            let bias = Term::apply(Matmul, [row, w.into()]);
            let bias = Term::apply(Reshape { shape: vec![site.ty(w).shape[1]] }, [bias]);
            found.equal(Term::apply(Add, [Term::apply(Matmul, [x.into(), w.into()]), bias]));
        }
    }
}

/// `matmul(w, x) · c = matmul(w · c, x)`, where `w` is constant and `c` is one factor or one per row.
fn matmul_scale_left(site: &Site, found: &mut Found) {
    let Some((y, c)) = with_constant::<Mul>(site) else { return };
    for (_, args) in site.forms_of::<Matmul>(y).filter(|(_, args)| site.is_constant(args[0])) {
        if let Some(factor) = along_axis(site, c, y, site.ty(y).rank() - 2) {
            let column = Term::apply(Reshape { shape: vec![site.ty(c).elements(), 1] }, [factor]);
            let scaled = Term::apply(Mul, [args[0].into(), column]);
            found.equal(Term::apply(Matmul, [scaled, args[1].into()]));
        }
    }
}

/// `(matmul(x, w) + b) · c = matmul(x, w) · c + b · c`: the first product then goes into the weights.
fn scale_of_shifted(site: &Site, found: &mut Found) {
    let Some((shifted, c)) = with_constant::<Mul>(site) else { return };
    for (y, b) in site.forms_of::<Add>(shifted).filter_map(|(_, args)| constant_operand(site, args)) {
        let mut products = site.forms_of::<Matmul>(y);
        let has_weights = products.any(|(_, args)| args.iter().any(|&arg| site.is_constant(arg)));
        let per_column = |c| along_axis(site, c, y, site.ty(y).rank() - 1).is_some();
        if has_weights && site.ty(y) == site.result() && per_column(b) && per_column(c) && is_float(site) {
            let (scaled, bias) =
                (Term::apply(Mul, [y.into(), c.into()]), Term::apply(Mul, [b.into(), c.into()]));
            found.equal(Term::apply(Add, [scaled, bias]));
        }
    }
}

/// `matmul(matmul(x, a), b) = matmul(x, matmul(a, b))`, where `a` and `b` are constant and their product is no larger
/// than both.
fn matmul_matmul(site: &Site, found: &mut Found) {
    let Some((_, &[arg, b])) = site.is::<Matmul>() else { return };
    if !site.is_constant(b) || site.is_constant(arg) || site.ty(b).rank() != 2 {
        return;
    }
    for (_, args) in site.forms_of::<Matmul>(arg) {
        let (x, a) = (args[0], args[1]);
        if !site.is_constant(a) || site.ty(a).rank() != 2 {
            continue;
        }
        let (a_type, b_type) = (site.ty(a), site.ty(b));
        if a_type.shape[0] * b_type.shape[1] <= a_type.elements() + b_type.elements() {
            let product = Term::apply(Matmul, [a.into(), b.into()]);
            found.equal(Term::apply(Matmul, [x.into(), product]));
        } else {
            found.declined("the product of both weights is larger than they are");
        }
    }
}

/// `matmul(reshape(transpose(x)), w) = matmul(reshape(x), w')`, where the reshape makes the columns of whole axes that
/// the transpose exchanges with each other alone: then the constant's rows may as well be in the order of `x`.
fn matmul_of_permuted(site: &Site, found: &mut Found) {
    let Some((_, &[arg, w])) = site.is::<Matmul>() else { return };
    if !site.is_constant(w) || site.ty(w).rank() != 2 || site.is_constant(arg) {
        return;
    }
    for (reshape, args) in site.forms_of::<Reshape>(arg).take(MOST_VIEWS) {
        for (transpose, inner) in site.forms_of::<Transpose>(args[0]).take(MOST_VIEWS) {
            let (x, shape, permutation) = (inner[0], &site.ty(args[0]).shape, &transpose.permutation);
            let Some(first) = axes_of_columns(shape, site.ty(w).shape[0]) else { continue };
            let stays = permutation[..first].iter().enumerate().all(|(axis, &from)| axis == from);
            if !stays || keeps_order(permutation, site.ty(x)) {
                continue;
            }
            // Axes of the rows of `w` in the order of `x`: where each of them is after the transpose.
            let mut order = vec![0; shape.len() - first];
            permutation[first..].iter().enumerate().for_each(|(at, &axis)| order[axis - first] = at);
            order.push(order.len());
            let columns = site.ty(w).shape[1];
            let split = Term::apply(Reshape { shape: [&shape[first..], &[columns]].concat() }, [w.into()]);
            let moved = Term::apply(Transpose { permutation: order }, [split]);
            let weights = Term::apply(Reshape { shape: site.ty(w).shape.clone() }, [moved]);
            let x = Term::apply(reshape.clone(), [x.into()]);
            found.equal(Term::apply(Matmul, [x, weights]));
        }
    }
}

/// The first of the last axes of `shape` that together have as many elements as a matrix has columns.
fn axes_of_columns(shape: &[usize], columns: usize) -> Option<usize> {
    let mut product = 1;
    for first in (0..shape.len()).rev() {
        product *= shape[first];
        if product == columns {
            return Some(first);
        }
    }
    None
}
