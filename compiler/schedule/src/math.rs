//! Elementary functions as arithmetic: what no instruction computes is expanded into additions, multiplications,
//! comparisons and bit operations, lane by lane, so that it vectorizes like everything else and links no libm.
//!
//! Every polynomial is a minimax fit of our own (least squares reweighted by Lawson's rule over Chebyshev nodes in
//! 40-digit arithmetic, coefficients rounded to `f32` one after the other); the comment at each says its error
//! relative to the function, in ULP of `f32`. The errors of the whole functions are in `docs/numerics.md`, measured.
//!
//! Half floats are computed in `f32`. `f64` has no expansion; asking for one is an error.

use std::f32::consts::{LN_2, LOG2_E, PI};

use ir::{DType, Scalar};
use loops::{Binary, Compare, Expr, Reg, Type, Unary};
use targets::Target;

/// A function that cannot be expanded for an element type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    pub function: String,
    pub dtype: DType,
}

impl std::fmt::Display for Unsupported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} is not supported; f32, f16 and bf16 are", self.function, self.dtype)
    }
}

impl std::error::Error for Unsupported {}

/// Puts a value of the given type into a register and gives the register.
pub type Bind<'a> = &'a mut dyn FnMut(Type, Expr) -> Expr;

/// Whether `op` is one instruction (or two) on every machine with floats, and no polynomial.
pub fn is_instruction(op: Unary) -> bool {
    matches!(
        op,
        Unary::Neg | Unary::Abs | Unary::Not | Unary::Sqrt | Unary::Sign | Unary::IsNan | Unary::IsInf
    )
}

/// `op(x)` for an `x` of type `ty`, in operations that `target` has. What is a single instruction stays as it is.
pub fn expand(op: Unary, x: Expr, ty: Type, target: &Target, bind: Bind) -> Result<Expr, Unsupported> {
    let unsupported = || Unsupported { function: name(op), dtype: ty.dtype };
    let mut math =
        Math { ty, fma: target.float.fma, round: target.float.round, float_bits: target.float.bits, bind };
    match (op, ty.dtype) {
        (Unary::Neg | Unary::Abs | Unary::Not, _) => Ok(Expr::unary(op, x)),
        (Unary::Sqrt, _) if math.has_root() => Ok(Expr::unary(op, x)),
        (Unary::Sign, _) => Ok(math.sign(x)),
        (Unary::IsNan | Unary::IsInf, d) if !d.is_float() => Ok(math.constant(Scalar::bool(false))),
        (Unary::IsNan, _) => Ok(math.is_nan(x)),
        (Unary::IsInf, _) => Ok(math.is_inf(x)),
        (Unary::Floor | Unary::Ceil | Unary::Round | Unary::Trunc, d) if !d.is_float() => Ok(x),
        (Unary::Floor | Unary::Ceil | Unary::Round | Unary::Trunc, DType::F32) if math.round => {
            Ok(Expr::unary(op, x))
        }
        (Unary::Floor | Unary::Ceil | Unary::Round | Unary::Trunc, DType::F64)
            if math.round && target.float.bits >= 64 =>
        {
            Ok(Expr::unary(op, x))
        }
        (_, DType::F32) => math.unary(op, x).ok_or_else(unsupported),
        (_, DType::F16 | DType::BF16) => {
            math.ty.dtype = DType::F32;
            let value = math.unary(op, x.cast(DType::F32)).ok_or_else(unsupported)?;
            Ok(value.cast(ty.dtype))
        }
        _ => Err(unsupported()),
    }
}

/// `op(a, b)` for operands of type `ty`: `Pow`, `Mod` and `Rem` are expanded, everything else stays as it is.
pub fn expand_binary(
    op: Binary,
    a: Expr,
    b: Expr,
    ty: Type,
    target: &Target,
    bind: Bind,
) -> Result<Expr, Unsupported> {
    let mut math =
        Math { ty, fma: target.float.fma, round: target.float.round, float_bits: target.float.bits, bind };
    if !matches!(op, Binary::Pow | Binary::Mod | Binary::Rem) {
        return Ok(Expr::binary(op, a, b));
    }
    if op == Binary::Pow
        && let Some(exponent) = constant_of(&b)
        && let Some(power) = math.small_power(&a, exponent)
    {
        return Ok(power);
    }
    match ty.dtype {
        DType::F32 => Ok(math.binary(op, a, b)),
        DType::F16 | DType::BF16 => {
            math.ty.dtype = DType::F32;
            Ok(math.binary(op, a.cast(DType::F32), b.cast(DType::F32)).cast(ty.dtype))
        }
        d if d.is_int() && op == Binary::Rem => Ok(Expr::binary(op, a, b)),
        d if d.is_int() && op == Binary::Mod => Ok(math.int_mod(a, b)),
        dtype => Err(Unsupported { function: format!("{op:?}").to_lowercase(), dtype }),
    }
}

/// Operations that `op` of a float takes on `target`: those that it is expanded into.
pub fn operations(op: Unary, target: &Target) -> usize {
    counted(|ty, x, bind| expand(op, x, ty, target, bind))
}

/// As [`operations`], of a power; a constant exponent may make it a product.
pub fn power_operations(exponent: &Expr, target: &Target) -> usize {
    let exponent = constant_of(exponent).map(|_| exponent.clone());
    counted(|ty, x, bind| expand_binary(Binary::Pow, x.clone(), exponent.unwrap_or(x), ty, target, bind))
}

fn counted(expand: impl FnOnce(Type, Expr, Bind) -> Result<Expr, Unsupported>) -> usize {
    let mut count = 0;
    let mut add = |value: &Expr| {
        value.any(&mut |node| {
            count += usize::from(is_operation(node));
            false
        });
    };
    let value = expand(Type { dtype: DType::F32, lanes: 1 }, Expr::Reg(Reg(0)), &mut |_, value| {
        add(&value);
        Expr::Reg(Reg(0))
    });
    value.iter().for_each(&mut add);
    count
}

fn is_operation(node: &Expr) -> bool {
    matches!(
        node,
        Expr::Unary(..)
            | Expr::Binary(..)
            | Expr::Compare(..)
            | Expr::MulAdd(..)
            | Expr::Select { .. }
            | Expr::Cast(..)
    )
}

fn name(op: Unary) -> String {
    format!("{op:?}").to_lowercase()
}

/// The value that all lanes of `expr` have, if it is a constant.
fn constant_of(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Const(scalar) => Some(scalar.as_f64()),
        Expr::Broadcast { value, .. } | Expr::Cast(_, value) => constant_of(value),
        _ => None,
    }
}

/// e^r for |r| ≤ ln 2: 0.24 ULP.
const EXP: [f32; 8] =
    [1.0, 1.0, 0.50000036, 0.16666616, 0.041661195, 0.008335964, 0.0014105557, 0.00019631025];
/// (e^r − 1 − r) / r² for |r| ≤ ln 2 / 2: 0.06 ULP of e^r.
const EXP_LESS_ONE: [f32; 5] = [0.49999994, 0.16666515, 0.04166823, 0.008369384, 0.0013825445];
/// (log(1+f) − f + f²/2) / f³ for √½ ≤ 1+f ≤ √2: 0.1 ULP.
const LOG: [f32; 8] =
    [0.3333333, -0.2500082, 0.20001246, -0.16623415, 0.14201461, -0.13159412, 0.12763, -0.076379724];
/// (sin r − r) / r³ in r² for |r| ≤ 0.79: 0.07 ULP.
const SIN: [f32; 3] = [-0.16666654, 0.008332114, -0.00019509417];
/// (cos r − 1 + r²/2) / r⁴ in r² for |r| ≤ 0.79: 0.002 ULP.
const COS: [f32; 3] = [0.041666646, -0.0013887304, 2.44312e-5];
/// (asin x − x) / x³ in x² for |x| ≤ ½: 0.08 ULP.
const ASIN: [f32; 5] = [0.16666752, 0.0749531, 0.045469023, 0.024185466, 0.042157102];
/// (atan x − x) / x³ in x² for |x| ≤ tan π/8: 0.01 ULP.
const ATAN: [f32; 5] = [-0.33333316, 0.1999853, -0.14244425, 0.10599417, -0.060906272];
/// (sinh x − x) / x³ in x² for |x| ≤ 1: 0.006 ULP.
const SINH: [f32; 4] = [0.16666667, 0.008333315, 0.00019841664, 2.7899996e-6];
/// (asinh x − x) / x³ in x² for |x| ≤ ½: 0.001 ULP.
const ASINH: [f32; 6] = [-0.16666666, 0.07499907, -0.044616096, 0.03003357, -0.020049587, 0.009256639];
/// (atanh x − x) / x³ in x² for |x| ≤ ½: 0.02 ULP.
const ATANH: [f32; 6] = [0.33333302, 0.2000245, 0.14223863, 0.11815675, 0.051632006, 0.17633967];
/// (acosh(1+t) / √(2t) − 1) / t for 0 ≤ t ≤ ½: 0.02 ULP.
const ACOSH: [f32; 5] = [-0.08333322, 0.018746609, -0.0055479473, 0.0017603098, -0.00041346977];
/// erf x / x − 1 in x² for |x| ≤ 1: 0.03 ULP.
const ERF: [f32; 7] =
    [0.12837917, -0.37612626, 0.11283583, -0.026853692, 0.005188074, -0.0008007878, 7.846108e-5];
/// erf x in x − [`ERF_CENTRE`] for 1 ≤ x ≤ [`ERF_ONE`]: 0.58 ULP.
const ERF_LARGE: [f32; 13] = [
    0.9985373,
    0.007142522,
    -0.016070371,
    0.021720547,
    -0.019082403,
    0.010677392,
    -0.002910353,
    -0.00071062846,
    0.0010164898,
    -0.0003306071,
    -3.360254e-5,
    4.854147e-5,
    -9.1480415e-6,
];
const ERF_CENTRE: f32 = 2.25;
/// From here on the polynomial gives 1, as erf does.
const ERF_ONE: f32 = 3.875;
/// (atanh s − s) / s³ in s² for |s| ≤ (√2 − 1) / (√2 + 1): 0.014 ULP.
const ATANH_SMALL: [f32; 3] = [0.33333388, 0.19988784, 0.14935756];

/// ln 2 in two parts; the first has 15 bits, so that its product with an exponent is exact.
const LN_2_HIGH: f32 = 0.693_145_75;
const LN_2_LOW: f32 = 1.428_606_8e-6;

/// π/2 as a sum for Cody and Waite's reduction. With a fused multiply-add full-width parts do; without one the
/// parts have 8 bits, so that their products with a quadrant number below 2¹⁶ are exact.
struct HalfPi {
    /// Subtracting these multiples rounds nothing.
    exact: &'static [f32],
    /// What these round off is carried along.
    carried: &'static [f32],
    last: f32,
}
const HALF_PI_FUSED: HalfPi =
    HalfPi { exact: &[1.570_796_4], carried: &[-4.371_139e-8], last: -1.715_124_5e-15 };
const HALF_PI_UNFUSED: HalfPi = HalfPi {
    exact: &[1.570_312_5, 0.000_482_559_2],
    carried: &[1.266_598_7e-6, 9.895_302e-10, 2.557_953_8e-12],
    last: 5.390_303e-15,
};

/// Reduced angles stay below: π/4, and what rounding the quadrant of 10⁵ adds.
const REDUCED: f32 = 0.79;

/// Adding it rounds a small float to an integer, which then stands in the low bits.
const MAGIC: f32 = 12_582_912.0; // 1.5 · 2²³
/// Of an exponent in the bits of a float.
const BIAS: f32 = 127.0;
const SIGN_BIT: i32 = i32::MIN;
const MANTISSA: i32 = 0x007f_ffff;
/// The bits of √½.
const SQRT_HALF: i32 = 0x3f35_04f3;
/// From here on every `f32` is an integer.
const INTEGRAL: f32 = 8_388_608.0; // 2²³

/// Expression building for one function: the lanes, what the hardware has, and where registers come from.
struct Math<'a> {
    ty: Type,
    fma: bool,
    round: bool,
    float_bits: u32,
    bind: Bind<'a>,
}

impl Math<'_> {
    fn constant(&self, scalar: Scalar) -> Expr {
        match self.ty.lanes {
            1 => Expr::Const(scalar),
            lanes => Expr::Broadcast { value: Box::new(Expr::Const(scalar)), lanes },
        }
    }

    fn float(&self, value: f32) -> Expr {
        self.constant(Scalar::f32(value))
    }

    fn int(&self, value: i32) -> Expr {
        self.constant(Scalar::from_i64(DType::I32, i64::from(value)))
    }

    /// `value` in a register of the function's own type.
    fn keep(&mut self, value: Expr) -> Expr {
        (self.bind)(self.ty, value)
    }

    fn keep_as(&mut self, dtype: DType, value: Expr) -> Expr {
        (self.bind)(Type { dtype, lanes: self.ty.lanes }, value)
    }

    fn mul_add(&self, a: Expr, b: Expr, c: Expr) -> Expr {
        match self.fma {
            true => Expr::MulAdd(Box::new(a), Box::new(b), Box::new(c)),
            false => a * b + c,
        }
    }

    /// Horner's scheme, the constant coefficient first.
    fn polynomial(&self, x: &Expr, coefficients: &[f32]) -> Expr {
        let mut rest = coefficients.iter().rev().map(|&c| self.float(c));
        let highest = rest.next().unwrap_or_else(|| self.float(0.0));
        rest.fold(highest, |sum, c| self.mul_add(sum, x.clone(), c))
    }

    /// `x + x³ · polynomial(x²)`; the sign of a zero may be lost.
    fn odd(&mut self, x: &Expr, coefficients: &[f32]) -> Expr {
        let square = self.keep(x.clone() * x.clone());
        let cubic = x.clone() * square.clone();
        let p = self.polynomial(&square, coefficients);
        let value = self.mul_add(cubic, p, x.clone());
        self.keep(value)
    }

    fn less(&self, a: Expr, b: Expr) -> Expr {
        Expr::compare(Compare::Lt, a, b)
    }

    fn less_than(&self, a: &Expr, b: f32) -> Expr {
        self.less(a.clone(), self.float(b))
    }

    fn equals(&self, a: &Expr, b: f32) -> Expr {
        Expr::compare(Compare::Eq, a.clone(), self.float(b))
    }

    fn is_nan(&mut self, x: Expr) -> Expr {
        let x = self.keep(x);
        Expr::compare(Compare::Ne, x.clone(), x)
    }

    fn is_inf(&self, x: Expr) -> Expr {
        let infinity = self.constant(Scalar::from_f64(self.ty.dtype, f64::INFINITY));
        Expr::compare(Compare::Eq, Expr::unary(Unary::Abs, x), infinity)
    }

    /// NaN and zeros stay what they are.
    fn sign(&mut self, x: Expr) -> Expr {
        let dtype = self.ty.dtype;
        let constant = |math: &Self, value| math.constant(Scalar::from_f64(dtype, value));
        let x = self.keep(x);
        let positive = Expr::compare(Compare::Gt, x.clone(), constant(self, 0.0));
        if dtype.is_unsigned_int() || dtype == DType::Bool {
            return Expr::select(positive, constant(self, 1.0), constant(self, 0.0));
        }
        let negative = self.less(x.clone(), constant(self, 0.0));
        Expr::select(positive, constant(self, 1.0), Expr::select(negative, constant(self, -1.0), x))
    }

    fn abs(&mut self, x: &Expr) -> Expr {
        self.keep(Expr::unary(Unary::Abs, x.clone()))
    }

    fn as_int(&self, x: Expr) -> Expr {
        Expr::Bits(DType::I32, Box::new(x))
    }

    fn as_float(&self, bits: Expr) -> Expr {
        Expr::Bits(DType::F32, Box::new(bits))
    }

    /// `magnitude`, which is not negative, with the sign of `x`.
    fn with_sign(&self, magnitude: Expr, x: &Expr) -> Expr {
        let sign = self.as_int(x.clone()).and(self.int(SIGN_BIT));
        self.as_float(Expr::binary(Binary::Or, self.as_int(magnitude), sign))
    }

    fn shift(&self, op: Binary, value: Expr, by: i32) -> Expr {
        Expr::binary(op, value, self.int(by))
    }

    /// Whether the square root is an instruction. That of half floats is none of ours: they are computed in `f32`.
    fn has_root(&self) -> bool {
        !matches!(self.ty.dtype, DType::F32 | DType::F64) || self.ty.dtype.bits() <= self.float_bits
    }

    /// `√x`; without an instruction by Newton's iteration, within 1 ULP.
    fn root(&mut self, x: Expr) -> Expr {
        if self.has_root() {
            return Expr::unary(Unary::Sqrt, x);
        }
        let x = self.keep(x);
        // Subnormals are brought among the normal numbers first.
        let tiny = self.less_than(&x, f32::MIN_POSITIVE);
        let tiny = self.keep_as(DType::Bool, tiny);
        let normal = x.clone() * Expr::select(tiny.clone(), self.float(16_777_216.0), self.float(1.0)); // 2²⁴
        let normal = self.keep(normal);
        // Half the bits is half the exponent: within 4 % of the root, which three steps bring to 10⁻¹³ and rounding.
        let half = self.shift(Binary::ShiftRight, self.as_int(normal.clone()), 1);
        let mut root = self.keep(self.as_float(half + self.int(0x1fbd_1df5)));
        for _ in 0..3 {
            root = self.keep((root.clone() + normal.clone() / root) * self.float(0.5));
        }
        let root = root * Expr::select(tiny, self.float(1.0 / 4096.0), self.float(1.0));
        let finite = Expr::select(self.less_than(&x, f32::INFINITY), root, x.clone());
        let rest = Expr::select(self.equals(&x, 0.0), x.clone(), self.float(f32::NAN));
        Expr::select(self.less(self.float(0.0), x), finite, rest)
    }

    fn unary(&mut self, op: Unary, x: Expr) -> Option<Expr> {
        let x = self.keep(x);
        Some(match op {
            Unary::Sqrt => self.root(x),
            Unary::Floor => self.floor(&x),
            Unary::Ceil => self.ceil(&x),
            Unary::Round => self.round(&x),
            Unary::Trunc => self.trunc(&x),
            Unary::Exp => self.exp(&x, None, 1.0),
            Unary::Log => self.log(&x),
            Unary::Sin => self.sin_or_cos(&x, 0),
            Unary::Cos => self.sin_or_cos(&x, 1),
            Unary::Tan => self.tan(&x),
            Unary::Asin => self.asin(&x),
            Unary::Acos => self.acos(&x),
            Unary::Atan => self.atan(&x),
            Unary::Sinh => self.sinh(&x),
            Unary::Cosh => self.cosh(&x),
            Unary::Tanh => self.tanh(&x),
            Unary::Asinh => self.asinh(&x),
            Unary::Acosh => self.acosh(&x),
            Unary::Atanh => self.atanh(&x),
            Unary::Erf => self.erf(&x),
            _ => return None,
        })
    }

    fn binary(&mut self, op: Binary, a: Expr, b: Expr) -> Expr {
        let (a, b) = (self.keep(a), self.keep(b));
        match op {
            Binary::Pow => self.pow(&a, &b),
            Binary::Mod => self.float_mod(&a, &b),
            _ => self.float_rem(&a, &b),
        }
    }

    // Rounding. Where there is an instruction it is used; else 2²³ is added to and subtracted from the magnitude.

    fn round(&mut self, x: &Expr) -> Expr {
        if self.round {
            return Expr::unary(Unary::Round, x.clone());
        }
        let magnitude = self.abs(x);
        let nearest = (magnitude.clone() + self.float(INTEGRAL)) - self.float(INTEGRAL);
        let small = self.less_than(&magnitude, INTEGRAL);
        Expr::select(small, self.with_sign(nearest, x), x.clone())
    }

    fn trunc(&mut self, x: &Expr) -> Expr {
        if self.round {
            return Expr::unary(Unary::Trunc, x.clone());
        }
        let magnitude = self.abs(x);
        let nearest = self.keep((magnitude.clone() + self.float(INTEGRAL)) - self.float(INTEGRAL));
        let over = self.less(magnitude.clone(), nearest.clone());
        let below = Expr::select(over, nearest.clone() - self.float(1.0), nearest);
        let small = self.less_than(&magnitude, INTEGRAL);
        Expr::select(small, self.with_sign(below, x), x.clone())
    }

    fn floor(&mut self, x: &Expr) -> Expr {
        if self.round {
            return Expr::unary(Unary::Floor, x.clone());
        }
        let trunc = self.trunc(x);
        let trunc = self.keep(trunc);
        Expr::select(self.less(x.clone(), trunc.clone()), trunc.clone() - self.float(1.0), trunc)
    }

    fn ceil(&mut self, x: &Expr) -> Expr {
        if self.round {
            return Expr::unary(Unary::Ceil, x.clone());
        }
        let trunc = self.trunc(x);
        let trunc = self.keep(trunc);
        // Between −1 and 0 the truncation is −0, and so is the ceiling.
        Expr::select(self.less(trunc.clone(), x.clone()), trunc.clone() + self.float(1.0), trunc)
    }

    // Exponentials.

    /// `(r, 2^k)` with `x = r + k · period · ln 2` and `|r|` at most half of that period, for `|k|` below [`BIAS`].
    fn reduce_exponent(&mut self, x: &Expr, period: f32) -> (Expr, Expr) {
        // The nearest integer and the bias stand in the low bits, and the shift leaves nothing but these.
        let magic = MAGIC + BIAS;
        let shifted = self.mul_add(x.clone(), self.float(LOG2_E / period), self.float(magic));
        let shifted = self.keep(shifted);
        let k = self.keep(shifted.clone() - self.float(magic));
        let r = self.mul_add(k.clone(), self.float(-LN_2_HIGH * period), x.clone());
        let r = self.keep(r);
        let r = self.mul_add(k, self.float(-LN_2_LOW * period), r);
        let power = self.as_float(self.shift(Binary::ShiftLeft, self.as_int(shifted), 23));
        (self.keep(r), self.keep(power))
    }

    /// `e^(x + tail) · factor`, the factor a power of two near 1; overflows to infinity and underflows gradually.
    fn exp(&mut self, x: &Expr, tail: Option<Expr>, factor: f32) -> Expr {
        // Constants first: `min` and `max` then pass a NaN on.
        let x = self.keep(self.float(-105.0).max(self.float(90.0).min(x.clone())));
        // The power of two may be too large or too small for a float; its root is not.
        let (mut r, root) = self.reduce_exponent(&x, 2.0);
        if let Some(tail) = tail {
            r = self.keep(r + tail);
        }
        let mut value = self.polynomial(&r, &EXP);
        if factor != 1.0 {
            value = value * self.float(factor);
        }
        self.keep(value * root.clone() * root)
    }

    fn sinh(&mut self, x: &Expr) -> Expr {
        let magnitude = self.abs(x);
        let small = self.odd(&magnitude, &SINH);
        let half = self.exp(&magnitude, None, 0.5);
        let large = half.clone() - self.float(0.25) / half;
        let value = Expr::select(self.less_than(&magnitude, 1.0), small, large);
        self.with_sign(value, x)
    }

    fn cosh(&mut self, x: &Expr) -> Expr {
        let magnitude = self.abs(x);
        let half = self.exp(&magnitude, None, 0.5);
        half.clone() + self.float(0.25) / half
    }

    /// `(e^2x − 1) / (e^2x − 1 + 2)`, the numerator without the cancellation.
    fn tanh(&mut self, x: &Expr) -> Expr {
        // Beyond, the quotient is 1.
        let magnitude = self.abs(x);
        let magnitude = self.float(10.0).min(magnitude);
        let twice = self.keep(magnitude.clone() + magnitude);
        let (r, power) = self.reduce_exponent(&twice, 1.0);
        let p = self.polynomial(&r, &EXP_LESS_ONE);
        let less_one = self.mul_add(r.clone() * r.clone(), p, r);
        let less_one = self.mul_add(less_one, power.clone(), power - self.float(1.0));
        let less_one = self.keep(less_one);
        let value = less_one.clone() / (less_one + self.float(2.0));
        self.with_sign(value, x)
    }

    fn erf(&mut self, x: &Expr) -> Expr {
        let magnitude = self.abs(x);
        let square = self.keep(x.clone() * x.clone());
        let p = self.polynomial(&square, &ERF);
        let small = self.mul_add(magnitude.clone(), p, magnitude.clone());
        let centred = self.float(ERF_ONE).min(magnitude.clone()) - self.float(ERF_CENTRE);
        let centred = self.keep(centred);
        let large = self.polynomial(&centred, &ERF_LARGE);
        let value = Expr::select(self.less_than(&magnitude, 1.0), small, large);
        self.with_sign(value, x)
    }

    // Logarithms.

    /// `(e, f)` with `x = 2^e · (1 + f)` and `√½ ≤ 1 + f < √2`, for finite positive `x`.
    fn exponent_and_fraction(&mut self, x: &Expr) -> (Expr, Expr) {
        let subnormal = self.keep_as(DType::Bool, self.less_than(x, f32::MIN_POSITIVE));
        let normal = Expr::select(subnormal.clone(), x.clone() * self.float(INTEGRAL), x.clone());
        let bits = self.as_int(normal) - self.int(SQRT_HALF);
        let bits = self.keep_as(DType::I32, bits);
        let exponent = self.shift(Binary::ShiftRight, bits.clone(), 23).cast(DType::F32);
        let exponent = exponent - Expr::select(subnormal, self.float(23.0), self.float(0.0));
        let fraction = bits.and(self.int(MANTISSA)) + self.int(SQRT_HALF);
        let fraction = self.as_float(fraction) - self.float(1.0);
        (self.keep(exponent), self.keep(fraction))
    }

    /// The logarithm of a finite positive `x`.
    fn log_positive(&mut self, x: &Expr) -> Expr {
        let (e, f) = self.exponent_and_fraction(x);
        let square = self.keep(f.clone() * f.clone());
        let p = self.polynomial(&f, &LOG);
        let y = f.clone() * square.clone() * p;
        let y = self.mul_add(e.clone(), self.float(LN_2_LOW), y);
        let y = self.mul_add(square, self.float(-0.5), y);
        let value = self.mul_add(e, self.float(LN_2_HIGH), f + y);
        self.keep(value)
    }

    fn log(&mut self, x: &Expr) -> Expr {
        let value = self.log_positive(x);
        let at_most_zero =
            Expr::select(self.equals(x, 0.0), self.float(f32::NEG_INFINITY), self.float(f32::NAN));
        let positive = self.less(self.float(0.0), x.clone());
        let finite = Expr::select(positive, value, at_most_zero);
        // Infinity and NaN are their own logarithms.
        Expr::select(self.less_than(x, f32::INFINITY), finite, x.clone())
    }

    /// `log(x + √(x² + c))` for `x ≥ ½`, without overflow.
    fn log_of_sum(&mut self, x: &Expr, c: f32) -> Expr {
        // From 2³⁰ on the root is x itself.
        let large =
            self.keep_as(DType::Bool, Expr::compare(Compare::Gt, x.clone(), self.float(1.073_741_8e9)));
        let square = self.mul_add(x.clone(), x.clone(), self.float(c));
        let sum = x.clone() + self.root(square);
        let argument = self.keep(Expr::select(large.clone(), x.clone(), sum));
        let log = self.log_positive(&argument);
        let log = self.keep(log + Expr::select(large, self.float(LN_2), self.float(0.0)));
        Expr::select(self.less_than(x, f32::INFINITY), log, x.clone())
    }

    fn asinh(&mut self, x: &Expr) -> Expr {
        let magnitude = self.abs(x);
        let small = self.odd(&magnitude, &ASINH);
        let large = self.log_of_sum(&magnitude, 1.0);
        let value = Expr::select(self.less_than(&magnitude, 0.5), small, large);
        self.with_sign(value, x)
    }

    fn acosh(&mut self, x: &Expr) -> Expr {
        let t = self.keep(x.clone() - self.float(1.0));
        // The root of a negative number is NaN, as it should be below 1.
        let root = self.root(t.clone() + t.clone());
        let root = self.keep(root);
        let p = self.polynomial(&t, &ACOSH);
        let small = self.mul_add(root.clone() * t.clone(), p, root);
        let large = self.log_of_sum(x, -1.0);
        Expr::select(self.less_than(&t, 0.5), small, large)
    }

    fn atanh(&mut self, x: &Expr) -> Expr {
        let magnitude = self.abs(x);
        let small = self.odd(&magnitude, &ATANH);
        let ratio = (self.float(1.0) + magnitude.clone()) / (self.float(1.0) - magnitude.clone());
        let ratio = self.keep(ratio);
        let log = self.log(&ratio);
        let large = self.float(0.5) * log;
        let value = Expr::select(self.less_than(&magnitude, 0.5), small, large);
        self.with_sign(value, x)
    }

    // Circular functions.

    /// `(r, quadrant)` with `x = r + quadrant · π/2` and `|r|` about π/4 at most; the quadrant stands in the low bits of an `I32`.
    ///
    /// Exact to the last bit of `r` or nearly so for `|x| ≤ 10⁵`. Beyond, the phase is lost little by little; `r` stays
    /// in its range.
    fn reduce_angle(&mut self, x: &Expr) -> (Expr, Expr) {
        let shifted = self.mul_add(x.clone(), self.float(2.0 / PI), self.float(MAGIC));
        let shifted = self.keep(shifted);
        let n = self.keep(self.float(MAGIC) - shifted.clone()); // negated
        let parts = if self.fma { HALF_PI_FUSED } else { HALF_PI_UNFUSED };
        let mut r = x.clone();
        for &part in parts.exact {
            r = self.mul_add(n.clone(), self.float(part), r);
            r = self.keep(r);
        }
        let mut low = self.float(0.0);
        for &part in parts.carried {
            let product = self.keep(n.clone() * self.float(part));
            let next = self.keep(r.clone() + product.clone());
            low = low + ((r - next.clone()) + product.clone());
            if self.fma {
                let negated = Expr::unary(Unary::Neg, product);
                low = low + self.mul_add(n.clone(), self.float(part), negated);
            }
            low = self.keep(low);
            r = self.keep(next.clone() + low.clone());
            low = self.keep(low - (r.clone() - next));
        }
        let r = r + self.mul_add(n, self.float(parts.last), low);
        // Constants first, so that a NaN passes.
        let r = self.float(-REDUCED).max(self.float(REDUCED).min(r));
        let quadrant = self.as_int(shifted);
        (self.keep(r), self.keep_as(DType::I32, quadrant))
    }

    fn sin_polynomial(&mut self, r: &Expr) -> Expr {
        self.odd(r, &SIN)
    }

    fn cos_polynomial(&mut self, r: &Expr) -> Expr {
        let square = self.keep(r.clone() * r.clone());
        let half = self.keep(square.clone() * self.float(0.5));
        let head = self.keep(self.float(1.0) - half.clone());
        // What 1 − r²/2 rounded off is added back.
        let lost = (self.float(1.0) - head.clone()) - half;
        let p = self.polynomial(&square, &COS);
        let value = head + self.mul_add(square.clone() * square, p, lost);
        self.keep(value)
    }

    /// The sine of `x + quadrants · π/2`.
    fn sin_or_cos(&mut self, x: &Expr, quadrants: i32) -> Expr {
        let (r, quadrant) = self.reduce_angle(x);
        let quadrant = match quadrants {
            0 => quadrant,
            more => self.keep_as(DType::I32, quadrant + self.int(more)),
        };
        let (sin, cos) = (self.sin_polynomial(&r), self.cos_polynomial(&r));
        let even = Expr::compare(Compare::Eq, quadrant.clone().and(self.int(1)), self.int(0));
        let value = self.keep(Expr::select(even, sin, cos));
        let sign = self.shift(Binary::ShiftLeft, quadrant.and(self.int(2)), 30);
        let value = self.as_float(Expr::binary(Binary::Xor, self.as_int(value), sign));
        match quadrants {
            0 => Expr::select(self.equals(x, 0.0), x.clone(), value),
            _ => value,
        }
    }

    fn tan(&mut self, x: &Expr) -> Expr {
        let (r, quadrant) = self.reduce_angle(x);
        let (sin, cos) = (self.sin_polynomial(&r), self.cos_polynomial(&r));
        let even = Expr::compare(Compare::Eq, quadrant.and(self.int(1)), self.int(0));
        let even = self.keep_as(DType::Bool, even);
        let above = Expr::select(even.clone(), sin.clone(), Expr::unary(Unary::Neg, cos.clone()));
        let tan = above / Expr::select(even, cos, sin);
        Expr::select(self.equals(x, 0.0), x.clone(), tan)
    }

    /// `asin` of `√((1 − m) / 2)` where the magnitude `m > ½`, of `m` elsewhere; which of them as a `Bool`.
    fn asin_reduced(&mut self, x: &Expr) -> (Expr, Expr) {
        let magnitude = self.abs(x);
        let large = self.less(self.float(0.5), magnitude.clone());
        let large = self.keep_as(DType::Bool, large);
        let root = self.root((self.float(1.0) - magnitude.clone()) * self.float(0.5));
        let reduced = self.keep(Expr::select(large.clone(), root, magnitude));
        (self.odd(&reduced, &ASIN), large)
    }

    fn asin(&mut self, x: &Expr) -> Expr {
        let (asin, large) = self.asin_reduced(x);
        let mirrored = self.float(PI / 2.0) - (asin.clone() + asin.clone());
        let value = Expr::select(large, mirrored, asin);
        self.with_sign(value, x)
    }

    fn acos(&mut self, x: &Expr) -> Expr {
        let (asin, large) = self.asin_reduced(x);
        let twice = self.keep(asin.clone() + asin.clone());
        let negative = self.keep_as(DType::Bool, self.less_than(x, 0.0));
        let far = Expr::select(negative, self.float(PI) - twice.clone(), twice);
        Expr::select(large, far, self.float(PI / 2.0) - self.with_sign(asin, x))
    }

    fn atan(&mut self, x: &Expr) -> Expr {
        const TAN_1: f32 = 0.414_213_57; // tan π/8
        const TAN_3: f32 = 2.414_213_7; // tan 3π/8
        let a = self.abs(x);
        let (middle, far) =
            (self.less(self.float(TAN_1), a.clone()), self.less(self.float(TAN_3), a.clone()));
        let (middle, far) = (self.keep_as(DType::Bool, middle), self.keep_as(DType::Bool, far));
        let pick = |near: Expr, between: Expr, beyond: Expr| {
            Expr::select(far.clone(), beyond, Expr::select(middle.clone(), between, near))
        };
        let above = pick(a.clone(), a.clone() - self.float(1.0), self.float(-1.0));
        let below = pick(self.float(1.0), a.clone() + self.float(1.0), a.clone());
        let base = pick(self.float(0.0), self.float(PI / 4.0), self.float(PI / 2.0));
        let reduced = self.keep(above / below);
        let atan = self.odd(&reduced, &ATAN);
        self.with_sign(base + atan, x)
    }

    // Powers and remainders.

    /// Powers that are a multiplication, a division or a root. For all numeric types.
    fn small_power(&mut self, a: &Expr, exponent: f64) -> Option<Expr> {
        let dtype = self.ty.dtype;
        let constant = |math: &Self, value| math.constant(Scalar::from_f64(dtype, value));
        if exponent == 0.0 {
            return Some(constant(self, 1.0));
        }
        if exponent == 1.0 {
            return Some(a.clone());
        }
        if exponent == 2.0 || exponent == 3.0 {
            let a = self.keep(a.clone());
            let square = a.clone() * a.clone();
            return Some(if exponent == 2.0 { square } else { square * a });
        }
        if exponent == -1.0 && dtype.is_float() {
            return Some(constant(self, 1.0) / a.clone());
        }
        if exponent == 0.5 && dtype.is_float() && (dtype == DType::F32 || self.has_root()) {
            let a = self.keep(a.clone());
            let lowest = Expr::compare(Compare::Eq, a.clone(), constant(self, f64::NEG_INFINITY));
            // pow(−0, ½) is +0, pow(−∞, ½) is +∞; the root would be −0 and NaN.
            let root = self.root(a + constant(self, 0.0));
            return Some(Expr::select(lowest, constant(self, f64::INFINITY), root));
        }
        None
    }

    /// `(p, e)` with `p = a · b` rounded and `p + e = a · b` exactly.
    fn two_product(&mut self, a: &Expr, b: &Expr) -> (Expr, Expr) {
        let product = self.keep(a.clone() * b.clone());
        let error = if self.fma {
            self.mul_add(a.clone(), b.clone(), Expr::unary(Unary::Neg, product.clone()))
        } else {
            // Veltkamp and Dekker, the splitting by bits.
            let (a, b) = (self.halves(a), self.halves(b));
            let high = a.0.clone() * b.0.clone() - product.clone();
            high + a.0 * b.1.clone() + a.1.clone() * b.0 + a.1 * b.1
        };
        (product, self.keep(error))
    }

    /// `x` as a sum of two floats of 12 bits.
    fn halves(&mut self, x: &Expr) -> (Expr, Expr) {
        let high = self.as_float(self.as_int(x.clone()).and(self.int(!0xfff)));
        let high = self.keep(high);
        let low = self.keep(x.clone() - high.clone());
        (high, low)
    }

    /// `a^b = e^(b · log |a|)` with the logarithm as a sum of two floats, then the special cases of IEEE 754.
    fn pow(&mut self, a: &Expr, b: &Expr) -> Expr {
        let base = self.abs(a);
        let (high, low) = self.log_in_two(&base);
        let (product, error) = self.two_product(b, &high);
        let tail = self.mul_add(b.clone(), low, error);
        // Beyond the range of the exponential the tail says nothing, and may be ∞ − ∞.
        let magnitude = self.abs(&product);
        let tail = self.keep(Expr::select(self.less_than(&magnitude, 120.0), tail, self.float(0.0)));
        let power = self.exp(&product, Some(tail), 1.0);

        let zero = self.equals(&base, 0.0);
        let zero = self.keep_as(DType::Bool, zero);
        let extreme = Expr::select(zero.clone(), self.float(f32::INFINITY), self.float(0.0));
        let other = Expr::select(zero.clone(), self.float(0.0), self.float(f32::INFINITY));
        let extreme = Expr::select(self.less_than(b, 0.0), extreme, other);
        let infinite = self.equals(&base, f32::INFINITY);
        let power = Expr::select(Expr::binary(Binary::Or, zero.clone(), infinite), extreme, power);
        let power = self.keep(Expr::select(self.equals(&base, 1.0), self.float(1.0), power));

        let trunc = self.trunc(b);
        let integral = self.keep_as(DType::Bool, Expr::compare(Compare::Eq, trunc, b.clone()));
        let half = self.keep(b.clone() * self.float(0.5));
        let trunc = self.trunc(&half);
        let odd = integral.clone().and(Expr::compare(Compare::Ne, trunc, half));
        let signed = self.keep(Expr::select(odd, self.with_sign(power.clone(), a), power.clone()));
        // A negative base has only integral powers; −0 and −∞ have them all.
        let no_power = self.less_than(a, 0.0).and(Expr::unary(Unary::Not, integral));
        let no_power = no_power.and(self.less_than(&base, f32::INFINITY));
        let value = self.keep(Expr::select(no_power, self.float(f32::NAN), signed));
        let nan = Expr::binary(
            Binary::Or,
            Expr::compare(Compare::Ne, a.clone(), a.clone()),
            Expr::compare(Compare::Ne, b.clone(), b.clone()),
        );
        let value = Expr::select(nan, a.clone() + b.clone(), value);
        let one = Expr::binary(Binary::Or, self.equals(a, 1.0), self.equals(b, 0.0));
        Expr::select(one, self.float(1.0), value)
    }

    /// The logarithm of a finite positive `x` as `high + low`, to about 2⁻³¹ of itself.
    ///
    /// `log(1 + f) = 2 atanh s` with `s = f / (2 + f)`, the quotient's remainder kept.
    fn log_in_two(&mut self, x: &Expr) -> (Expr, Expr) {
        let (e, f) = self.exponent_and_fraction(x);
        let divisor = self.keep(f.clone() + self.float(2.0));
        let divisor_low = f.clone() - (divisor.clone() - self.float(2.0));
        let s = self.keep(f.clone() / divisor.clone());
        let (product, error) = self.two_product(&s, &divisor);
        let remainder = ((f - product) - error) - s.clone() * divisor_low;
        let s_low = remainder / divisor;
        let square = self.keep(s.clone() * s.clone());
        let p = self.polynomial(&square, &ATANH_SMALL);
        let small = s_low + s.clone() * square * p;
        let small = self.mul_add(e.clone(), self.float(0.5 * LN_2_LOW), small);
        let small = self.keep(small.clone() + small);
        // e · ln 2 is zero or larger than 2s, and exact.
        let large = self.keep(e * self.float(LN_2_HIGH));
        let twice = self.keep(s.clone() + s);
        let sum = self.keep(large.clone() + twice.clone());
        let zero = self.equals(&large, 0.0);
        let lost = Expr::select(zero, self.float(0.0), twice - (sum.clone() - large));
        let small = self.keep(small + lost);
        let high = self.keep(sum.clone() + small.clone());
        let low = self.keep(small - (high.clone() - sum));
        (high, low)
    }

    fn int_mod(&mut self, a: Expr, b: Expr) -> Expr {
        let b = self.keep(b);
        let remainder = Expr::binary(Binary::Rem, a, b.clone());
        if self.ty.dtype.is_unsigned_int() {
            return remainder;
        }
        let zero = self.constant(Scalar::from_i64(self.ty.dtype, 0));
        let remainder = self.keep(remainder);
        let signs = Expr::binary(Binary::Xor, remainder.clone(), b.clone());
        let differs = self.less(signs, zero.clone());
        let wrong = differs.and(Expr::compare(Compare::Ne, remainder.clone(), zero));
        Expr::select(wrong, remainder.clone() + b, remainder)
    }

    /// `a − trunc(a / b) · b`, exact where the quotient is below 2²²; then 22 bits of the quotient at a time, up to
    /// [`REMAINDER_STEPS`] of them.
    fn float_rem(&mut self, a: &Expr, b: &Expr) -> Expr {
        let divisor = self.abs(b);
        let mut rest = self.abs(a);
        for step in (0..REMAINDER_STEPS).rev() {
            rest = self.remainder_step(&rest, &divisor, 2f32.powi(QUOTIENT_BITS * step));
        }
        let value = self.with_sign(rest, a);
        // a / b was NaN for every pair that has no remainder but a finite a and an infinite b, whose remainder is a.
        let infinite = self.equals(&divisor, f32::INFINITY);
        let finite = self.less_than(&Expr::unary(Unary::Abs, a.clone()), f32::INFINITY);
        Expr::select(infinite.and(finite), a.clone(), value)
    }

    /// `rest` less the multiple of `divisor · scale` that it holds.
    fn remainder_step(&mut self, rest: &Expr, divisor: &Expr, scale: f32) -> Expr {
        let scaled = self.keep(divisor.clone() * self.float(scale));
        let quotient = self.keep(rest.clone() / scaled.clone());
        let quotient = self.trunc(&quotient);
        let quotient = self.keep(quotient);
        let (product, error) = self.two_product(&quotient, &scaled);
        let left = self.keep((rest.clone() - product) - error);
        // The quotient was rounded: it may be one too large.
        let negative = self.less_than(&left, 0.0);
        let left = self.keep(Expr::select(negative, left.clone() + scaled.clone(), left));
        let over = Expr::compare(Compare::Ge, left.clone(), scaled.clone());
        let left = Expr::select(over, left.clone() - scaled.clone(), left);
        match scale {
            1.0 => self.keep(left),
            // A multiple that overflows is in no rest.
            _ => {
                let fits = self.less_than(&scaled, f32::INFINITY);
                self.keep(Expr::select(fits, left, rest.clone()))
            }
        }
    }

    fn float_mod(&mut self, a: &Expr, b: &Expr) -> Expr {
        let remainder = self.float_rem(a, b);
        let remainder = self.keep(remainder);
        let sign = Expr::binary(Binary::Xor, self.as_int(remainder.clone()), self.as_int(b.clone()));
        let differs = self.less(sign, self.int(0));
        let wrong = differs.and(Expr::compare(Compare::Ne, remainder.clone(), self.float(0.0)));
        Expr::select(wrong, remainder.clone() + b.clone(), remainder)
    }
}

/// Bits of the quotient that one step of a remainder settles, and how many steps there are.
const QUOTIENT_BITS: i32 = 22;
const REMAINDER_STEPS: i32 = 2;
