//! Sets of values that an element may have, and what expressions make of them.
//!
//! Bounds hold for every way in which a machine may round: each operation widens its bounds by more than its own
//! rounding, so that sums in another order, products associated differently and fused multiply-adds stay inside. What
//! is exact stays exact: zeros, comparisons, clamps, and a term that rounding swallows.

use ir::{DType, Scalar};
use loops::{Binary, Compare, Expr, Fold, Source, Unary};

/// Numbers from `low` to `high`, both included and possibly infinite, and a NaN besides where `nan` says so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
    pub nan: bool,
}

impl Interval {
    pub const ZERO: Interval = Interval::point(0.0);

    pub const fn new(low: f64, high: f64) -> Interval {
        Interval { low, high, nan: false }
    }

    pub const fn point(value: f64) -> Interval {
        Interval::new(value, value)
    }

    /// All that an element of this type can be.
    pub fn any(dtype: DType) -> Interval {
        let bits = dtype.bits() as i32;
        match dtype {
            d if d.is_float() => Interval { low: f64::NEG_INFINITY, high: f64::INFINITY, nan: true },
            DType::Bool => Interval::new(0.0, 1.0),
            d if d.is_unsigned_int() => Interval::new(0.0, 2f64.powi(bits) - 1.0),
            _ => Interval::new(-2f64.powi(bits - 1), 2f64.powi(bits - 1) - 1.0),
        }
    }

    pub fn of(scalar: Scalar) -> Interval {
        let value = scalar.as_f64();
        if value.is_nan() { Interval::any(scalar.dtype) } else { Interval::point(value) }
    }

    /// The least that holds all of `scalars`, of which there is at least one.
    pub fn around(scalars: impl Iterator<Item = Scalar>) -> Interval {
        let any = Interval { low: f64::NEG_INFINITY, high: f64::INFINITY, nan: true };
        scalars.map(Interval::of).reduce(Interval::hull).unwrap_or(any)
    }

    pub fn hull(self, other: Interval) -> Interval {
        Interval { low: self.low.min(other.low), high: self.high.max(other.high), nan: self.nan || other.nan }
    }

    /// What is left of it within `±bound`; itself where nothing is: what is proven counts more than what is assumed.
    pub fn within(self, bound: f64) -> Interval {
        let (low, high) = (self.low.max(-bound), self.high.min(bound));
        if low <= high { Interval::new(low, high) } else { self }
    }

    /// Whether it is zero and nothing else; of which sign is not known.
    pub fn is_zero(self) -> bool {
        self == Interval::ZERO
    }

    pub fn is_point(self) -> bool {
        self.low == self.high && !self.nan && self.low.is_finite()
    }

    pub fn is_finite(self) -> bool {
        !self.nan && self.low.is_finite() && self.high.is_finite()
    }

    pub fn magnitude(self) -> f64 {
        self.low.abs().max(self.high.abs())
    }

    /// Wider by `error` on either side, and as `dtype` holds it: beyond its largest number lies infinity, and an
    /// integer that leaves its type may become any.
    fn widened(self, error: f64, dtype: DType) -> Interval {
        let (low, high) = (self.low - error, self.high + error);
        if low.is_nan() || high.is_nan() {
            return Interval::any(dtype);
        }
        if !dtype.is_float() {
            let any = Interval::any(dtype);
            // Beyond 52 bits the bounds themselves may be rounded.
            let exact = low.abs().max(high.abs()) <= 2f64.powi(52);
            return if any.low <= low && high <= any.high && exact { self } else { any };
        }
        let largest = largest(dtype);
        Interval {
            low: if low < -largest { f64::NEG_INFINITY } else { low.min(largest) },
            high: if high > largest { f64::INFINITY } else { high.max(-largest) },
            nan: self.nan,
        }
    }

    pub fn add(self, other: Interval, dtype: DType) -> Interval {
        if other.is_zero() || other.swallows(self, dtype) {
            return if other.is_zero() { self } else { other };
        }
        if self.is_zero() || self.swallows(other, dtype) {
            return if self.is_zero() { other } else { self };
        }
        let opposite = |a: f64, b: f64| a.is_infinite() && b == -a;
        let nan = self.nan || other.nan || opposite(self.low, other.high) || opposite(self.high, other.low);
        if nan && (self.low + other.low).is_nan() || (self.high + other.high).is_nan() {
            return Interval::any(dtype);
        }
        let sum = Interval { low: self.low + other.low, high: self.high + other.high, nan };
        let (low, high) = (self.low.abs() + other.low.abs(), self.high.abs() + other.high.abs());
        let lower = sum.widened(rounding(low, dtype), dtype);
        let upper = sum.widened(rounding(high, dtype), dtype);
        Interval { low: lower.low, high: upper.high, nan: sum.nan || lower.nan || upper.nan }
    }

    /// Whether any sum with `term` rounds to this, a number other than zero: `term` stays below half of a unit in its
    /// last place, on the side of zero as well.
    fn swallows(self, term: Interval, dtype: DType) -> bool {
        if !self.is_point() || self.low == 0.0 || !term.is_finite() || !dtype.is_float() {
            return false;
        }
        let exponent = (self.low.to_bits() >> 52 & 0x7ff) as i32 - 1023;
        let power_of_two = self.low.to_bits() & ((1 << 52) - 1) == 0;
        let half_unit = 2f64.powi(exponent - mantissa(dtype) - 1 - i32::from(power_of_two));
        self.low.abs() >= smallest(dtype) && term.magnitude() < half_unit
    }

    pub fn neg(self) -> Interval {
        Interval { low: -self.high, high: -self.low, nan: self.nan }
    }

    pub fn mul(self, other: Interval, dtype: DType) -> Interval {
        let zero_times_infinity =
            |a: Interval, b: Interval| a.low <= 0.0 && a.high >= 0.0 && b.magnitude().is_infinite();
        let nan = self.nan
            || other.nan
            || dtype.is_float() && (zero_times_infinity(self, other) || zero_times_infinity(other, self));
        if !nan && (self.is_zero() || other.is_zero()) {
            return Interval::ZERO;
        }
        self.corners(other, nan, |a, b| if a == 0.0 || b == 0.0 { 0.0 } else { a * b }, dtype)
    }

    fn div(self, other: Interval, dtype: DType) -> Interval {
        if other.low <= 0.0 && other.high >= 0.0 || !other.is_finite() || !self.is_finite() || other.nan {
            return Interval::any(dtype);
        }
        if self.is_zero() {
            return Interval::ZERO;
        }
        match dtype.is_float() {
            true => self.corners(other, self.nan, |a, b| a / b, dtype),
            false => self.corners(other, false, |a, b| (a / b).trunc(), dtype),
        }
    }

    fn corners(self, other: Interval, nan: bool, f: impl Fn(f64, f64) -> f64, dtype: DType) -> Interval {
        let all =
            [(self.low, other.low), (self.low, other.high), (self.high, other.low), (self.high, other.high)];
        let values = all.map(|(a, b)| f(a, b));
        let low = values.into_iter().fold(f64::INFINITY, f64::min);
        let high = values.into_iter().fold(f64::NEG_INFINITY, f64::max);
        // A bound of zero is met exactly: a product rounds to its own side.
        let lower = Interval::point(low).widened(if low == 0.0 { 0.0 } else { rounding(low, dtype) }, dtype);
        let upper =
            Interval::point(high).widened(if high == 0.0 { 0.0 } else { rounding(high, dtype) }, dtype);
        Interval { low: lower.low, high: upper.high, nan }
    }

    /// `if a > b { a } else { b }`.
    fn max(self, other: Interval) -> Interval {
        // Where `self` is NaN the other is chosen; where the other is, it is, too.
        let low = if self.nan { other.low } else { self.low.max(other.low) };
        Interval { low, high: self.high.max(other.high), nan: other.nan }
    }

    fn min(self, other: Interval) -> Interval {
        self.neg().max(other.neg()).neg()
    }

    /// The sum of `count` elements, in any order.
    fn sum(self, count: usize, dtype: DType) -> Interval {
        if self.is_zero() {
            return self;
        }
        let n = count as f64;
        let all = Interval { low: self.low * n, high: self.high * n, nan: self.nan || !self.is_finite() };
        let error = |bound: f64| if bound == 0.0 { 0.0 } else { n * rounding(bound, dtype) };
        let lower = all.widened(error(all.low), dtype);
        let upper = all.widened(error(all.high), dtype);
        // All of one sign add up on their own side of zero.
        Interval { low: lower.low, high: upper.high, nan: all.nan }
    }

    fn monotone(self, dtype: DType, f: impl Fn(f64) -> f64) -> Interval {
        // Elementary functions are polynomials, a few units off (docs/numerics.md).
        const ELEMENTARY: f64 = 16.0;
        let (low, high) = (f(self.low), f(self.high));
        if low.is_nan() || high.is_nan() {
            return Interval::any(dtype);
        }
        let error = |bound: f64| ELEMENTARY * rounding(bound, dtype);
        let lower = Interval::point(low).widened(error(low), dtype);
        let upper = Interval::point(high).widened(error(high), dtype);
        Interval { low: lower.low, high: upper.high, nan: self.nan }
    }

    fn unary(self, op: Unary, dtype: DType) -> Interval {
        let exact = |f: fn(f64) -> f64| Interval { low: f(self.low), high: f(self.high), nan: self.nan };
        match op {
            Unary::Neg if dtype.is_float() => self.neg(),
            Unary::Neg => self.neg().widened(0.0, dtype),
            Unary::Abs if self.low >= 0.0 => self,
            Unary::Abs if self.high <= 0.0 => self.neg().widened(0.0, dtype),
            Unary::Abs => Interval { low: 0.0, high: self.magnitude(), nan: self.nan }.widened(0.0, dtype),
            Unary::Sign => {
                let sign = |x: f64| if x == 0.0 { 0.0 } else { x.signum() };
                Interval { low: sign(self.low), high: sign(self.high), nan: self.nan }
            }
            Unary::Floor => exact(f64::floor),
            Unary::Ceil => exact(f64::ceil),
            Unary::Round => exact(f64::round_ties_even),
            Unary::Trunc => exact(f64::trunc),
            Unary::Sqrt if self.is_zero() => self,
            Unary::Sqrt if self.low >= 0.0 => self.monotone(dtype, f64::sqrt),
            Unary::Exp => self.monotone(dtype, f64::exp),
            Unary::Log if self.low > 0.0 => self.monotone(dtype, f64::ln),
            Unary::Tanh => self.monotone(dtype, f64::tanh),
            Unary::Atan => self.monotone(dtype, f64::atan),
            Unary::Sin | Unary::Cos if self.is_finite() => Interval::new(-1.0, 1.0),
            Unary::Erf => Interval { low: -1.0, high: 1.0, nan: self.nan },
            Unary::IsNan if !self.nan => Interval::ZERO,
            Unary::IsNan | Unary::IsInf => Interval::any(DType::Bool),
            _ => Interval::any(dtype),
        }
    }

    fn binary(self, op: Binary, other: Interval, dtype: DType) -> Interval {
        match op {
            Binary::Add => self.add(other, dtype),
            Binary::Sub => self.add(other.neg(), dtype),
            Binary::Mul => self.mul(other, dtype),
            Binary::Div => self.div(other, dtype),
            Binary::Min => self.min(other),
            Binary::Max => self.max(other),
            _ => Interval::any(dtype),
        }
    }

    fn compare(self, op: Compare, other: Interval) -> Interval {
        if self.nan || other.nan {
            return Interval::any(DType::Bool);
        }
        let (less, greater) = (self.high < other.low, self.low > other.high);
        let equal = self.is_point() && self == other;
        let (always, never) = match op {
            Compare::Lt => (less, self.low >= other.high),
            Compare::Le => (self.high <= other.low, greater),
            Compare::Gt => (greater, self.high <= other.low),
            Compare::Ge => (self.low >= other.high, less),
            Compare::Eq => (equal, less || greater),
            Compare::Ne => (less || greater, equal),
        };
        match (always, never) {
            (true, _) => Interval::point(1.0),
            (_, true) => Interval::ZERO,
            _ => Interval::any(DType::Bool),
        }
    }

    fn cast(self, from: DType, to: DType) -> Interval {
        let any = Interval::any(to);
        if to == DType::Bool {
            return if self.is_zero() { self } else { any };
        }
        if from.is_float() && to.is_int() {
            // Truncates and saturates; a NaN becomes 0.
            let bound = |x: f64| x.trunc().clamp(any.low, any.high);
            let whole = Interval::new(bound(self.low), bound(self.high));
            return if self.nan { whole.hull(Interval::ZERO) } else { whole };
        }
        let exact = to.is_int() || from.is_int() && self.magnitude() <= 2f64.powi(mantissa(to));
        let error = |bound: f64| if exact || from == to { 0.0 } else { rounding(bound, to) };
        if self.is_zero() {
            return self;
        }
        self.widened(error(self.magnitude()), to)
    }
}

/// More than what rounding does to a result of this magnitude, by two bits. Where a machine flushes what is smaller
/// than its smallest normal number, that much is lost.
pub fn rounding(magnitude: f64, dtype: DType) -> f64 {
    match dtype.is_float() {
        true => magnitude.abs() * 2f64.powi(1 - mantissa(dtype)) + smallest(dtype),
        false => 0.0,
    }
}

/// Bits of the mantissa behind the point.
fn mantissa(dtype: DType) -> i32 {
    match dtype {
        DType::F16 => 10,
        DType::BF16 => 7,
        DType::F32 => 23,
        _ => 52,
    }
}

/// The smallest normal number.
fn smallest(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 2f64.powi(-14),
        DType::F64 => f64::MIN_POSITIVE,
        _ => 2f64.powi(-126),
    }
}

fn largest(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 65504.0,
        DType::F64 => f64::MAX,
        // That of `BF16` is a little smaller, and its infinity a float's.
        _ => f64::from(f32::MAX),
    }
}

/// The values of expressions of a stage.
pub trait Reads {
    /// Of an element that is read, whatever its place.
    fn read(&self, source: Source) -> (Interval, DType);
    fn folded(&self) -> (Interval, DType);
}

/// What `expr` may be, and its type. Axes are not followed: a condition on them may hold or not.
pub fn evaluate(expr: &Expr, reads: &dyn Reads) -> (Interval, DType) {
    let of = |expr: &Expr| evaluate(expr, reads);
    match expr {
        Expr::Const(scalar) => (Interval::of(*scalar), scalar.dtype),
        Expr::Read { source, .. } => reads.read(*source),
        Expr::Folded => reads.folded(),
        Expr::Unary(op, a) => {
            let (a, dtype) = of(a);
            let dtype = if matches!(op, Unary::IsNan | Unary::IsInf) { DType::Bool } else { dtype };
            (a.unary(*op, dtype), dtype)
        }
        Expr::Binary(op, a, b) => {
            let ((a, dtype), (b, _)) = (of(a), of(b));
            (a.binary(*op, b, dtype), dtype)
        }
        Expr::Compare(op, a, b) => (of(a).0.compare(*op, of(b).0), DType::Bool),
        Expr::Select { condition, then, otherwise } => {
            let ((then, dtype), (otherwise, _)) = (of(then), of(otherwise));
            let chosen = match of(condition).0 {
                decided if decided.is_zero() => otherwise,
                decided if decided.is_point() => then,
                _ => then.hull(otherwise),
            };
            (chosen, dtype)
        }
        Expr::Cast(to, a) => {
            let (a, from) = of(a);
            (a.cast(from, *to), *to)
        }
        // Indices, and what only nests have.
        _ => (Interval::any(DType::I64), DType::I64),
    }
}

/// `count` elements, each anywhere in `element`, folded into one.
pub fn fold(kind: Fold, element: Interval, count: usize, dtype: DType) -> Interval {
    match kind {
        _ if count == 0 => Interval::any(dtype),
        Fold::Min | Fold::Max => element,
        Fold::Sum => element.sum(count, dtype),
        Fold::Product if count == 1 || element.is_zero() => element,
        Fold::Product => Interval::any(dtype),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const F32: DType = DType::F32;

    #[test]
    fn a_rectifier_knows_its_lower_bound_even_of_nothing() {
        let relu = Interval::any(F32).max(Interval::ZERO);
        assert_eq!(relu, Interval::new(0.0, f64::INFINITY));
        assert!(Interval::new(-3.0, -1e-20).max(Interval::ZERO).is_zero());
        // A clip passes its NaN on.
        assert!(Interval::ZERO.max(Interval::any(F32)).nan);
    }

    #[test]
    fn a_term_below_half_a_unit_is_swallowed_and_a_larger_one_is_not() {
        let unit = f64::from(f32::EPSILON);
        let sum = |bias: f64, term: f64| Interval::point(bias).add(Interval::new(-term, term), F32);
        assert_eq!(sum(1.5, 0.49 * unit), Interval::point(1.5));
        assert!(!sum(1.5, 0.5 * unit).is_point());
        // Below a power of two the numbers lie twice as dense.
        assert_eq!(sum(1.0, 0.24 * unit), Interval::point(1.0));
        assert!(!sum(1.0, 0.26 * unit).is_point());
        assert!(!sum(0.0, 1e-30).is_point());
    }

    #[test]
    fn bounds_hold_what_floats_compute() {
        let (a, b) = (0.1f32, 0.3f32);
        let of = |x: f32| Interval::point(f64::from(x));
        let holds =
            |interval: Interval, x: f32| interval.low <= f64::from(x) && f64::from(x) <= interval.high;
        assert!(holds(of(a).add(of(b), F32), a + b));
        assert!(holds(of(a).mul(of(b), F32), a * b));
        assert!(holds(of(a).div(of(b), F32), a / b));
        assert!(holds(of(a).sum(1000, F32), (0..1000).map(|_| a).sum()));
        assert!(Interval::any(F32).mul(Interval::ZERO, F32).nan, "infinity times zero");
    }

    #[test]
    fn integers_that_leave_their_type_may_be_anything() {
        let byte = Interval::new(-100.0, 100.0);
        assert_eq!(byte.add(byte, DType::I8), Interval::any(DType::I8));
        assert_eq!(byte.add(byte, DType::I32), Interval::new(-200.0, 200.0));
    }
}
