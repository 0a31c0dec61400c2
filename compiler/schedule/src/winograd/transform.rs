//! The matrices of Winograd's algorithms `F(m, 3)`, and a product with one of them as an expression.
//!
//! Cook–Toom over the points 0, ±1, ±2, ±1/2 and infinity (A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural
//! Networks", 2015, section 4): `m` outputs of a window of 3 take `m + 2` products instead of `3 m`.

use ir::DType;
use loops::{Compare, Expr};

/// Taps of the window.
pub const TAPS: usize = 3;

/// The finite points in the order in which they are taken, each behind its mirror image.
const POINTS: [f64; 7] = [0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5];

/// The transforms of `F(outputs, 3)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Transforms {
    pub outputs: usize,
    /// `points × points`: what each product takes of the input.
    pub input: Vec<Vec<f64>>,
    /// `points × 3`: what each product takes of the weights.
    pub weights: Vec<Vec<f64>>,
    /// `outputs × points`: what each output takes of the products.
    pub output: Vec<Vec<f64>>,
}

impl Transforms {
    /// `None` unless `outputs` is 2, 4 or 6.
    pub fn of(outputs: usize) -> Option<Transforms> {
        if !matches!(outputs, 2 | 4 | 6) {
            return None;
        }
        let finite = &POINTS[..outputs + 1];
        let others = |point: f64| finite.iter().copied().filter(move |&other| other != point);
        let unit = |place: usize, len: usize| (0..len).map(|k| f64::from(k == place)).collect::<Vec<f64>>();
        let powers = |point: f64, scale: f64| (0..TAPS as i32).map(|k| point.powi(k) / scale).collect();
        let points = outputs + TAPS - 1;
        let mut input: Vec<Vec<f64>> =
            finite.iter().map(|&point| polynomial(others(point), points)).collect();
        input.push(polynomial(finite.iter().copied(), points));
        let scale = |point: f64| others(point).map(|other| point - other).product::<f64>();
        let mut weights: Vec<Vec<f64>> = finite.iter().map(|&point| powers(point, scale(point))).collect();
        weights.push(unit(TAPS - 1, TAPS));
        let output = (0..outputs)
            .map(|row| {
                let mut of_points: Vec<f64> = finite.iter().map(|point| point.powi(row as i32)).collect();
                of_points.push(f64::from(row + 1 == outputs));
                of_points
            })
            .collect();
        Some(Transforms { outputs, input, weights, output })
    }

    /// Products of one axis.
    pub fn points(&self) -> usize {
        self.outputs + TAPS - 1
    }
}

/// The coefficients of `Π (x - root)`, lowest first, as `len` numbers.
fn polynomial(roots: impl Iterator<Item = f64>, len: usize) -> Vec<f64> {
    let mut coefficients = vec![0.0; len];
    coefficients[0] = 1.0;
    for root in roots {
        for k in (0..len).rev() {
            let lower = if k > 0 { coefficients[k - 1] } else { 0.0 };
            coefficients[k] = lower - root * coefficients[k];
        }
    }
    coefficients
}

/// Row `axis` of `matrix · values`, where `values(k)` is the k-th value: one expression per row, told apart by the axis.
pub fn row_of(matrix: &[Vec<f64>], axis: usize, combined: impl Fn(&[f64]) -> Expr) -> Expr {
    let mut rows = matrix.iter().enumerate().rev();
    let last = rows.next().map_or(Expr::constant(DType::F32, 0.0), |(_, row)| combined(row));
    rows.fold(last, |rest, (k, row)| {
        let here = Expr::compare(Compare::Eq, Expr::Axis(axis), Expr::int(k as i64));
        Expr::select(here, combined(row), rest)
    })
}

/// A row of the input's matrix times `values`: what stands at even places and what stands at odd ones apart, which the
/// rows of a point and of its mirror image have in common but for a sign.
pub fn even_and_odd(row: &[f64], values: &dyn Fn(usize) -> Expr) -> Expr {
    let part = |parity: usize| {
        let terms = row.iter().enumerate().filter(|(k, coefficient)| k % 2 == parity && **coefficient != 0.0);
        terms.map(|(k, &coefficient)| (coefficient, values(k))).collect::<Vec<_>>()
    };
    match (part(0), part(1)) {
        (even, odd) if odd.is_empty() => sum(&even),
        (even, odd) if even.is_empty() => sum(&odd),
        (even, mut odd) => {
            let minus = odd[odd.len() - 1].0 < 0.0;
            if minus {
                odd.iter_mut().for_each(|(coefficient, _)| *coefficient = -*coefficient);
            }
            if minus { sum(&even) - sum(&odd) } else { sum(&even) + sum(&odd) }
        }
    }
}

/// A row of the output's matrix times `values`: sums and differences of mirrored points, which all rows have in common.
pub fn mirrored(row: &[f64], values: &dyn Fn(usize) -> Expr) -> Expr {
    let last = row.len() - 1;
    let mut terms = vec![(row[0], values(0))];
    for k in (1..last).step_by(2) {
        let (a, b) = (values(k), values(k + 1));
        terms.push((row[k], if row[k] == row[k + 1] { a + b } else { a - b }));
    }
    terms.push((row[last], values(last)));
    terms.retain(|(coefficient, _)| *coefficient != 0.0);
    sum(&terms)
}

/// `Σ coefficient · value`, the unit coefficients without a product.
fn sum(terms: &[(f64, Expr)]) -> Expr {
    let scaled = |coefficient: f64, value: &Expr| match coefficient {
        1.0 => value.clone(),
        _ => Expr::constant(DType::F32, coefficient) * value.clone(),
    };
    let mut terms = terms.to_vec();
    // A positive term first, so that none needs a negation.
    if let Some(positive) = terms.iter().position(|(coefficient, _)| *coefficient > 0.0) {
        terms.swap(0, positive);
    }
    let mut terms = terms.iter();
    let first = terms
        .next()
        .map_or(Expr::constant(DType::F32, 0.0), |(coefficient, value)| scaled(*coefficient, value));
    terms.fold(first, |sum, (coefficient, value)| match *coefficient < 0.0 {
        true => sum - scaled(-coefficient, value),
        false => sum + scaled(*coefficient, value),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `output · ((weights · g) ∘ (input · d))` is the convolution of 3 taps, for every unit vector of both.
    #[test]
    fn transforms_make_convolutions() {
        for outputs in [2, 4, 6] {
            let t = Transforms::of(outputs).unwrap();
            for tap in 0..TAPS {
                for place in 0..t.points() {
                    let products: Vec<f64> =
                        (0..t.points()).map(|p| t.weights[p][tap] * t.input[p][place]).collect();
                    for (row, of_products) in t.output.iter().enumerate() {
                        let value: f64 = of_products.iter().zip(&products).map(|(a, b)| a * b).sum();
                        let expected = f64::from(row + tap == place);
                        assert!((value - expected).abs() < 1e-12, "F({outputs},3): {tap} {place} {row}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_matrices_of_f_4_3_are_the_published_ones() {
        let t = Transforms::of(4).unwrap();
        assert_eq!(t.input[0], [4.0, 0.0, -5.0, 0.0, 1.0, 0.0]);
        assert_eq!(t.input[3], [0.0, -2.0, -1.0, 2.0, 1.0, 0.0]);
        assert_eq!(t.output[3], [0.0, 1.0, -1.0, 8.0, -8.0, 1.0]);
        assert_eq!(t.weights[0], [0.25, 0.0, 0.0]);
        assert!(Transforms::of(3).is_none());
    }
}
