//! Attention recognized, and transposes before and after it taken into its orders of axes.

use egg::Id;
use ir::Float;
use ops::ops::add::Add;
use ops::ops::attention::Attention;
use ops::ops::div::Div;
use ops::ops::matmul::Matmul;
use ops::ops::mul::Mul;
use ops::ops::softmax::Softmax;
use ops::ops::transpose::Transpose;

use super::view::MOST_VIEWS;
use crate::Rule;
use crate::rule::{Found, Site, Term};

/// The sum of the powers is divided by after the last product, not before.
const REASSOCIATED: f64 = 1e-5;

pub const RULES: &[Rule] = &[
    Rule { name: "attention", tolerance: REASSOCIATED, apply: attention },
    Rule { name: "transpose-attention", tolerance: 0.0, apply: transpose_attention },
    Rule { name: "attention-transpose", tolerance: 0.0, apply: attention_transpose },
];

/// `matmul(softmax(matmul(q, k) · scale + mask), v) = attention(q, transpose(k), v, mask)`, along the last axis.
fn attention(site: &Site, found: &mut Found) {
    let Some((_, &[weights, v])) = site.is::<Matmul>() else { return };
    for (softmax, args) in site.forms_of::<Softmax>(weights) {
        let ty = site.ty(weights);
        if softmax.axis + 1 != ty.rank() {
            continue;
        }
        for Scores { q, k, scale, mask } in scores(site, args[0]) {
            let rank = ty.rank();
            if [q, k, v].iter().any(|&arg| site.ty(arg).rank() != rank) {
                found.declined("its operands have batches of different ranks");
                continue;
            }
            let plain: Vec<usize> = (0..rank).collect();
            let mut turned = plain.clone();
            turned.swap(rank - 2, rank - 1);
            let op = Attention {
                scale: Float(scale as f32),
                query: plain.clone(),
                key: turned,
                value: plain.clone(),
                result: plain,
            };
            let args: Vec<Id> = [q, k, v].into_iter().chain(mask).collect();
            match ops::AnyOp::from(op.clone()).infer(&site.types(&args)) {
                Ok(types) if types[0] == *site.result() => {
                    found.equal(Term::apply(op, args.into_iter().map(Term::from)));
                }
                Ok(_) => found.declined("its batches are those of the keys, not of the queries"),
                Err(error) => found.declined(error.to_string()),
            }
        }
    }
}

/// What a softmax is taken of: `matmul(q, k) · scale + mask`.
struct Scores {
    q: Id,
    k: Id,
    scale: f64,
    mask: Option<Id>,
}

/// The scores that `class` is; a mask is added to what is scaled already.
fn scores(site: &Site, class: Id) -> Vec<Scores> {
    let mut all = scaled(site, class);
    for (_, &[a, b]) in site.forms_of::<Add>(class).filter_map(pair) {
        for (sum, mask) in [(a, b), (b, a)] {
            if site.ty(sum) == site.ty(class) {
                all.extend(scaled(site, sum).into_iter().map(|scores| Scores { mask: Some(mask), ..scores }));
            }
        }
    }
    all
}

fn scaled(site: &Site, class: Id) -> Vec<Scores> {
    let products = |class: Id, scale: f64| {
        let product = move |(_, args): (&Matmul, &[Id])| Scores { q: args[0], k: args[1], scale, mask: None };
        site.forms_of::<Matmul>(class).map(product).collect::<Vec<_>>()
    };
    let mut all = products(class, 1.0);
    for (_, &[a, b]) in site.forms_of::<Mul>(class).filter_map(pair) {
        for (product, factor) in [(a, b), (b, a)] {
            if let Some(factor) = site.uniform(factor) {
                all.extend(products(product, factor));
            }
        }
    }
    for (_, &[product, divisor]) in site.forms_of::<Div>(class).filter_map(pair) {
        if let Some(divisor) = site.uniform(divisor).filter(|&divisor| divisor != 0.0) {
            all.extend(products(product, 1.0 / divisor));
        }
    }
    all
}

fn pair<T>((op, args): (T, &[Id])) -> Option<(T, &[Id; 2])> {
    Some((op, args.try_into().ok()?))
}

/// `attention(transpose(q), transpose(k), transpose(v), mask) = attention'(q, k, v, mask)`: each operand as it is before
/// all transposes.
fn attention_transpose(site: &Site, found: &mut Found) {
    let Some((op, args)) = site.is::<Attention>() else { return };
    let mut before = op.clone();
    let mut operands: Vec<Id> = args.to_vec();
    for (order, operand) in
        [&mut before.query, &mut before.key, &mut before.value].into_iter().zip(&mut operands)
    {
        let mut seen = vec![site.egraph.find(*operand)];
        while let Some((transpose, inner)) = site
            .forms_of::<Transpose>(*operand)
            .find(|(_, inner)| !seen.contains(&site.egraph.find(inner[0])) && seen.len() <= MOST_VIEWS)
        {
            *order = order.iter().map(|&axis| transpose.permutation[axis]).collect();
            *operand = inner[0];
            seen.push(site.egraph.find(inner[0]));
        }
    }
    if before != *op {
        found.equal(Term::apply(before, operands.into_iter().map(Term::from)));
    }
}

/// `transpose(attention(...)) = attention'(...)`.
fn transpose_attention(site: &Site, found: &mut Found) {
    let Some((transpose, &[arg])) = site.is::<Transpose>() else { return };
    for (op, args) in site.forms_of::<Attention>(arg).take(MOST_VIEWS) {
        let result = transpose.permutation.iter().map(|&axis| op.result[axis]).collect();
        let op = Attention { result, ..op.clone() };
        found.equal(Term::apply(op, args.iter().map(|&arg| Term::from(arg))));
    }
}
