//! How far computed outputs are from expected ones.

use ir::{DType, Scalar, Tensor};
use serde::Serialize;

/// How far a float output may be off. Integers and booleans must be equal.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Tolerance {
    /// Of the expected output's range: the largest magnitude or the spread, whichever is more.
    pub relative: f64,
    /// An error that is small enough whatever the range. Other runtimes compute functions that level off (sigmoid,
    /// tanh) to a few ULP of 1, which is much where all of an output is near 0.
    pub absolute: f64,
}

impl Default for Tolerance {
    fn default() -> Tolerance {
        Tolerance { relative: 1e-4, absolute: 5e-7 }
    }
}

/// One output's figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    pub output: String,
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub max_abs_error: f64,
    /// What `max_abs_error` is relative to, for the tolerance.
    pub range: f64,
    /// Largest distance in representable values of the output's type; for integers the largest difference.
    pub max_ulp: u64,
    /// 1 is the same direction; of two zero vectors, too.
    pub cosine: f64,
    /// The element (row-major) with the largest error.
    pub worst_element: usize,
    /// Elements of which one is NaN or infinite and the other is something else.
    pub not_finite: usize,
    pub pass: bool,
}

/// Compares two tensors of one type.
pub fn compare(output: &str, expected: &Tensor, actual: &Tensor, tolerance: Tolerance) -> Comparison {
    let dtype = expected.ty.dtype;
    let (mut max_abs_error, mut worst_element, mut max_ulp, mut not_finite) = (0.0, 0, 0, 0);
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    let (mut dot, mut expected_square, mut actual_square) = (0.0, 0.0, 0.0);
    for (element, (expected, actual)) in expected.scalars().zip(actual.scalars()).enumerate() {
        if !same(expected, actual) {
            if dtype.is_float() && !(expected.as_f64().is_finite() && actual.as_f64().is_finite()) {
                not_finite += 1;
                worst_element = if not_finite == 1 { element } else { worst_element };
                continue;
            }
            max_ulp = max_ulp.max(ulps(expected, actual));
            let error = difference(expected, actual);
            if error > max_abs_error {
                (max_abs_error, worst_element) =
                    (error, if not_finite == 0 { element } else { worst_element });
            }
        }
        let (e, a) = (expected.as_f64(), actual.as_f64());
        if e.is_finite() {
            (low, high) = (low.min(e), high.max(e));
            dot += e * a;
            expected_square += e * e;
            actual_square += a * a;
        }
    }
    let spread = if low <= high { (high - low).max(high.abs()).max(low.abs()) } else { 0.0 };
    let range = if spread > 0.0 { spread } else { 1.0 };
    let close = if dtype.is_float() {
        max_abs_error <= (tolerance.relative * range).max(tolerance.absolute)
    } else {
        max_abs_error == 0.0
    };
    Comparison {
        output: output.to_owned(),
        dtype,
        shape: expected.ty.shape.clone(),
        max_abs_error,
        range,
        max_ulp,
        cosine: cosine(dot, expected_square, actual_square),
        worst_element,
        not_finite,
        pass: close && not_finite == 0,
    }
}

/// Equal as numbers, or both NaN.
fn same(a: Scalar, b: Scalar) -> bool {
    if !a.dtype.is_float() {
        return a.bits == b.bits;
    }
    let (a, b) = (a.as_f64(), b.as_f64());
    a == b || (a.is_nan() && b.is_nan())
}

/// `|a - b|`, without the rounding of large integers to floats beforehand.
fn difference(a: Scalar, b: Scalar) -> f64 {
    if a.dtype.is_float() { (a.as_f64() - b.as_f64()).abs() } else { ulps(a, b) as f64 }
}

/// How many values of the type lie between `a` and `b`, plus one if they differ.
fn ulps(a: Scalar, b: Scalar) -> u64 {
    let place = |scalar: Scalar| -> i128 {
        match scalar.dtype {
            DType::U64 => i128::from(scalar.bits),
            dtype if dtype.is_float() => {
                // Sign and magnitude to a line on which neighbours are neighbours, and both zeros are one.
                let sign = 1u64 << (dtype.bits() - 1);
                let magnitude = i128::from(scalar.bits & (sign - 1));
                if scalar.bits & sign == 0 { magnitude } else { -magnitude }
            }
            _ => i128::from(scalar.as_i64()),
        }
    };
    place(a).abs_diff(place(b)) as u64
}

fn cosine(dot: f64, a: f64, b: f64) -> f64 {
    match (a > 0.0, b > 0.0) {
        (true, true) => dot / (a.sqrt() * b.sqrt()),
        (false, false) => 1.0,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(expected: &[f32], actual: &[f32]) -> Comparison {
        let tensor = |values: &[f32]| Tensor::from_slice([values.len()], values);
        compare("y", &tensor(expected), &tensor(actual), Tolerance::default())
    }

    #[test]
    fn neighbours_are_one_ulp_apart() {
        let next = f32::from_bits(1.0f32.to_bits() + 1);
        assert_eq!(floats(&[1.0], &[next]).max_ulp, 1);
        // From the smallest negative to the smallest positive: over both zeros, which are one.
        assert_eq!(floats(&[-f32::from_bits(1)], &[f32::from_bits(1)]).max_ulp, 2);
        assert_eq!(floats(&[0.0], &[-0.0]).max_ulp, 0);
    }

    #[test]
    fn the_range_scales_the_tolerance() {
        assert!(floats(&[0.0, 1000.0], &[0.05, 1000.0]).pass);
        assert!(!floats(&[0.0, 1.0], &[0.05, 1.0]).pass);
        // Near zero, a few ULP of 1 are always allowed.
        assert!(floats(&[1e-6, 2e-6], &[1e-6, 2.4e-6]).pass);
        assert!(!floats(&[1e-6, 2e-6], &[1e-6, 2.6e-6]).pass);
        // A constant output has its magnitude as range.
        assert!(floats(&[1000.0], &[1000.05]).pass);
        let far = floats(&[1.0, 2.0, 3.0], &[1.0, 2.5, 3.0]);
        assert_eq!((far.max_abs_error, far.worst_element, far.range), (0.5, 1, 3.0));
    }

    #[test]
    fn nan_is_nan_and_nothing_else() {
        assert!(floats(&[f32::NAN, f32::INFINITY], &[f32::NAN, f32::INFINITY]).pass);
        let lost = floats(&[1.0, 2.0], &[1.0, f32::NAN]);
        assert!(!lost.pass);
        assert_eq!((lost.not_finite, lost.worst_element), (1, 1));
        assert!(!floats(&[f32::INFINITY], &[f32::NEG_INFINITY]).pass);
    }

    #[test]
    fn integers_are_exact() {
        let tensor = |value: i64| Tensor::from_slice([1], &[value]);
        let off = compare(
            "y",
            &tensor(i64::MAX),
            &tensor(i64::MAX - 1),
            Tolerance { relative: 1.0, absolute: 1.0 },
        );
        assert!(!off.pass);
        assert_eq!((off.max_abs_error, off.max_ulp), (1.0, 1));
    }

    #[test]
    fn cosine_is_of_directions() {
        assert_eq!(floats(&[0.0, 2.0], &[0.0, 4.0]).cosine, 1.0);
        assert_eq!(floats(&[0.0, 1.0], &[1.0, 0.0]).cosine, 0.0);
        assert_eq!(floats(&[0.0], &[0.0]).cosine, 1.0);
    }
}
