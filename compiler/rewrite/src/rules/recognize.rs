//! Operators that exporters write out in primitive ones. Each rule knows one shape in the normal form that the other
//! themes give it: divisions by constants are products, squares are products, a constant is what it computes to.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI};

use egg::Id;
use ir::{DType, Float};
use ops::AnyOp;
use ops::ops::add::Add;
use ops::ops::clip::Clip;
use ops::ops::div::Div;
use ops::ops::erf::Erf;
use ops::ops::exp::Exp;
use ops::ops::gelu::{Approximation, Gelu};
use ops::ops::hard_sigmoid::HardSigmoid;
use ops::ops::hard_swish::HardSwish;
use ops::ops::layer_norm::LayerNorm;
use ops::ops::log::Log;
use ops::ops::log_softmax::LogSoftmax;
use ops::ops::mean_variance_norm::MeanVarianceNorm;
use ops::ops::mish::Mish;
use ops::ops::mul::Mul;
use ops::ops::neg::Neg;
use ops::ops::pow::Pow;
use ops::ops::reciprocal::Reciprocal;
use ops::ops::reduce::{Reduce, ReduceKind};
use ops::ops::rms_norm::RmsNorm;
use ops::ops::sigmoid::Sigmoid;
use ops::ops::softmax::Softmax;
use ops::ops::softplus::Softplus;
use ops::ops::sqrt::Sqrt;
use ops::ops::sub::Sub;
use ops::ops::swish::Swish;
use ops::ops::tanh::Tanh;

use super::fold::{constant_operand, with_constant};
use super::strength::both_ways;
use crate::Rule;
use crate::rule::{Found, Site, Term};

/// The operators compute in their own order, or avoid what the primitives overflow at.
const REASSOCIATED: f64 = 1e-5;

pub const RULES: &[Rule] = &[
    Rule { name: "gelu", tolerance: REASSOCIATED, apply: gelu },
    Rule { name: "sigmoid", tolerance: REASSOCIATED, apply: sigmoid },
    Rule { name: "swish", tolerance: REASSOCIATED, apply: swish },
    Rule { name: "softplus", tolerance: REASSOCIATED, apply: softplus },
    Rule { name: "mish", tolerance: REASSOCIATED, apply: mish },
    Rule { name: "hard-sigmoid", tolerance: REASSOCIATED, apply: hard_sigmoid },
    Rule { name: "hard-swish", tolerance: REASSOCIATED, apply: hard_swish },
    Rule { name: "softmax", tolerance: REASSOCIATED, apply: softmax },
    Rule { name: "log-softmax", tolerance: REASSOCIATED, apply: log_softmax },
    Rule { name: "softmax-shift", tolerance: REASSOCIATED, apply: softmax_shift },
    Rule { name: "rms-norm", tolerance: REASSOCIATED, apply: rms_norm },
    Rule { name: "layer-norm", tolerance: REASSOCIATED, apply: layer_norm },
    Rule { name: "mean-variance-norm", tolerance: REASSOCIATED, apply: mean_variance_norm },
    Rule { name: "norm-scale", tolerance: REASSOCIATED, apply: norm_scale },
    Rule { name: "norm-shift", tolerance: REASSOCIATED, apply: norm_shift },
];

/// Whether a constant of a model is `wanted`, as far as its element type tells.
pub(super) fn close(value: f64, wanted: f64, dtype: DType) -> bool {
    let precision = match dtype {
        DType::BF16 => 1.0 / 128.0,
        DType::F16 => 1.0 / 1024.0,
        // Exporters compute the constants of wider models in `f32` as well.
        _ => f64::from(f32::EPSILON),
    };
    (value - wanted).abs() <= 4.0 * precision * wanted.abs()
}

/// `1/2 · x · (1 + erf(x / √2)) = gelu(x)`, and the approximation by `tanh` of a polynomial, however the three factors
/// are associated.
fn gelu(site: &Site, found: &mut Found) {
    let dtype = site.result().dtype;
    for [a, b, c] in products_of_three(site) {
        for (half, x, odd) in
            [(a, b, c), (b, a, c), (c, a, b)].into_iter().flat_map(|(h, x, y)| [(h, x, y), (h, y, x)])
        {
            if site.uniform(half) != Some(0.5) || site.ty(x) != site.result() {
                continue;
            }
            let approximation = one_plus(site, odd).find_map(|odd| approximation_of(site, odd, x, dtype));
            if let Some(approximation) = approximation {
                return found.instead(Term::apply(Gelu { approximation }, [x.into()]));
            }
        }
    }
}

fn approximation_of(site: &Site, odd: Id, x: Id, dtype: DType) -> Option<Approximation> {
    let is = |inner: Id, wanted: [f64; 4]| {
        polynomial(site, inner, x)
            .is_some_and(|found| found.iter().zip(wanted).all(|(&a, b)| close(a, b, dtype)))
    };
    let scale = FRAC_2_PI.sqrt();
    if site.forms_of::<Erf>(odd).any(|(_, args)| is(args[0], [0.0, FRAC_1_SQRT_2, 0.0, 0.0])) {
        Some(Approximation::None)
    } else if site.forms_of::<Tanh>(odd).any(|(_, args)| is(args[0], [0.0, scale, 0.0, 0.044_715 * scale])) {
        Some(Approximation::Tanh)
    } else {
        None
    }
}

/// `1 / (1 + e^-x) = sigmoid(x)`.
fn sigmoid(site: &Site, found: &mut Found) {
    let Some((_, &[sum])) = site.is::<Reciprocal>() else { return };
    let x = one_plus(site, sum).find_map(|decay| decayed(site, decay));
    found.instead_if(x.map(|x| Term::apply(Sigmoid, [x.into()])));
}

/// `x · sigmoid(x · c) = x / (1 + e^(-x · c)) = swish{c}(x)`.
fn swish(site: &Site, found: &mut Found) {
    let Some((op, args)) = site.node.op() else { return };
    let swish = |x: Id, gate: Id| {
        let [constant, slope, 0.0, 0.0] = polynomial(site, gate, x)? else { return None };
        let alpha = slope as f32;
        (constant == 0.0 && slope != 0.0).then(|| Term::apply(Swish { alpha: Float(alpha) }, [x.into()]))
    };
    let gates: Vec<(Id, Id)> = match op {
        AnyOp::Mul(_) => both_ways(args)
            .into_iter()
            .flat_map(|(x, gate)| site.forms_of::<Sigmoid>(gate).map(move |(_, args)| (x, args[0])))
            .collect(),
        AnyOp::Div(_) => one_plus(site, args[1])
            .filter_map(|decay| decayed(site, decay))
            .map(|gate| (args[0], gate))
            .collect(),
        _ => return,
    };
    let whole = gates.into_iter().filter(|&(x, _)| site.ty(x) == site.result());
    found.instead_if(whole.filter_map(|(x, gate)| swish(x, gate)).next());
}

/// `x`, where `class` is `e^-x`.
fn decayed(site: &Site, class: Id) -> Option<Id> {
    let exponents = site.forms_of::<Exp>(class).map(|(_, args)| args[0]);
    exponents.flat_map(|exponent| site.forms_of::<Neg>(exponent)).map(|(_, args)| args[0]).next()
}

/// `ln(1 + e^x) = softplus(x)`.
fn softplus(site: &Site, found: &mut Found) {
    let Some((_, &[sum])) = site.is::<Log>() else { return };
    let powers = one_plus(site, sum).flat_map(|power| site.forms_of::<Exp>(power));
    found.instead_if(powers.map(|(_, args)| Term::apply(Softplus, [args[0].into()])).next());
}

/// `x · tanh(softplus(x)) = mish(x)`.
fn mish(site: &Site, found: &mut Found) {
    let Some((_, args)) = site.is::<Mul>() else { return };
    for (x, gate) in both_ways(args) {
        let inner = site.forms_of::<Tanh>(gate).flat_map(|(_, args)| site.forms_of::<Softplus>(args[0]));
        if inner.map(|(_, args)| args[0]).any(|inner| site.same(inner, x)) {
            return found.instead(Term::apply(Mish, [x.into()]));
        }
    }
}

/// `clip{0, 1}(x · a + b) = hard_sigmoid{a, b}(x)`, and `clip{0, h}(x · a + b) · (1 / h)` likewise.
fn hard_sigmoid(site: &Site, found: &mut Found) {
    let (clipped, factor) = match site.is::<Clip>() {
        Some(_) => (site.class, 1.0),
        None => match with_constant::<Mul>(site).and_then(|(y, c)| Some((y, site.uniform(c)?))) {
            Some(scaled) => scaled,
            None => return,
        },
    };
    if site.is_constant(site.class) || !site.result().dtype.is_float() || site.ty(clipped) != site.result() {
        return;
    }
    for (clip, args) in site.forms_of::<Clip>(clipped) {
        if clip.min.0 != 0.0 || !close(clip.max.wide() * factor, 1.0, site.result().dtype) {
            continue;
        }
        for (x, slope, start) in lines(site, args[0]) {
            let (alpha, beta) = (Float((slope * factor) as f32), Float((start * factor) as f32));
            found.equal(Term::apply(HardSigmoid { alpha, beta }, [x.into()]));
        }
    }
}

/// `x · hard_sigmoid{1/6, 1/2}(x) = hard_swish(x)`, and `x · clip{0, 6}(x + 3) · (1/6)` in all associations.
fn hard_swish(site: &Site, found: &mut Found) {
    let Some((_, args)) = site.is::<Mul>() else { return };
    let dtype = site.result().dtype;
    let is_gate = |gate: Id, x: Id| {
        let sixth = |gate: &HardSigmoid| {
            close(gate.alpha.wide(), 1.0 / 6.0, dtype) && close(gate.beta.wide(), 0.5, dtype)
        };
        site.forms_of::<HardSigmoid>(gate).any(|(gate, args)| sixth(gate) && site.same(args[0], x))
    };
    let is_clip = |clipped: Id, x: Id| {
        let six = |clip: &Clip| clip.min.0 == 0.0 && clip.max.0 == 6.0;
        site.forms_of::<Clip>(clipped)
            .any(|(clip, args)| six(clip) && polynomial(site, args[0], x) == Some([3.0, 1.0, 0.0, 0.0]))
    };
    let gated = both_ways(args).into_iter().find(|&(x, gate)| is_gate(gate, x)).map(|(x, _)| x);
    let clipped = || {
        products_of_three(site).into_iter().find_map(|[a, b, c]| {
            [(a, b, c), (b, a, c), (c, a, b)].into_iter().find_map(|(factor, x, y)| {
                site.uniform(factor).filter(|&factor| close(factor, 1.0 / 6.0, dtype))?;
                if is_clip(y, x) { Some(x) } else { is_clip(x, y).then_some(y) }
            })
        })
    };
    let x = gated.or_else(clipped).filter(|&x| site.ty(x) == site.result());
    found.instead_if(x.map(|x| Term::apply(HardSwish, [x.into()])));
}

/// `e^x / Σ e^x = softmax(x)`, where the sum is taken along one axis and nothing overflows.
fn softmax(site: &Site, found: &mut Found) {
    let Some((_, &[power, sum])) = site.is::<Div>() else { return };
    let sums = site.forms_of::<Reduce>(sum).filter(|(reduce, args)| {
        reduce.kind == ReduceKind::Sum && reduce.keep_axes && site.same(args[0], power)
    });
    for axis in sums.filter_map(|(reduce, _)| one_axis(reduce)) {
        let powers = site.forms_of::<Exp>(power);
        found.instead_if(powers.map(|(_, args)| Term::apply(Softmax { axis }, [args[0].into()])).next());
    }
}

/// `ln(softmax(x)) = x - ln(Σ e^x) = log_softmax(x)`.
fn log_softmax(site: &Site, found: &mut Found) {
    match site.node.op() {
        Some((AnyOp::Log(_), &[arg])) => {
            for (softmax, args) in site.forms_of::<Softmax>(arg) {
                found.instead(Term::apply(LogSoftmax { axis: softmax.axis }, [args[0].into()]));
            }
        }
        Some((AnyOp::Sub(_), &[x, sum])) => {
            let of_x = |reduce: &Reduce, args: &[Id]| {
                reduce.kind == ReduceKind::LogSumExp && reduce.keep_axes && site.same(args[0], x)
            };
            let sums = site.forms_of::<Reduce>(sum).filter(|(reduce, args)| of_x(reduce, args));
            let axes = sums.filter_map(|(reduce, _)| one_axis(reduce));
            found.instead_if(axes.map(|axis| Term::apply(LogSoftmax { axis }, [x.into()])).next());
        }
        _ => (),
    }
}

fn one_axis(reduce: &Reduce) -> Option<usize> {
    if let [axis] = reduce.axes[..] { Some(axis) } else { None }
}

/// `softmax(x - c) = softmax(x)`, where `c` is the same all along the axis; so with the logarithm.
fn softmax_shift(site: &Site, found: &mut Found) {
    let Some((op, &[arg])) = site.node.op() else { return };
    let axis = match op {
        AnyOp::Softmax(softmax) => softmax.axis,
        AnyOp::LogSoftmax(softmax) => softmax.axis,
        _ => return,
    };
    let from_end = site.result().rank() - axis;
    for (_, args) in site.forms_of::<Sub>(arg) {
        let (x, c) = (args[0], &site.ty(args[1]).shape);
        let extent = c.len().checked_sub(from_end).map_or(1, |axis| c[axis]);
        if extent == 1 && site.ty(x) == site.result() {
            found.instead(Term::Apply(op.clone(), vec![x.into()]));
        }
    }
}

/// `x / √(mean(x²) + ε) = rms_norm(x)`.
fn rms_norm(site: &Site, found: &mut Found) {
    let Some((_, &[x, deviation])) = site.is::<Div>() else { return };
    if site.ty(x) != site.result() {
        return;
    }
    for (_, args) in site.forms_of::<Sqrt>(deviation) {
        let sums = site.forms_of::<Add>(args[0]).filter_map(|(_, args)| constant_operand(site, args));
        for (square, epsilon) in sums.filter_map(|(square, c)| Some((square, site.uniform(c)?))) {
            if let Some(axes) = mean_square_axes(site, square, x) {
                return found
                    .equal(Term::apply(RmsNorm { axes, epsilon: Float(epsilon as f32) }, [x.into()]));
            }
        }
    }
}

/// The axes along which `mean` is the mean of `x · x`.
fn mean_square_axes(site: &Site, mean: Id, x: Id) -> Option<Vec<usize>> {
    let means = site
        .forms_of::<Reduce>(mean)
        .filter(|(reduce, _)| reduce.kind == ReduceKind::Mean && reduce.keep_axes);
    let of_x = |args: &[Id]| args.iter().all(|&arg| site.same(arg, x));
    let of_square = |square: Id| site.forms_of::<Mul>(square).any(|(_, args)| of_x(args));
    means.filter(|(_, args)| of_square(args[0])).map(|(reduce, _)| reduce.axes.clone()).next()
}

/// `rms_norm(x - mean(x)) = layer_norm(x)`.
fn layer_norm(site: &Site, found: &mut Found) {
    let Some((norm, args)) = site.is::<RmsNorm>() else { return };
    if let Some(x) = centred(site, args[0], &norm.axes) {
        let layer_norm = LayerNorm { axes: norm.axes.clone(), epsilon: norm.epsilon, statistics: false };
        let rest = args[1..].iter().map(|&arg| Term::from(arg));
        found.instead(Term::apply(layer_norm, [x.into()].into_iter().chain(rest)));
    }
}

/// `x`, where `class` is `x - mean(x)` along these axes.
fn centred(site: &Site, class: Id, axes: &[usize]) -> Option<Id> {
    let is_mean = |mean: Id, x: Id| {
        site.forms_of::<Reduce>(mean).any(|(reduce, args)| {
            reduce.kind == ReduceKind::Mean
                && reduce.keep_axes
                && reduce.axes == axes
                && site.same(args[0], x)
        })
    };
    site.forms_of::<Sub>(class).find(|(_, args)| is_mean(args[1], args[0])).map(|(_, args)| args[0])
}

/// `(x - mean(x)) / (√mean((x - mean(x))²) + 1e-9) = mean_variance_norm(x)`.
fn mean_variance_norm(site: &Site, found: &mut Found) {
    let Some((_, &[difference, deviation])) = site.is::<Div>() else { return };
    if site.ty(difference) != site.result() {
        return;
    }
    let dtype = site.result().dtype;
    for (_, args) in site.forms_of::<Add>(deviation) {
        let Some((root, c)) = constant_operand(site, args) else { continue };
        if !site.uniform(c).is_some_and(|c| close(c, 1e-9, dtype)) {
            continue;
        }
        for (_, args) in site.forms_of::<Sqrt>(root) {
            let axes = mean_square_axes(site, args[0], difference);
            if let Some((axes, x)) =
                axes.and_then(|axes| Some((axes.clone(), centred(site, difference, &axes)?)))
            {
                return found.instead(Term::apply(MeanVarianceNorm { axes }, [x.into()]));
            }
        }
    }
}

/// `norm(x) · c = norm(x, c)`, for a norm without scale or bias.
fn norm_scale(site: &Site, found: &mut Found) {
    let Some((y, c)) = with_constant::<Mul>(site) else { return };
    if site.ty(y) != site.result() {
        return;
    }
    for (op, args) in site.forms(y).filter(|(op, args)| is_norm(op) && args.len() == 1) {
        found.instead(Term::apply(op.clone(), [args[0].into(), c.into()]));
    }
}

/// `layer_norm(x, s) + c = layer_norm(x, s, c)`.
fn norm_shift(site: &Site, found: &mut Found) {
    let Some((y, c)) = with_constant::<Add>(site) else { return };
    if site.ty(y) != site.result() {
        return;
    }
    let norms = site.forms_of::<LayerNorm>(y).filter(|(norm, args)| !norm.statistics && args.len() < 3);
    for (norm, args) in norms {
        let scale =
            args.get(1).map_or_else(|| super::scalar(site.result().dtype, 1.0), |&scale| scale.into());
        found.instead(Term::apply(norm.clone(), [args[0].into(), scale, c.into()]));
    }
}

fn is_norm(op: &AnyOp) -> bool {
    match op {
        AnyOp::RmsNorm(_) => true,
        AnyOp::LayerNorm(norm) => !norm.statistics,
        _ => false,
    }
}

/// The factors of the site's product of three, in each association that is there.
fn products_of_three(site: &Site) -> Vec<[Id; 3]> {
    let Some((_, args)) = site.is::<Mul>() else { return vec![] };
    if !site.result().dtype.is_float() || site.is_constant(site.class) {
        return vec![];
    }
    let inner = |(a, pair): (Id, Id)| site.forms_of::<Mul>(pair).map(move |(_, args)| [a, args[0], args[1]]);
    both_ways(args).into_iter().flat_map(inner).collect()
}

/// What is one less than `class`.
fn one_plus<'a>(site: &Site<'a>, class: Id) -> impl Iterator<Item = Id> + use<'a> {
    let site = *site;
    let sums = site.forms_of::<Add>(class).filter_map(move |(_, args)| constant_operand(&site, args));
    sums.filter(move |&(x, c)| site.uniform(c) == Some(1.0) && site.ty(x) == site.ty(class)).map(|(x, _)| x)
}

/// `class` as `x · slope + start`, with the class itself last.
fn lines(site: &Site, class: Id) -> Vec<(Id, f64, f64)> {
    let mut lines = Vec::new();
    let mut step = |class: Id, slope: f64, start: f64| {
        for (op, args) in site.forms(class) {
            let Some((x, c)) = constant_operand(site, args).and_then(|(x, c)| Some((x, site.uniform(c)?)))
            else {
                continue;
            };
            match op {
                AnyOp::Add(_) if site.ty(x) == site.ty(class) => lines.push((x, slope, start + slope * c)),
                AnyOp::Mul(_) if site.ty(x) == site.ty(class) => lines.push((x, slope * c, start)),
                _ => (),
            }
        }
        lines.clone()
    };
    for (x, slope, start) in step(class, 1.0, 0.0) {
        step(x, slope, start);
    }
    lines
}

/// How far down a class is looked at as a polynomial, and how many forms are tried on the way: more than any spelling
/// of a known polynomial takes.
const POLYNOMIAL_DEPTH: usize = 6;
const POLYNOMIAL_FORMS: usize = 200;

/// The coefficients of `class` as a polynomial in `x` of at most the third degree, from the constant one up.
fn polynomial(site: &Site, class: Id, x: Id) -> Option<[f64; 4]> {
    let mut forms = POLYNOMIAL_FORMS;
    polynomial_within(site, class, x, POLYNOMIAL_DEPTH, &mut forms)
}

fn polynomial_within(site: &Site, class: Id, x: Id, depth: usize, forms: &mut usize) -> Option<[f64; 4]> {
    if site.same(class, x) {
        return Some([0.0, 1.0, 0.0, 0.0]);
    }
    if let Some(value) = site.uniform(class) {
        return Some([value, 0.0, 0.0, 0.0]);
    }
    if depth == 0 {
        return None;
    }
    for (op, args) in site.forms(class) {
        *forms = forms.checked_sub(1)?;
        let mut operand = |k: usize| polynomial_within(site, args[k], x, depth - 1, forms);
        let result = match op {
            AnyOp::Add(_) => sum(operand(0), operand(1), 1.0),
            AnyOp::Sub(_) => sum(operand(0), operand(1), -1.0),
            AnyOp::Neg(_) => sum(Some([0.0; 4]), operand(0), -1.0),
            AnyOp::Mul(_) => product(operand(0), operand(1)),
            AnyOp::Pow(Pow) => match site.uniform(args[1]) {
                Some(2.0) => operand(0).and_then(|p| product(Some(p), Some(p))),
                Some(3.0) => operand(0).and_then(|p| product(Some(p), product(Some(p), Some(p)))),
                _ => None,
            },
            _ => None,
        };
        if result.is_some() {
            return result;
        }
    }
    None
}

fn sum(a: Option<[f64; 4]>, b: Option<[f64; 4]>, sign: f64) -> Option<[f64; 4]> {
    let (a, b) = (a?, b?);
    Some(std::array::from_fn(|k| a[k] + sign * b[k]))
}

/// `None` where the degree is too high.
fn product(a: Option<[f64; 4]>, b: Option<[f64; 4]>) -> Option<[f64; 4]> {
    let (a, b) = (a?, b?);
    let mut result = [0.0; 4];
    for (i, j) in (0..4).flat_map(|i| (0..4).map(move |j| (i, j))) {
        match (a[i] * b[j], result.get_mut(i + j)) {
            (0.0, _) => (),
            (term, Some(sum)) => *sum += term,
            (_, None) => return None,
        }
    }
    Some(result)
}
