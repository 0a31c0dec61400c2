//! Arithmetic: the meaning of each operator in instructions that neither trap nor call a library.

use ir::{DType, Scalar};
use loops::{Binary, Compare, Type, Unary};

use crate::builder::Value;
use crate::kernel::{Kernel, Lowered};
use crate::typing::{int_predicate, is_signed};

impl<'c, 'a> Kernel<'_, 'c, 'a> {
    pub fn unary(&mut self, op: Unary, a: Value<'c, 'a>) -> Lowered<Value<'c, 'a>> {
        if is_half(a.ty.dtype) {
            let wide = self.widened_half(a);
            let value = self.unary(op, wide)?;
            return if value.ty.dtype == DType::Bool { Ok(value) } else { self.cast(a.ty.dtype, value) };
        }
        match a.ty.dtype.is_float() {
            true => self.unary_float(op, a),
            false => self.unary_int(op, a),
        }
    }

    fn unary_float(&mut self, op: Unary, a: Value<'c, 'a>) -> Lowered<Value<'c, 'a>> {
        let intrinsic = match op {
            Unary::Neg => return Ok(self.build.value("arith.negf", &[a], a.ty)),
            Unary::IsNan => return self.unordered(a),
            Unary::IsInf => {
                let magnitude = self.build.value("llvm.intr.fabs", &[a], a.ty);
                let infinity = self.float(a.ty, f64::INFINITY);
                return self.compare(Compare::Eq, magnitude, infinity);
            }
            Unary::Sign => return self.sign(a),
            Unary::Not => {
                let zero = self.float(a.ty, 0.0);
                let is_zero = self.compare(Compare::Eq, a, zero)?;
                return self.cast(a.ty.dtype, is_zero);
            }
            Unary::Abs => "llvm.intr.fabs",
            Unary::Sqrt if self.in_hardware(a.ty) => "llvm.intr.sqrt",
            Unary::Floor if self.rounds(a.ty) => "llvm.intr.floor",
            Unary::Ceil if self.rounds(a.ty) => "llvm.intr.ceil",
            Unary::Round if self.rounds(a.ty) => "llvm.intr.roundeven",
            Unary::Trunc if self.rounds(a.ty) => "llvm.intr.trunc",
            _ => return Err(self.unsupported(op, a.ty.dtype)),
        };
        Ok(self.build.value(intrinsic, &[a], a.ty))
    }

    fn unary_int(&mut self, op: Unary, a: Value<'c, 'a>) -> Lowered<Value<'c, 'a>> {
        match op {
            Unary::Neg => {
                let zero = self.build.integer(a.ty, 0);
                Ok(self.build.value("arith.subi", &[zero, a], a.ty))
            }
            Unary::Abs if is_signed(a.ty.dtype) => {
                let (zero, negated) = (self.build.integer(a.ty, 0), self.unary_int(Unary::Neg, a)?);
                let negative = self.compare(Compare::Lt, a, zero)?;
                Ok(self.select(negative, negated, a))
            }
            Unary::Sign => self.sign(a),
            Unary::Not => {
                let ones = self.build.integer(a.ty, -1);
                Ok(self.build.value("arith.xori", &[a, ones], a.ty))
            }
            Unary::Abs | Unary::Floor | Unary::Ceil | Unary::Round | Unary::Trunc => Ok(a),
            _ => Err(self.unsupported(op, a.ty.dtype)),
        }
    }

    /// `1`, `-1`, or the operand itself where it is neither above nor below zero (zeros and NaN).
    fn sign(&mut self, a: Value<'c, 'a>) -> Lowered<Value<'c, 'a>> {
        let [zero, one] =
            [0.0, 1.0].map(|x| self.build.constant(Scalar::from_f64(a.ty.dtype, x), a.ty.lanes));
        let above = self.compare(Compare::Gt, a, zero)?;
        let positive = self.select(above, one, a);
        if !a.ty.dtype.is_float() && !is_signed(a.ty.dtype) {
            return Ok(positive);
        }
        let below = self.compare(Compare::Lt, a, zero)?;
        let minus = self.build.constant(Scalar::from_f64(a.ty.dtype, -1.0), a.ty.lanes);
        Ok(self.select(below, minus, positive))
    }

    /// Whether `a` is NaN.
    pub fn unordered(&mut self, a: Value<'c, 'a>) -> Lowered<Value<'c, 'a>> {
        // `a != a` holds for NaN alone.
        self.compare(Compare::Ne, a, a)
    }

    pub fn binary(&mut self, op: Binary, a: Value<'c, 'a>, b: Value<'c, 'a>) -> Lowered<Value<'c, 'a>> {
        if is_half(a.ty.dtype) {
            let (wide_a, wide_b) = (self.widened_half(a), self.widened_half(b));
            let value = self.binary(op, wide_a, wide_b)?;
            return self.cast(a.ty.dtype, value);
        }
        match op {
            Binary::Min | Binary::Max => {
                let relation = if op == Binary::Min { Compare::Lt } else { Compare::Gt };
                let chosen = self.compare(relation, a, b)?;
                Ok(self.select(chosen, a, b))
            }
            _ if a.ty.dtype.is_float() => self.binary_float(op, a, b),
            Binary::Div | Binary::Rem | Binary::Mod => self.divide(op, a, b),
            Binary::ShiftLeft | Binary::ShiftRight => self.shift(op, a, b),
            _ => self.binary_int(op, a, b),
        }
    }

    fn binary_float(&mut self, op: Binary, a: Value<'c, 'a>, b: Value<'c, 'a>) -> Lowered<Value<'c, 'a>> {
        let name = match op {
            Binary::Add => "arith.addf",
            Binary::Sub => "arith.subf",
            Binary::Mul => "arith.mulf",
            Binary::Div => "arith.divf",
            Binary::Mod if self.rounds(a.ty) => {
                let quotient = self.build.value("arith.divf", &[a, b], a.ty);
                let whole = self.build.value("llvm.intr.floor", &[quotient], a.ty);
                let product = self.build.value("arith.mulf", &[b, whole], a.ty);
                return Ok(self.build.value("arith.subf", &[a, product], a.ty));
            }
            _ => {
                return Err(format!(
                    "{op:?} on {} is not an instruction of target `{}`",
                    a.ty.dtype, self.target.name
                ));
            }
        };
        Ok(self.build.value(name, &[a, b], a.ty))
    }

    fn binary_int(&mut self, op: Binary, a: Value<'c, 'a>, b: Value<'c, 'a>) -> Lowered<Value<'c, 'a>> {
        let name = match op {
            Binary::Add => "arith.addi",
            Binary::Sub => "arith.subi",
            Binary::Mul => "arith.muli",
            Binary::And => "arith.andi",
            Binary::Or => "arith.ori",
            Binary::Xor => "arith.xori",
            _ => return Err(format!("{op:?} on {} is not an instruction", a.ty.dtype)),
        };
        Ok(self.build.value(name, &[a, b], a.ty))
    }

    /// Integer quotient or remainder; by zero it is 0, and the least integer by -1 wraps, where the machine may trap.
    fn divide(&mut self, op: Binary, a: Value<'c, 'a>, b: Value<'c, 'a>) -> Lowered<Value<'c, 'a>> {
        let signed = is_signed(a.ty.dtype);
        let quotient = op == Binary::Div;
        let name = match (quotient, signed) {
            (true, true) => "arith.divsi",
            (true, false) => "arith.divui",
            (false, true) => "arith.remsi",
            (false, false) => "arith.remui",
        };
        let (zero, one) = (self.build.integer(a.ty, 0), self.build.integer(a.ty, 1));
        let constant = self.build.constant_value(b).filter(|&c| c != 0 && !(signed && c == -1));
        if let Some(divisor) = constant {
            let value = self.build.value(name, &[a, b], a.ty);
            return match op == Binary::Mod && signed {
                true => self.floor_remainder(value, b, Some(divisor > 0)),
                false => Ok(value),
            };
        }
        let by_zero = self.compare(Compare::Eq, b, zero)?;
        let mut unsafe_divisor = by_zero;
        let minus = self.build.integer(a.ty, -1);
        let by_minus = self.compare(Compare::Eq, b, minus)?;
        if signed {
            unsafe_divisor = self.build.value("arith.ori", &[by_zero, by_minus], by_zero.ty);
        }
        let divisor = self.select(unsafe_divisor, one, b);
        // By 1 every remainder is 0, which is right for 0 and -1 too.
        let mut value = self.build.value(name, &[a, divisor], a.ty);
        if quotient {
            if signed {
                let negated = self.build.value("arith.subi", &[zero, a], a.ty);
                value = self.select(by_minus, negated, value);
            }
            value = self.select(by_zero, zero, value);
        }
        match op == Binary::Mod && signed {
            true => self.floor_remainder(value, b, None),
            false => Ok(value),
        }
    }

    /// From the remainder with the dividend's sign to that with the divisor's.
    fn floor_remainder(
        &mut self,
        remainder: Value<'c, 'a>,
        divisor: Value<'c, 'a>,
        positive: Option<bool>,
    ) -> Lowered<Value<'c, 'a>> {
        let zero = self.build.integer(remainder.ty, 0);
        let shifted = self.build.value("arith.addi", &[remainder, divisor], remainder.ty);
        let differs = match positive {
            Some(true) => self.compare(Compare::Lt, remainder, zero)?,
            Some(false) => self.compare(Compare::Gt, remainder, zero)?,
            None => {
                let signs = self.build.value("arith.xori", &[remainder, divisor], remainder.ty);
                let differ = self.compare(Compare::Lt, signs, zero)?;
                let some = self.compare(Compare::Ne, remainder, zero)?;
                self.build.value("arith.andi", &[differ, some], some.ty)
            }
        };
        Ok(self.select(differs, shifted, remainder))
    }

    fn shift(&mut self, op: Binary, a: Value<'c, 'a>, by: Value<'c, 'a>) -> Lowered<Value<'c, 'a>> {
        let bits = i64::from(a.ty.dtype.bits());
        let arithmetic = op == Binary::ShiftRight && is_signed(a.ty.dtype);
        let name = match op {
            Binary::ShiftLeft => "arith.shli",
            _ if arithmetic => "arith.shrsi",
            _ => "arith.shrui",
        };
        if self.build.constant_value(by).is_some_and(|by| (0..bits).contains(&by)) {
            return Ok(self.build.value(name, &[a, by], a.ty));
        }
        // A negative count is a huge one.
        let last = self.build.integer(by.ty, bits - 1);
        let fits = self.comparison("arith.cmpi", int_predicate(Compare::Le, false), by, last);
        let count = self.select(fits, by, last);
        let shifted = self.build.value(name, &[a, count], a.ty);
        if arithmetic {
            return Ok(shifted);
        }
        let zero = self.build.integer(a.ty, 0);
        Ok(self.select(fits, shifted, zero))
    }

    pub fn mul_add(
        &mut self,
        a: Value<'c, 'a>,
        b: Value<'c, 'a>,
        c: Value<'c, 'a>,
    ) -> Lowered<Value<'c, 'a>> {
        if a.ty.dtype.is_float() && self.target.float.fma && self.in_hardware(a.ty) {
            return Ok(self.build.value("llvm.intr.fma", &[a, b, c], a.ty));
        }
        let product = self.binary(Binary::Mul, a, b)?;
        self.binary(Binary::Add, product, c)
    }

    pub fn float(&mut self, ty: Type, value: f64) -> Value<'c, 'a> {
        self.build.constant(Scalar::from_f64(ty.dtype, value), ty.lanes)
    }

    /// Whether the machine has float arithmetic of this width.
    fn in_hardware(&self, ty: Type) -> bool {
        !is_half(ty.dtype) && ty.dtype.bits() <= self.target.float.bits
    }

    fn rounds(&self, ty: Type) -> bool {
        self.target.float.round && self.in_hardware(ty)
    }
}

pub(crate) fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}
