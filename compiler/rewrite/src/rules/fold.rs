//! Constants moved into other constants, where they are computed before the model runs.

use egg::Id;
use ir::{Scalar, Tensor, TensorType};
use ops::AnyOp;
use ops::ops::add::Add;
use ops::ops::batch_norm::BatchNorm;
use ops::ops::conv::Conv;
use ops::ops::conv_transpose::ConvTranspose;
use ops::ops::div::Div;
use ops::ops::matmul::Matmul;
use ops::ops::mul::Mul;
use ops::ops::neg::Neg;
use ops::ops::reduce::{Reduce, ReduceKind};
use ops::ops::reshape::Reshape;
use ops::ops::sqrt::Sqrt;
use ops::ops::sub::Sub;
use ops::shape::Layout;

use crate::Rule;
use crate::rule::{Found, Site, Term};

/// Sums and products are associated differently.
const REASSOCIATED: f64 = 1e-5;

pub const RULES: &[Rule] = &[
    Rule { name: "batch-norm-affine", tolerance: REASSOCIATED, apply: batch_norm_affine },
    Rule { name: "sub-constant", tolerance: 0.0, apply: sub_constant },
    Rule { name: "div-constant", tolerance: REASSOCIATED, apply: div_constant },
    Rule { name: "conv-scale", tolerance: REASSOCIATED, apply: conv_scale },
    Rule { name: "conv-shift", tolerance: REASSOCIATED, apply: conv_shift },
    Rule { name: "scale-conv", tolerance: REASSOCIATED, apply: scale_conv },
    Rule { name: "shift-conv", tolerance: REASSOCIATED, apply: shift_conv },
    Rule { name: "conv-transpose-scale", tolerance: REASSOCIATED, apply: conv_transpose_scale },
    Rule { name: "conv-transpose-shift", tolerance: REASSOCIATED, apply: conv_transpose_shift },
    Rule { name: "scale-conv-transpose", tolerance: REASSOCIATED, apply: scale_conv_transpose },
    Rule { name: "matmul-scale", tolerance: REASSOCIATED, apply: matmul_scale },
    Rule { name: "scale-scale", tolerance: REASSOCIATED, apply: scale_scale },
    Rule { name: "shift-shift", tolerance: REASSOCIATED, apply: shift_shift },
];

/// `batch_norm(x, scale, bias, mean, variance) = x · s + (bias - mean · s)`, where
/// `s = scale / √(variance + epsilon)`, per channel.
fn batch_norm_affine(site: &Site, found: &mut Found) {
    let Some((norm, &[x, scale, bias, mean, variance])) = site.is::<BatchNorm>() else { return };
    let ty = site.ty(x);
    if [scale, bias, mean, variance]
        .iter()
        .any(|&arg| !site.is_constant(arg) || site.ty(arg).dtype != ty.dtype)
    {
        return found.declined("its statistics are not constants of the operand's type");
    }
    let epsilon = Tensor::scalar(Scalar::from_f64(ty.dtype, norm.epsilon.wide()));
    let deviation = Term::apply(Sqrt, [Term::apply(Add, [variance.into(), Term::Constant(epsilon)])]);
    let s = Term::apply(Div, [scale.into(), deviation]);
    let shift = Term::apply(Sub, [bias.into(), Term::apply(Mul, [mean.into(), s.clone()])]);
    let channels = norm.layout.axes(ty.rank()).channel;
    let per_channel = |parameter: Term| along(parameter, ty, channels);
    found.equal(Term::apply(Add, [Term::apply(Mul, [x.into(), per_channel(s)]), per_channel(shift)]));
}

/// `x - c = x + (-c)`.
fn sub_constant(site: &Site, found: &mut Found) {
    let Some((_, &[x, c])) = site.is::<Sub>() else { return };
    if site.is_constant(c) && !site.is_constant(x) && is_float(site) {
        found.equal(Term::apply(Add, [x.into(), Term::apply(Neg, [c.into()])]));
    }
}

/// `x / c = x · (1 / c)`.
fn div_constant(site: &Site, found: &mut Found) {
    let Some((_, &[x, c])) = site.is::<Div>() else { return };
    if site.is_constant(c) && !site.is_constant(x) && is_float(site) {
        let one = Tensor::scalar(Scalar::from_f64(site.result().dtype, 1.0));
        found.instead(Term::apply(Mul, [x.into(), Term::apply(Div, [Term::Constant(one), c.into()])]));
    }
}

/// `conv(x, w, b) · c = conv(x, w · c, b · c)`, where `c` is one factor or one per channel.
fn conv_scale(site: &Site, found: &mut Found) {
    let Some((y, c)) = with_constant::<Mul>(site) else { return };
    for (conv, args) in site.forms_of::<Conv>(y) {
        let Some(factor) = per_channel(site, c, y, conv.layout) else {
            found.declined("the factor is not one per channel");
            continue;
        };
        let weights = site.ty(args[1]);
        if !args[1..].iter().all(|&arg| site.is_constant(arg)) {
            found.declined("the weights are not constant");
            continue;
        }
        let mut operands =
            vec![args[0].into(), Term::apply(Mul, [args[1].into(), along(factor.clone(), weights, 0)])];
        operands.extend(args.get(2).map(|&bias| Term::apply(Mul, [bias.into(), factor])));
        found.equal(Term::apply(conv.clone(), operands));
    }
}

/// `conv(x, w, b) + c = conv(x, w, b + c)`, where `c` is one term or one per channel.
fn conv_shift(site: &Site, found: &mut Found) {
    let Some((y, c)) = with_constant::<Add>(site) else { return };
    for (conv, args) in site.forms_of::<Conv>(y) {
        let Some(shift) = per_channel(site, c, y, conv.layout) else {
            found.declined("the term is not one per channel");
            continue;
        };
        let weights = site.ty(args[1]);
        let bias = match args.get(2) {
            Some(&bias) if site.is_constant(bias) => bias.into(),
            Some(_) => {
                found.declined("the bias is not constant");
                continue;
            }
            None => Term::Constant(Tensor::zeros(weights.with_shape([weights.shape[0]]))),
        };
        let bias = Term::apply(Add, [bias, shift]);
        found.equal(Term::apply(conv.clone(), [args[0].into(), args[1].into(), bias]));
    }
}

/// `conv(x · c, w, b) = conv(x, w · c, b)`, where `c` is one factor, or one per channel and there are no groups. Pads
/// are zero before and after.
fn scale_conv(site: &Site, found: &mut Found) {
    let Some((conv, args)) = site.is::<Conv>() else { return };
    if !site.is_constant(args[1]) {
        return;
    }
    for (x, c) in site.forms_of::<Mul>(args[0]).filter_map(|(_, operands)| constant_operand(site, operands)) {
        let Some(factor) = per_channel(site, c, args[0], conv.layout) else { continue };
        if site.ty(x) != site.ty(args[0]) || conv.group != 1 && site.ty(c).elements() != 1 {
            continue;
        }
        let weights = Term::apply(Mul, [args[1].into(), along(factor, site.ty(args[1]), 1)]);
        let mut operands = vec![x.into(), weights];
        operands.extend(args.get(2).map(|&bias| Term::from(bias)));
        found.equal(Term::apply(conv.clone(), operands));
    }
}

/// `conv(x + c, w, b) = conv(x, w, b + Σ w · c)`, where nothing is padded, `c` is one term per channel, and there are no
/// groups.
fn shift_conv(site: &Site, found: &mut Found) {
    let Some((conv, args)) = site.is::<Conv>() else { return };
    if !args[1..].iter().all(|&arg| site.is_constant(arg)) || conv.group != 1 {
        return;
    }
    let weights = site.ty(args[1]);
    for (x, c) in site.forms_of::<Add>(args[0]).filter_map(|(_, operands)| constant_operand(site, operands)) {
        let Some(shift) = per_channel(site, c, args[0], conv.layout) else { continue };
        if site.ty(x) != site.ty(args[0]) {
            continue;
        }
        if conv.window.pads.iter().any(|&pad| pad != (0, 0)) {
            found.declined("what is added before the convolution is not in its pads");
            continue;
        }
        let products = Term::apply(Mul, [args[1].into(), along(shift, weights, 1)]);
        let axes = (1..weights.rank()).collect();
        let mut bias = Term::apply(Reduce { kind: ReduceKind::Sum, axes, keep_axes: false }, [products]);
        if let Some(&own) = args.get(2) {
            bias = Term::apply(Add, [own.into(), bias]);
        }
        found.equal(Term::apply(conv.clone(), [x.into(), args[1].into(), bias]));
    }
}

/// `conv_transpose(x, w, b) · c = conv_transpose(x, w · c, b · c)`, where `c` is one factor, or one per channel and
/// there are no groups.
fn conv_transpose_scale(site: &Site, found: &mut Found) {
    let Some((y, c)) = with_constant::<Mul>(site) else { return };
    for (conv, args) in site.forms_of::<ConvTranspose>(y) {
        let Some(factor) = per_channel(site, c, y, conv.layout) else {
            found.declined("the factor is not one per channel");
            continue;
        };
        let grouped = conv.group != 1 && site.ty(c).elements() != 1;
        if grouped || !args[1..].iter().all(|&arg| site.is_constant(arg)) {
            found.declined("the weights are not constant, or in groups");
            continue;
        }
        let scaled = Term::apply(Mul, [args[1].into(), along(factor.clone(), site.ty(args[1]), 1)]);
        let mut operands = vec![args[0].into(), scaled];
        operands.extend(args.get(2).map(|&bias| Term::apply(Mul, [bias.into(), factor])));
        found.equal(Term::apply(conv.clone(), operands));
    }
}

/// `conv_transpose(x, w, b) + c = conv_transpose(x, w, b + c)`, where `c` is one term or one per channel.
fn conv_transpose_shift(site: &Site, found: &mut Found) {
    let Some((y, c)) = with_constant::<Add>(site) else { return };
    for (conv, args) in site.forms_of::<ConvTranspose>(y) {
        let Some(shift) = per_channel(site, c, y, conv.layout) else {
            found.declined("the term is not one per channel");
            continue;
        };
        let channels = site.ty(y).shape[conv.layout.axes(site.ty(y).rank()).channel];
        let bias = match args.get(2) {
            Some(&bias) if site.is_constant(bias) => bias.into(),
            Some(_) => {
                found.declined("the bias is not constant");
                continue;
            }
            None => Term::Constant(Tensor::zeros(site.ty(y).with_shape([channels]))),
        };
        let bias = Term::apply(Add, [bias, shift]);
        found.equal(Term::apply(conv.clone(), [args[0].into(), args[1].into(), bias]));
    }
}

/// `conv_transpose(x · c, w, b) = conv_transpose(x, w · c, b)`, where `c` is one factor or one per channel: each is a
/// row of the weights, groups or not.
fn scale_conv_transpose(site: &Site, found: &mut Found) {
    let Some((conv, args)) = site.is::<ConvTranspose>() else { return };
    if !site.is_constant(args[1]) {
        return;
    }
    for (x, c) in site.forms_of::<Mul>(args[0]).filter_map(|(_, operands)| constant_operand(site, operands)) {
        let Some(factor) = per_channel(site, c, args[0], conv.layout) else { continue };
        if site.ty(x) == site.ty(args[0]) {
            let weights = Term::apply(Mul, [args[1].into(), along(factor, site.ty(args[1]), 0)]);
            let mut operands = vec![x.into(), weights];
            operands.extend(args.get(2).map(|&bias| Term::from(bias)));
            found.equal(Term::apply(conv.clone(), operands));
        }
    }
}

/// `matmul(a, b) · c = matmul(a, b · c)`, where `b` is constant and `c` is one factor or one per column.
fn matmul_scale(site: &Site, found: &mut Found) {
    let Some((y, c)) = with_constant::<Mul>(site) else { return };
    for (matmul, args) in site.forms_of::<Matmul>(y).filter(|(_, args)| site.is_constant(args[1])) {
        match along_axis(site, c, y, site.ty(y).rank() - 1) {
            Some(factor) => {
                let scaled = Term::apply(Mul, [args[1].into(), factor]);
                found.equal(Term::apply(matmul.clone(), [args[0].into(), scaled]));
            }
            None => found.declined("the factor is not one per column"),
        }
    }
}

/// `(x · c) · d = x · (c · d)`.
fn scale_scale(site: &Site, found: &mut Found) {
    merge::<Mul>(site, found, Mul, 1.0);
}

/// `(x + c) + d = x + (c + d)`.
fn shift_shift(site: &Site, found: &mut Found) {
    merge::<Add>(site, found, Add, 0.0);
}

/// `neutral` is the constant that does nothing: it would be merged again and again.
fn merge<'a, T: ops::Op + 'a>(site: &Site<'a>, found: &mut Found, op: T, neutral: f64)
where
    &'a T: TryFrom<&'a AnyOp>,
    AnyOp: From<T>,
{
    let Some((inner, d)) = with_constant::<T>(site) else { return };
    let neutral = |c: Id| site.uniform(c) == Some(neutral);
    for (x, c) in site.forms_of::<T>(inner).filter_map(|(_, args)| constant_operand(site, args)) {
        // Constants that broadcast each other would become larger than both.
        let sizes = [site.ty(c), site.ty(d)].map(TensorType::elements);
        let merged = Term::apply(op.clone(), [c.into(), d.into()]);
        let shape = ops::shape::broadcast(&[&site.ty(c).shape, &site.ty(d).shape]);
        if is_float(site)
            && !neutral(c)
            && !neutral(d)
            && shape.is_ok_and(|shape| shape.iter().product::<usize>() <= sizes[0].max(sizes[1]))
        {
            found.equal(Term::apply(op.clone(), [x.into(), merged]));
        }
    }
}

/// The operands of a commutative `T`, of which the second is constant and the first is not.
pub(super) fn with_constant<'a, T: ops::Op + 'a>(site: &Site<'a>) -> Option<(Id, Id)>
where
    &'a T: TryFrom<&'a AnyOp>,
{
    let (_, args) = site.is::<T>()?;
    constant_operand(site, args)
}

pub(super) fn constant_operand(site: &Site, args: &[Id]) -> Option<(Id, Id)> {
    match *args {
        [x, c] if site.is_constant(c) && !site.is_constant(x) => Some((x, c)),
        [c, x] if site.is_constant(c) && !site.is_constant(x) => Some((x, c)),
        _ => None,
    }
}

/// `c` as a vector of one element, or one per channel of the feature map `y` that it broadcasts to.
pub(super) fn per_channel(site: &Site, c: Id, y: Id, layout: Layout) -> Option<Term> {
    along_axis(site, c, y, layout.axes(site.ty(y).rank()).channel)
}

/// `c` as a vector of one element, or one per element of `axis` of the `y` that it broadcasts to; `None` if it differs
/// along other axes, or makes the result larger than `y`.
pub(super) fn along_axis(site: &Site, c: Id, y: Id, axis: usize) -> Option<Term> {
    let (c_type, y_type) = (site.ty(c), site.ty(y));
    if c_type.rank() > y_type.rank() {
        return None;
    }
    let skipped = y_type.rank() - c_type.rank();
    let extent = |at: usize| at.checked_sub(skipped).map_or(1, |k| c_type.shape[k]);
    let others = (0..y_type.rank()).all(|at| at == axis || extent(at) == 1);
    let fits = extent(axis) == 1 || extent(axis) == y_type.shape[axis];
    (others && fits).then(|| Term::apply(Reshape { shape: vec![c_type.elements()] }, [c.into()]))
}

/// A vector as a factor or term along `axis` of a `ty`.
pub(super) fn along(vector: Term, ty: &TensorType, axis: usize) -> Term {
    let mut shape = vec![1; ty.rank() - axis];
    shape[0] = match &vector {
        // One element for all stays one.
        Term::Apply(AnyOp::Reshape(reshape), _) if reshape.shape == [1] => 1,
        _ => ty.shape[axis],
    };
    Term::apply(Reshape { shape }, [vector])
}

pub(super) fn is_float(site: &Site) -> bool {
    site.result().dtype.is_float()
}
