//! Elementwise operators replaced by cheaper ones, merged with their neighbours, or dropped because they do nothing.

use egg::Id;
use ir::{DType, Float};
use ops::AnyOp;
use ops::ops::abs::Abs;
use ops::ops::add::Add;
use ops::ops::cast::Cast;
use ops::ops::clip::Clip;
use ops::ops::div::Div;
use ops::ops::max::Max;
use ops::ops::min::Min;
use ops::ops::mul::Mul;
use ops::ops::neg::Neg;
use ops::ops::pow::Pow;
use ops::ops::reciprocal::Reciprocal;
use ops::ops::relu::Relu;
use ops::ops::sqrt::Sqrt;
use ops::ops::sub::Sub;

use super::fold::constant_operand;
use crate::Rule;
use crate::rule::{Found, Site, Term};

/// A power and the products that it stands for round differently.
const REASSOCIATED: f64 = 1e-5;

pub const RULES: &[Rule] = &[
    Rule { name: "power", tolerance: REASSOCIATED, apply: power },
    Rule { name: "neutral-operand", tolerance: 0.0, apply: neutral_operand },
    Rule { name: "negation", tolerance: 0.0, apply: negation },
    Rule { name: "reciprocal", tolerance: REASSOCIATED, apply: reciprocal },
    Rule { name: "numerator", tolerance: REASSOCIATED, apply: numerator },
    Rule { name: "clip", tolerance: 0.0, apply: clip },
    Rule { name: "clip-clip", tolerance: 0.0, apply: clip_clip },
    Rule { name: "cast-cast", tolerance: 0.0, apply: cast_cast },
    Rule { name: "root-of-square", tolerance: REASSOCIATED, apply: root_of_square },
    Rule { name: "common-factor", tolerance: REASSOCIATED, apply: common_factor },
    Rule { name: "centre-then-scale", tolerance: REASSOCIATED, apply: centre_then_scale },
];

/// `x^n` as products, a root or a reciprocal, for the few `n` that are written: -1, -1/2, 1/2, 1, 2 and 3.
fn power(site: &Site, found: &mut Found) {
    let Some((_, &[x, exponent])) = site.is::<Pow>() else { return };
    let Some(exponent) = site.uniform(exponent).filter(|_| is_map_of(site, x)) else { return };
    let square = || Term::apply(Mul, [x.into(), x.into()]);
    found.instead(match exponent {
        -1.0 => Term::apply(Reciprocal, [x.into()]),
        -0.5 => Term::apply(Reciprocal, [Term::apply(Sqrt, [x.into()])]),
        0.5 => Term::apply(Sqrt, [x.into()]),
        1.0 => x.into(),
        2.0 => square(),
        3.0 => Term::apply(Mul, [square(), x.into()]),
        _ => return,
    });
}

/// `x · 1 = x / 1 = x + 0 = x - 0 = x`.
fn neutral_operand(site: &Site, found: &mut Found) {
    let Some((op, &[a, b])) = site.node.op() else { return };
    let is = |class: Id, value: f64| site.uniform(class) == Some(value);
    let kept = match op {
        AnyOp::Mul(_) if is(b, 1.0) => a,
        AnyOp::Mul(_) if is(a, 1.0) => b,
        AnyOp::Div(_) if is(b, 1.0) => a,
        AnyOp::Add(_) if is(b, 0.0) => a,
        AnyOp::Add(_) if is(a, 0.0) => b,
        AnyOp::Sub(_) if is(b, 0.0) => a,
        _ => return,
    };
    if site.ty(kept) == site.result() {
        found.instead(kept.into());
    }
}

/// `-(-x) = x`, `x + (-y) = x - y`, `x - (-y) = x + y`.
fn negation(site: &Site, found: &mut Found) {
    let negated = |class: Id| site.forms_of::<Neg>(class).map(|(_, args)| args[0]).next();
    match site.node.op() {
        _ if site.is_constant(site.class) => (),
        Some((AnyOp::Neg(_), &[x])) => found.equal.extend(negated(x).map(Term::from)),
        Some((AnyOp::Add(_), &[x, y])) => {
            for (x, y) in [(x, y), (y, x)] {
                // The sum of a constant's negative is how the difference with a constant is written.
                let y = negated(y).filter(|_| !site.is_constant(y));
                found.equal.extend(y.map(|y| Term::apply(Sub, [x.into(), y.into()])));
            }
        }
        Some((AnyOp::Sub(_), &[x, y])) => {
            found.equal.extend(negated(y).map(|y| Term::apply(Add, [x.into(), y.into()])));
        }
        _ => (),
    }
}

/// `1 / x = reciprocal(x)`, and `x · reciprocal(y) = x / y`.
fn reciprocal(site: &Site, found: &mut Found) {
    if site.is_constant(site.class) || !site.result().dtype.is_float() {
        return;
    }
    match site.node.op() {
        Some((AnyOp::Div(_), &[one, x])) if site.uniform(one) == Some(1.0) && is_map_of(site, x) => {
            found.instead(Term::apply(Reciprocal, [x.into()]));
        }
        Some((AnyOp::Mul(_), &[a, b])) => {
            for (x, inverse) in [(a, b), (b, a)] {
                for (_, args) in site.forms_of::<Reciprocal>(inverse) {
                    found.equal(Term::apply(Div, [x.into(), args[0].into()]));
                }
            }
        }
        _ => (),
    }
}

/// `x · (c / y) = (x / y) · c`, where `c` is constant: the quotient may be known by another name.
fn numerator(site: &Site, found: &mut Found) {
    let Some((_, &[a, b])) = site.is::<Mul>() else { return };
    for (x, quotient) in [(a, b), (b, a)] {
        for (_, args) in site.forms_of::<Div>(quotient).filter(|(_, args)| site.is_constant(args[0])) {
            if !site.is_constant(x) && !site.is_constant(args[1]) {
                let ratio = Term::apply(Div, [x.into(), args[1].into()]);
                found.equal(Term::apply(Mul, [ratio, args[0].into()]));
            }
        }
    }
}

/// `max(x, c) = clip{c, ∞}(x)`, `min(x, c) = clip{-∞, c}(x)`.
fn clip(site: &Site, found: &mut Found) {
    let is_bound = matches!(site.node.op(), Some((AnyOp::Max(_) | AnyOp::Min(_), _)));
    if let Some((x, min, max)) = bounds(site, site.node.op()).filter(|_| is_bound) {
        found.instead(clipped(x, min, max));
    }
}

/// `clip(clip(x))` as one; a relu is a clip.
fn clip_clip(site: &Site, found: &mut Found) {
    let Some((inner, min, max)) = bounds(site, site.node.op()) else { return };
    for (x, low, high) in site.forms(inner).filter_map(|form| bounds(site, Some(form))) {
        if min <= max && low <= high {
            found.equal(clipped(x, low.clamp(min, max), high.clamp(min, max)));
        }
    }
}

/// The operand and the bounds of an operator that bounds its operand.
fn bounds(site: &Site, form: Option<(&AnyOp, &[Id])>) -> Option<(Id, f32, f32)> {
    let (op, args) = form?;
    // Attributes are `f32`: other bounds must be among them, and large integers are rounded on the way there.
    let rounded =
        |value: f64| !site.result().dtype.is_float() && value.abs() > f64::from(1 << f32::MANTISSA_DIGITS);
    let exact = |value: f64| (f64::from(value as f32) == value && !rounded(value)).then_some(value as f32);
    let constant = |args: &[Id]| {
        let (x, c) = constant_operand(site, args)?;
        Some((x, exact(site.uniform(c)?)?)).filter(|_| site.ty(x) == site.result())
    };
    match op {
        AnyOp::Relu(_) => Some((args[0], 0.0, f32::INFINITY)),
        AnyOp::Clip(clip) => Some((args[0], clip.min.0, clip.max.0)),
        AnyOp::Max(Max) => constant(args).map(|(x, bound)| (x, bound, f32::INFINITY)),
        AnyOp::Min(Min) => constant(args).map(|(x, bound)| (x, f32::NEG_INFINITY, bound)),
        _ => None,
    }
}

fn clipped(x: Id, min: f32, max: f32) -> Term {
    match (min, max) {
        (f32::NEG_INFINITY, f32::INFINITY) => x.into(),
        (0.0, f32::INFINITY) => Term::apply(Relu, [x.into()]),
        _ => Term::apply(Clip { min: Float(min), max: Float(max) }, [x.into()]),
    }
}

/// `cast(cast(x))` as one, where the first loses nothing.
fn cast_cast(site: &Site, found: &mut Found) {
    let Some((outer, &[arg])) = site.is::<Cast>() else { return };
    for (inner, args) in site.forms_of::<Cast>(arg) {
        let from = site.ty(args[0]).dtype;
        // Floats saturate where integers wrap.
        let through_float = inner.to.is_float() && !from.is_float() && !outer.to.is_float();
        if !holds(inner.to, from) || through_float && !holds(outer.to, from) {
            found.declined("the first conversion loses something");
        } else if from == outer.to {
            found.equal(args[0].into());
        } else {
            found.equal(Term::apply(Cast { to: outer.to }, [args[0].into()]));
        }
    }
}

/// Whether every value of type `narrow` is one of type `wide`.
fn holds(wide: DType, narrow: DType) -> bool {
    // Whole numbers up to this many bits are all there.
    let whole_bits = |dtype: DType| match dtype {
        DType::F64 => 53,
        DType::F32 => 24,
        DType::F16 => 11,
        DType::BF16 => 8,
        DType::Bool => 1,
        int => 8 * int.bytes() - usize::from(int.is_signed_int()),
    };
    let fits = whole_bits(narrow) <= whole_bits(wide);
    match (wide.is_float(), narrow.is_float()) {
        // The smaller of two float types is part of the larger, but `f16` and `bf16` of neither each other.
        (true, true) => wide == narrow || fits && narrow.bytes() < wide.bytes(),
        (true, false) => fits,
        (false, true) => false,
        (false, false) => fits && (wide.is_signed_int() || !narrow.is_signed_int()),
    }
}

/// `√(x²) = |x|`.
fn root_of_square(site: &Site, found: &mut Found) {
    let Some((_, &[square])) = site.is::<Sqrt>() else { return };
    for (_, args) in site.forms_of::<Mul>(square).filter(|(_, args)| site.same(args[0], args[1])) {
        found.equal(Term::apply(Abs, [args[0].into()]));
    }
}

/// `x · c + x · d = x · (c + d)` and `x · c + x = x · (c + 1)`.
fn common_factor(site: &Site, found: &mut Found) {
    let Some((_, &[a, b])) = site.is::<Add>() else { return };
    if site.is_constant(site.class) || !site.result().dtype.is_float() {
        return;
    }
    let scaled = |class: Id| {
        site.forms_of::<Mul>(class).filter_map(|(_, args)| constant_operand(site, args)).collect::<Vec<_>>()
    };
    for (x, c) in scaled(a) {
        for (_, d) in scaled(b).into_iter().filter(|&(y, _)| site.same(x, y)) {
            found.equal(Term::apply(Mul, [x.into(), Term::apply(Add, [c.into(), d.into()])]));
        }
    }
    for (whole, part) in [(a, b), (b, a)] {
        for (_, c) in scaled(part).into_iter().filter(|&(x, _)| site.same(x, whole)) {
            let one = super::scalar(site.result().dtype, 1.0);
            found.equal(Term::apply(Mul, [whole.into(), Term::apply(Add, [c.into(), one])]));
        }
    }
}

/// `x · s + (b - m · s) = (x - m) · s + b`: a normalization as TensorFlow writes it.
fn centre_then_scale(site: &Site, found: &mut Found) {
    let Some((_, &[first, second])) = site.is::<Add>() else { return };
    for (scaled, shift) in [(first, second), (second, first)] {
        for (_, difference) in site.forms_of::<Sub>(shift) {
            let (b, removed) = (difference[0], difference[1]);
            for (m, s) in site.forms_of::<Mul>(removed).flat_map(|(_, args)| both_ways(args)) {
                let with_s = site.forms_of::<Mul>(scaled).flat_map(|(_, args)| both_ways(args));
                for (x, _) in with_s.filter(|&(_, other)| site.same(s, other)) {
                    if !site.is_constant(s) {
                        let centred = Term::apply(Sub, [x.into(), m.into()]);
                        found.equal(Term::apply(Add, [Term::apply(Mul, [centred, s.into()]), b.into()]));
                    }
                }
            }
        }
    }
}

/// The two operands of a commutative operator, in both orders.
pub(super) fn both_ways(args: &[Id]) -> Vec<(Id, Id)> {
    match *args {
        [a, b] => vec![(a, b), (b, a)],
        _ => vec![],
    }
}

/// Whether the site's class is an elementwise result of `x`, no larger than it.
fn is_map_of(site: &Site, x: Id) -> bool {
    site.ty(x) == site.result() && !site.is_constant(site.class) && site.result().dtype.is_float()
}
