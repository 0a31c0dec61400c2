//! Intervals of index expressions, to decide guards while loops are written.

use std::collections::HashMap;

use loops::affine::Affine;
use loops::{Binary, Compare, Expr, LoopVar};

/// The least and greatest value of each loop variable, both included.
pub type Ranges = HashMap<LoopVar, (i64, i64)>;

/// The least and greatest value of an index expression; `None` if a part is not known.
pub fn range(expr: &Expr, ranges: &Ranges) -> Option<(i64, i64)> {
    let sum = Affine::of(expr);
    sum.terms.iter().try_fold((sum.offset, sum.offset), |(low, high), (atom, &coefficient)| {
        let (a, b) = match atom {
            Expr::Loop(var) => *ranges.get(var)?,
            Expr::Binary(op, a, b) => binary(*op, range(a, ranges)?, range(b, ranges)?)?,
            _ => return None,
        };
        let (a, b) = (a.checked_mul(coefficient)?, b.checked_mul(coefficient)?);
        Some((low.checked_add(a.min(b))?, high.checked_add(a.max(b))?))
    })
}

fn binary(op: Binary, a: (i64, i64), b: (i64, i64)) -> Option<(i64, i64)> {
    match op {
        Binary::Min => Some((a.0.min(b.0), a.1.min(b.1))),
        Binary::Max => Some((a.0.max(b.0), a.1.max(b.1))),
        Binary::Div if b.0 == b.1 && b.0 > 0 => Some((a.0 / b.0, a.1 / b.0)),
        Binary::Rem | Binary::Mod if b.0 == b.1 && b.0 > 0 && a.0 >= 0 => Some((0, (b.0 - 1).min(a.1))),
        _ => None,
    }
}

/// Whether a condition holds for every value of the loop variables (`Some(true)`), for none, or it depends.
pub fn decide(condition: &Expr, ranges: &Ranges) -> Option<bool> {
    match condition {
        Expr::Const(scalar) => Some(!scalar.is_zero()),
        Expr::Binary(Binary::And, a, b) => match (decide(a, ranges), decide(b, ranges)) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        },
        Expr::Binary(Binary::Or, a, b) => match (decide(a, ranges), decide(b, ranges)) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        },
        Expr::Compare(op, a, b) if crate::flat::is_index(a) && crate::flat::is_index(b) => {
            let (low, high) = range(&(a.as_ref().clone() - b.as_ref().clone()), ranges)?;
            let (always, never) = match op {
                Compare::Lt => (high < 0, low >= 0),
                Compare::Le => (high <= 0, low > 0),
                Compare::Gt => (low > 0, high <= 0),
                Compare::Ge => (low >= 0, high < 0),
                Compare::Eq => (low == 0 && high == 0, low > 0 || high < 0),
                Compare::Ne => (low > 0 || high < 0, low == 0 && high == 0),
            };
            match (always, never) {
                (true, _) => Some(true),
                (_, true) => Some(false),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The conjuncts of a condition.
pub fn conjuncts(condition: &Expr) -> Vec<&Expr> {
    match condition {
        Expr::Binary(Binary::And, a, b) => [conjuncts(a), conjuncts(b)].concat(),
        other => vec![other],
    }
}

/// A conjunct in the form `0 <= sum`, if it is an inequality of indices.
pub fn not_negative(conjunct: &Expr) -> Option<Affine> {
    let Expr::Compare(op, a, b) = conjunct else { return None };
    if !crate::flat::is_index(a) || !crate::flat::is_index(b) {
        return None;
    }
    let difference = Affine::of(a).plus(&Affine::of(b), -1);
    let negated = || Affine::default().plus(&difference, -1);
    let less_one = |sum: Affine| sum.plus(&Affine::constant(1), -1);
    match op {
        Compare::Ge => Some(difference),
        Compare::Gt => Some(less_one(difference)),
        Compare::Le => Some(negated()),
        Compare::Lt => Some(less_one(negated())),
        Compare::Eq | Compare::Ne => None,
    }
}
