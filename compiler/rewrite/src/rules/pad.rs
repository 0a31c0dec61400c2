//! Pads taken into the window that reads what was padded.

use ir::{Scalar, TensorType};
use loops::Fold;
use ops::AnyOp;
use ops::ops::average_pool::AveragePool;
use ops::ops::conv::Conv;
use ops::ops::max_pool::MaxPool;
use ops::ops::pad::{Pad, PadMode};
use ops::shape::{Layout, Pool, Window};

use crate::Rule;
use crate::rule::{Found, Site, Term};

pub const RULES: &[Rule] = &[
    Rule { name: "pad-conv", tolerance: 0.0, apply: pad_conv },
    Rule { name: "pad-max-pool", tolerance: 0.0, apply: pad_max_pool },
    Rule { name: "pad-average-pool", tolerance: 0.0, apply: pad_average_pool },
];

/// `conv(pad(x, 0), w, b) = conv{wider}(x, w, b)`.
fn pad_conv(site: &Site, found: &mut Found) {
    let Some((conv, args)) = site.is::<Conv>() else { return };
    let rest = args[1..].iter().map(|&arg| Term::from(arg));
    for (pad, padded) in site.forms_of::<Pad>(args[0]) {
        match wider(&conv.window, conv.layout, pad, |value| value.is_zero()) {
            Ok(window) => {
                let conv = Conv { window, ..conv.clone() };
                found.equal(Term::apply(conv, [padded[0].into()].into_iter().chain(rest.clone())));
            }
            Err(reason) => found.declined(reason),
        }
    }
}

/// `max_pool(pad(x, lowest)) = max_pool{wider}(x)`.
fn pad_max_pool(site: &Site, found: &mut Found) {
    let Some((max_pool, &[arg])) = site.is::<MaxPool>() else { return };
    let lowest = Fold::Max.identity(site.result().dtype);
    for (pad, padded) in site.forms_of::<Pad>(arg) {
        match wider(&max_pool.pool.window, max_pool.pool.layout, pad, |value| value == lowest) {
            Ok(window) => {
                let pool = Pool { window, ..max_pool.pool.clone() };
                equal(site, found, MaxPool { pool }, padded[0]);
            }
            Err(reason) => found.declined(reason),
        }
    }
}

/// `average_pool(pad(x, 0)) = average_pool{wider, counted}(x)`: what was padded counts as elements of value 0.
fn pad_average_pool(site: &Site, found: &mut Found) {
    let Some((average, &[arg])) = site.is::<AveragePool>() else { return };
    let own = &average.pool.window.pads;
    for (pad, padded) in site.forms_of::<Pad>(arg) {
        match wider(&average.pool.window, average.pool.layout, pad, |value| value.is_zero()) {
            Ok(window) => {
                let more = |k: usize| (window.pads[k].0 - own[k].0, window.pads[k].1 - own[k].1);
                let already = |k: usize| average.counted.get(k).copied().unwrap_or((0, 0));
                let counted =
                    (0..own.len()).map(|k| (already(k).0 + more(k).0, already(k).1 + more(k).1)).collect();
                let pool = Pool { window, ..average.pool.clone() };
                equal(site, found, AveragePool { pool, counted }, padded[0]);
            }
            Err(reason) => found.declined(reason),
        }
    }
}

fn equal(site: &Site, found: &mut Found, pool: impl Into<AnyOp>, x: egg::Id) {
    let pool = pool.into();
    let x_type: TensorType = site.ty(x).clone();
    // A kernel may be refused where it lies in the pads altogether.
    if pool.infer(&[x_type]).is_ok_and(|types| types[0] == *site.result()) {
        found.equal(Term::Apply(pool, vec![x.into()]));
    }
}

/// `window` over what `pad` pads, if it fills with a value that the window gives for its own pads.
fn wider(
    window: &Window,
    layout: Layout,
    pad: &Pad,
    neutral: impl Fn(Scalar) -> bool,
) -> Result<Window, String> {
    if pad.mode != PadMode::Constant {
        return Err("the pad repeats elements; a window's own pads are constant".to_owned());
    }
    let value = pad.value.unwrap_or(Scalar::f32(0.0));
    if !neutral(value) {
        return Err(format!("the pad is filled with {value}, which changes the window's result"));
    }
    let (batch, channels, spatial) = layout.split(&pad.pads);
    if batch != (0, 0) || channels != (0, 0) {
        return Err("the pad adds to the batch or to the channels".to_owned());
    }
    let mut wider = window.clone();
    for (own, (before, after)) in wider.pads.iter_mut().zip(spatial) {
        let (Ok(before), Ok(after)) = (usize::try_from(before), usize::try_from(after)) else {
            return Err("the pad takes elements away".to_owned());
        };
        *own = (own.0 + before, own.1 + after);
    }
    Ok(wider)
}
