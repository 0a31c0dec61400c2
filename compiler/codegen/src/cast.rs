//! Conversions between element types; the 16-bit floats by bit arithmetic on machines without instructions for them.

use ir::DType;
use loops::{Binary, Compare, Type};
use targets::instructions::{Instruction, Meaning, find};

use crate::arith::is_half;
use crate::builder::Value;
use crate::kernel::{Kernel, Lowered};
use crate::typing::is_signed;

impl<'c, 'a> Kernel<'_, 'c, 'a> {
    /// Float to integer truncates and saturates (NaN gives 0), integers wrap, to `Bool` is `!= 0`.
    pub fn cast(&mut self, to: DType, value: Value<'c, 'a>) -> Lowered<Value<'c, 'a>> {
        let from = value.ty.dtype;
        let ty = Type { dtype: to, lanes: value.ty.lanes };
        if from == to {
            return Ok(value);
        }
        if is_half(from) {
            let wide = self.widened_half(value);
            return self.cast(to, wide);
        }
        if is_half(to) {
            let single = self.cast(DType::F32, value)?;
            return if to == DType::F16 { self.half_of(single) } else { self.bfloat_of(single) };
        }
        if to == DType::Bool {
            let zero = self.build.constant(ir::Scalar::from_i64(from, 0), value.ty.lanes);
            return self.compare(Compare::Ne, value, zero);
        }
        let intrinsic = match (from.is_float(), to.is_float()) {
            (true, false) if is_signed(to) => "llvm.fptosi.sat",
            (true, false) => "llvm.fptoui.sat",
            // A signed and an unsigned integer of one width are the same bits.
            (false, false) if from != DType::Bool && from.bits() == to.bits() => {
                return Ok(Value { ty, ..value });
            }
            _ => return Ok(self.build.value(plain_cast(from, to), &[value], ty)),
        };
        Ok(self.build.intrinsic(intrinsic, &[value], ty))
    }

    /// The same bits in elements of `to`.
    pub fn bits(&mut self, to: DType, value: Value<'c, 'a>) -> Lowered<Value<'c, 'a>> {
        let ty = value.ty.reinterpreted(to).ok_or_else(|| format!("the bits of {} as {to}", value.ty))?;
        Ok(self.reinterpret(value, ty))
    }

    /// The same bits as `ty`, which may have other lanes.
    pub fn reinterpret(&mut self, value: Value<'c, 'a>, ty: Type) -> Value<'c, 'a> {
        if self.build.mlir(ty) == self.build.mlir(value.ty) {
            return Value { ty, ..value };
        }
        self.build.value("llvm.bitcast", &[value], ty)
    }

    /// A 16-bit float as `F32`; anything else as it is.
    pub fn widened_half(&mut self, value: Value<'c, 'a>) -> Value<'c, 'a> {
        match value.ty.dtype {
            DType::F16 => self.single_of_half(value),
            DType::BF16 => {
                let words = self.words(value);
                let high = self.word_op("arith.shli", words, 16);
                self.reinterpret(high, Type { dtype: DType::F32, ..value.ty })
            }
            _ => value,
        }
    }

    /// The 16 bits in the low half of 32.
    fn words(&mut self, value: Value<'c, 'a>) -> Value<'c, 'a> {
        self.build.value("arith.extui", &[value], Type { dtype: DType::U32, ..value.ty })
    }

    fn word_op(&mut self, name: &str, a: Value<'c, 'a>, constant: u32) -> Value<'c, 'a> {
        let constant = self.build.integer(a.ty, i64::from(constant));
        self.build.value(name, &[a, constant], a.ty)
    }

    /// IEEE half to single: the exponent is rebiased by 112; subnormals are their significand times 2^-24.
    fn single_of_half(&mut self, value: Value<'c, 'a>) -> Value<'c, 'a> {
        let ty = Type { dtype: DType::F32, ..value.ty };
        if self.target.vector.half {
            return self.build.native_cast("arith.extf", value, ty);
        }
        let words = self.words(value);
        let sign = self.word_op("arith.andi", words, 0x8000);
        let sign = self.word_op("arith.shli", sign, 16);
        let magnitude = self.word_op("arith.andi", words, 0x7fff);
        let shifted = self.word_op("arith.shli", magnitude, 13);
        let normal = self.word_op("arith.addi", shifted, 112 << 23);
        let special = self.word_op("arith.addi", shifted, 224 << 23);
        let is_special = self.word_compare(Compare::Ge, magnitude, 0x7c00);
        let finite = self.select(is_special, special, normal);
        let whole = self.build.value("arith.uitofp", &[magnitude], ty);
        let unit = self.float(ty, f64::powi(2.0, -24));
        let small = self.build.value("arith.mulf", &[whole, unit], ty);
        let small = self.reinterpret(small, words.ty);
        let is_small = self.word_compare(Compare::Lt, magnitude, 0x0400);
        let unsigned = self.select(is_small, small, finite);
        let bits = self.build.value("arith.ori", &[unsigned, sign], words.ty);
        self.reinterpret(bits, ty)
    }

    /// Single to IEEE half, to nearest even. Adding 0.5 to a value below 2^-14 leaves its half-precision significand in
    /// the low bits, rounded by the addition itself.
    fn half_of(&mut self, value: Value<'c, 'a>) -> Lowered<Value<'c, 'a>> {
        if self.target.vector.half {
            return Ok(self.build.native_cast("arith.truncf", value, Type { dtype: DType::F16, ..value.ty }));
        }
        let word = Type { dtype: DType::U32, ..value.ty };
        let bits = self.reinterpret(value, word);
        let sign = self.word_op("arith.shrui", bits, 16);
        let sign = self.word_op("arith.andi", sign, 0x8000);
        let magnitude = self.word_op("arith.andi", bits, 0x7fff_ffff);

        let rebiased = self.word_op("arith.subi", magnitude, 112 << 23);
        let normal = self.round_to_even(rebiased, 13);

        let positive = self.reinterpret(magnitude, value.ty);
        let half = self.float(value.ty, 0.5);
        let aligned = self.binary(Binary::Add, positive, half)?;
        let aligned = self.reinterpret(aligned, word);
        let small = self.word_op("arith.subi", aligned, 0x3f00_0000);

        let is_small = self.word_compare(Compare::Lt, magnitude, 113 << 23);
        let finite = self.select(is_small, small, normal);
        let is_nan = self.word_compare(Compare::Gt, magnitude, 0x7f80_0000);
        let [infinity, nan] = [0x7c00, 0x7e00].map(|code| self.build.integer(word, code));
        let special = self.select(is_nan, nan, infinity);
        let is_special = self.word_compare(Compare::Ge, magnitude, 143 << 23);
        let unsigned = self.select(is_special, special, finite);
        let code = self.build.value("arith.ori", &[unsigned, sign], word);
        Ok(self.build.value("arith.trunci", &[code], Type { dtype: DType::F16, ..value.ty }))
    }

    /// Single to bfloat16, to nearest even.
    fn bfloat_of(&mut self, value: Value<'c, 'a>) -> Lowered<Value<'c, 'a>> {
        let converts = |instruction: &&'static Instruction| {
            instruction.meaning == Meaning::Convert
                && instruction.arguments == [value.ty]
                && instruction.result.dtype == DType::BF16
        };
        if let Some(instruction) =
            self.target.instructions.iter().filter_map(|name| find(name)).find(converts)
        {
            return Ok(self.instruction_on(instruction, &[value]));
        }
        let word = Type { dtype: DType::U32, ..value.ty };
        let bits = self.reinterpret(value, word);
        let rounded = self.round_to_even(bits, 16);
        let cut = self.word_op("arith.shrui", bits, 16);
        let quiet = self.word_op("arith.ori", cut, 0x0040);
        let is_nan = self.unordered(value)?;
        let code = self.select(is_nan, quiet, rounded);
        Ok(self.build.value("arith.trunci", &[code], Type { dtype: DType::BF16, ..value.ty }))
    }

    /// `bits >> shift`, to nearest, ties to even.
    fn round_to_even(&mut self, bits: Value<'c, 'a>, shift: u32) -> Value<'c, 'a> {
        let kept = self.word_op("arith.shrui", bits, shift);
        let odd = self.word_op("arith.andi", kept, 1);
        let raised = self.word_op("arith.addi", bits, (1 << (shift - 1)) - 1);
        let raised = self.build.value("arith.addi", &[raised, odd], bits.ty);
        self.word_op("arith.shrui", raised, shift)
    }

    fn word_compare(&mut self, op: Compare, a: Value<'c, 'a>, constant: u32) -> Value<'c, 'a> {
        let constant = self.build.integer(a.ty, i64::from(constant));
        self.integers_compare(op, a, constant)
    }
}

/// The operation that converts between two types where no saturation is involved.
fn plain_cast(from: DType, to: DType) -> &'static str {
    let unsigned = !is_signed(from);
    match (from.is_float(), to.is_float()) {
        (true, _) if to.bits() > from.bits() => "arith.extf",
        (true, _) => "arith.truncf",
        (false, true) if unsigned => "arith.uitofp",
        (false, true) => "arith.sitofp",
        (false, false) if to.bits() < from.bits() => "arith.trunci",
        (false, false) if unsigned => "arith.extui",
        (false, false) => "arith.extsi",
    }
}
