//! Index arithmetic as sums: `offset + Σ coefficient · atom`.

use std::collections::BTreeMap;

use crate::{Binary, Expr};

/// An integer expression in normal form. Atoms are whatever is not a sum or a constant multiple: axes, loop
/// variables, quotients, looked-up values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Affine {
    pub offset: i64,
    /// No coefficient is zero.
    pub terms: BTreeMap<Expr, i64>,
}

impl Affine {
    pub fn constant(offset: i64) -> Affine {
        Affine { offset, terms: BTreeMap::new() }
    }

    /// Every integer expression has a normal form; what is not affine in it stays as an atom.
    pub fn of(expr: &Expr) -> Affine {
        match expr {
            Expr::Const(scalar) => Affine::constant(scalar.as_i64()),
            Expr::Binary(Binary::Add, a, b) => Affine::of(a).plus(&Affine::of(b), 1),
            Expr::Binary(Binary::Sub, a, b) => Affine::of(a).plus(&Affine::of(b), -1),
            Expr::Binary(Binary::Mul, a, b) => {
                let (a, b) = (Affine::of(a), Affine::of(b));
                match (a.terms.is_empty(), b.terms.is_empty()) {
                    (_, true) => Affine::default().plus(&a, b.offset),
                    (true, _) => Affine::default().plus(&b, a.offset),
                    _ => Affine::atom(a.to_expr() * b.to_expr()),
                }
            }
            other => Affine::atom(other.clone()),
        }
    }

    fn atom(expr: Expr) -> Affine {
        Affine { offset: 0, terms: BTreeMap::from([(expr, 1)]) }
    }

    /// `self + factor · other`.
    pub fn plus(mut self, other: &Affine, factor: i64) -> Affine {
        self.offset += factor * other.offset;
        for (atom, coefficient) in &other.terms {
            let sum = self.terms.entry(atom.clone()).or_insert(0);
            *sum += factor * coefficient;
            if *sum == 0 {
                self.terms.remove(atom);
            }
        }
        self
    }

    /// The coefficient of `atom`; 0 if it does not occur as a term.
    pub fn coefficient(&self, atom: &Expr) -> i64 {
        self.terms.get(atom).copied().unwrap_or(0)
    }

    /// Whether `atom` occurs inside a term other than as the term itself.
    pub fn hides(&self, atom: &Expr) -> bool {
        self.terms.keys().any(|term| term != atom && term.any(&mut |node| node == atom))
    }

    /// The coefficients of the axes `0..rank`, if there is nothing else but a constant.
    pub fn over_axes(&self, rank: usize) -> Option<Vec<i64>> {
        let mut coefficients = vec![0; rank];
        for (atom, coefficient) in &self.terms {
            let Expr::Axis(axis) = atom else { return None };
            *coefficients.get_mut(*axis)? = *coefficient;
        }
        Some(coefficients)
    }

    /// Back to an expression, terms in their order, constants last; the same sum gives the same expression.
    pub fn to_expr(&self) -> Expr {
        let terms = self.terms.iter().map(|(atom, &coefficient)| match coefficient {
            1 => atom.clone(),
            _ => atom.clone() * Expr::int(coefficient),
        });
        let sum = terms.reduce(|a, b| a + b);
        match (sum, self.offset) {
            (None, offset) => Expr::int(offset),
            (Some(sum), 0) => sum,
            (Some(sum), offset) => sum + Expr::int(offset),
        }
    }
}
