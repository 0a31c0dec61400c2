//! Machine instructions that no plain loop reaches: each defined once, with its meaning as data.

use ir::DType;
use loops::Type;
use serde::{Deserialize, Serialize};

/// One instruction: how to emit it and what it computes.
#[derive(Debug, Clone, PartialEq)]
pub struct Instruction {
    /// What a target's list and `Expr::Instruction` call it.
    pub name: &'static str,
    pub emit: Emit,
    pub arguments: &'static [Type],
    pub result: Type,
    pub meaning: Meaning,
    /// Cycles of one in a stream of independent ones.
    pub cycles: f32,
}

/// How code generation writes an instruction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Emit {
    /// An LLVM intrinsic, with what it is passed and what it gives.
    Intrinsic { name: &'static str, operands: &'static [Operand], result: Type },
    /// An LLVM intrinsic on matrix registers, each with its shape.
    Matrix { name: &'static str },
    /// Inline assembly with LLVM's constraint string, over the arguments in order; it has no side effects.
    Assembly { text: &'static str, constraints: &'static str, operands: &'static [Operand], result: Type },
}

/// One operand of what is emitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// The instruction's k-th argument, its bits taken as this type (packed halfwords travel as one integer).
    Argument(usize, Type),
    /// An `i32` constant.
    Int(i32),
}

/// What an instruction computes, lane by lane. All arithmetic is in the result's element type: integers wrap, a float is
/// rounded after each product that is added (to nearest; subnormal numbers may count as zero).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// `result[l] = accumulator[l] + sum over k < group of a[l * group + k] * b[l * group + k]`, where the arguments are
    /// (accumulator, a, b); `a` and `b` are widened by their own types' signs.
    Dot { group: usize },
    /// The product of two blocks, the second one transposed: for `r < rows` and `c < columns`,
    /// `result[r * columns + c] = accumulator[..] + sum over k < group of a[r * group + k] * b[c * group + k]`.
    Block { rows: usize, columns: usize, group: usize },
    /// The product of two matrix registers: `rows` by `depth` elements and `depth` by `columns`, both of which may be
    /// fewer rows and a smaller depth (a multiple of `group`) than the instruction's types say:
    /// `result[r * columns + c] = accumulator[..] + sum over k < depth of a[r * depth + k] * b[k / group * (group *
    /// columns) + c * group + k % group]`.
    Matrix { columns: usize, group: usize },
    /// The same over all lanes: `result = accumulator + sum over k of a[k] * b[k]`.
    DotAll,
    /// `result[l] = a[stride * l + offset]`, widened by the argument's sign.
    Widen { stride: usize, offset: usize },
    /// `result[l] = a[l]`, rounded to nearest even. Subnormal numbers may become zero.
    Convert,
}

const fn ty(dtype: DType, lanes: usize) -> Type {
    Type { dtype, lanes }
}

const I32: Type = ty(DType::I32, 1);

const I8X4: Type = ty(DType::I8, 4);
const I8X16: Type = ty(DType::I8, 16);
const I16X2: Type = ty(DType::I16, 2);
const BF16X8: Type = ty(DType::BF16, 8);
const BF16X32: Type = ty(DType::BF16, 32);
const BF16X512: Type = ty(DType::BF16, 512);
const F32X4: Type = ty(DType::F32, 4);
const F32X16: Type = ty(DType::F32, 16);
const F32X256: Type = ty(DType::F32, 256);
const I32X4: Type = ty(DType::I32, 4);
const I32X8: Type = ty(DType::I32, 8);
const I32X16: Type = ty(DType::I32, 16);

/// Every instruction. Cycle counts are reciprocal throughputs from the vendors' optimisation guides: a product of matrix
/// registers takes 16 on Sapphire Rapids; Zen 4 issues one
/// 512-bit or two 256-bit dot products a cycle, Neoverse N1 two, V1 four of them or block products; Cortex-M4 and M7 take
/// one cycle for a DSP instruction; Cortex-M55 works on 64 bits of a vector per cycle.
#[rustfmt::skip]
pub static INSTRUCTIONS: &[Instruction] = &[
    Instruction {
        name: "vpdpbusd",
        emit: Emit::Intrinsic {
            name: "llvm.x86.avx512.vpdpbusd.512",
            operands: &[
                Operand::Argument(0, I32X16),
                Operand::Argument(1, ty(DType::U8, 64)),
                Operand::Argument(2, ty(DType::I8, 64)),
            ],
            result: I32X16,
        },
        arguments: &[I32X16, ty(DType::U8, 64), ty(DType::I8, 64)],
        result: I32X16,
        meaning: Meaning::Dot { group: 4 },
        cycles: 1.0,
    },
    Instruction {
        name: "vpdpbusd256",
        emit: Emit::Intrinsic {
            name: "llvm.x86.avx512.vpdpbusd.256",
            operands: &[
                Operand::Argument(0, I32X8),
                Operand::Argument(1, ty(DType::U8, 32)),
                Operand::Argument(2, ty(DType::I8, 32)),
            ],
            result: I32X8,
        },
        arguments: &[I32X8, ty(DType::U8, 32), ty(DType::I8, 32)],
        result: I32X8,
        meaning: Meaning::Dot { group: 4 },
        cycles: 0.5,
    },
    Instruction {
        name: "vdpbf16ps",
        emit: Emit::Intrinsic {
            name: "llvm.x86.avx512bf16.dpbf16ps.512",
            operands: &[
                Operand::Argument(0, F32X16),
                Operand::Argument(1, BF16X32),
                Operand::Argument(2, BF16X32),
            ],
            result: F32X16,
        },
        arguments: &[F32X16, BF16X32, BF16X32],
        result: F32X16,
        meaning: Meaning::Dot { group: 2 },
        cycles: 1.0,
    },
    Instruction {
        name: "tdpbf16ps",
        emit: Emit::Matrix { name: "llvm.x86.tdpbf16ps.internal" },
        arguments: &[F32X256, BF16X512, BF16X512],
        result: F32X256,
        meaning: Meaning::Matrix { columns: 16, group: 2 },
        cycles: 16.0,
    },
    Instruction {
        name: "vcvtneps2bf16",
        emit: Emit::Intrinsic {
            name: "llvm.x86.avx512bf16.cvtneps2bf16.512",
            operands: &[Operand::Argument(0, F32X16)],
            result: ty(DType::BF16, 16),
        },
        arguments: &[F32X16],
        result: ty(DType::BF16, 16),
        meaning: Meaning::Convert,
        cycles: 1.0,
    },
    Instruction {
        name: "sdot",
        emit: Emit::Intrinsic {
            name: "llvm.aarch64.neon.sdot",
            operands: &[Operand::Argument(0, I32X4), Operand::Argument(1, I8X16), Operand::Argument(2, I8X16)],
            result: I32X4,
        },
        arguments: &[I32X4, I8X16, I8X16],
        result: I32X4,
        meaning: Meaning::Dot { group: 4 },
        cycles: 0.5,
    },
    Instruction {
        name: "bfmmla",
        emit: Emit::Intrinsic {
            name: "llvm.aarch64.neon.bfmmla",
            operands: &[Operand::Argument(0, F32X4), Operand::Argument(1, BF16X8), Operand::Argument(2, BF16X8)],
            result: F32X4,
        },
        arguments: &[F32X4, BF16X8, BF16X8],
        result: F32X4,
        meaning: Meaning::Block { rows: 2, columns: 2, group: 4 },
        cycles: 0.25,
    },
    Instruction {
        name: "bfcvtn",
        emit: Emit::Assembly {
            text: "bfcvtn $0.4h, $1.4s",
            constraints: "=w,w",
            operands: &[Operand::Argument(0, F32X4)],
            result: ty(DType::BF16, 4),
        },
        arguments: &[F32X4],
        result: ty(DType::BF16, 4),
        meaning: Meaning::Convert,
        cycles: 0.5,
    },
    Instruction {
        name: "smlad",
        emit: Emit::Intrinsic {
            name: "llvm.arm.smlad",
            operands: &[Operand::Argument(1, I32), Operand::Argument(2, I32), Operand::Argument(0, I32)],
            result: I32,
        },
        arguments: &[I32, I16X2, I16X2],
        result: I32,
        meaning: Meaning::DotAll,
        cycles: 1.0,
    },
    Instruction {
        name: "sxtb16",
        emit: Emit::Intrinsic { name: "llvm.arm.sxtb16", operands: &[Operand::Argument(0, I32)], result: I32 },
        arguments: &[I8X4],
        result: I16X2,
        meaning: Meaning::Widen { stride: 2, offset: 0 },
        cycles: 1.0,
    },
    Instruction {
        name: "sxtb16_ror8",
        emit: Emit::Assembly {
            text: "sxtb16 $0, $1, ror #8",
            constraints: "=r,r",
            operands: &[Operand::Argument(0, I32)],
            result: I32,
        },
        arguments: &[I8X4],
        result: I16X2,
        meaning: Meaning::Widen { stride: 2, offset: 1 },
        cycles: 1.0,
    },
    Instruction {
        name: "vmladava",
        emit: Emit::Intrinsic {
            name: "llvm.arm.mve.vmldava",
            // Signed, added, not exchanged.
            operands: &[
                Operand::Int(0),
                Operand::Int(0),
                Operand::Int(0),
                Operand::Argument(0, I32),
                Operand::Argument(1, I8X16),
                Operand::Argument(2, I8X16),
            ],
            result: I32,
        },
        arguments: &[I32, I8X16, I8X16],
        result: I32,
        meaning: Meaning::DotAll,
        cycles: 2.0,
    },
];

/// The shape of a product of matrix registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    /// Of the first factor and the sum.
    pub rows: usize,
    /// Columns of the first factor, of which `group` neighbours make a row of the second one.
    pub depth: usize,
}

impl Instruction {
    /// The shape that operands of these types have, where this is an instruction on matrix registers and takes them.
    pub fn matrix(&self, args: &[Type]) -> Option<Matrix> {
        let (Meaning::Matrix { columns, group }, [sum, a, b]) = (self.meaning, args) else { return None };
        let rows = sum.lanes.checked_div(columns)?;
        let depth = a.lanes.checked_div(rows)?;
        let fits = |(ty, most): (&Type, &Type)| ty.dtype == most.dtype && ty.lanes <= most.lanes;
        let exact = rows * columns == sum.lanes
            && rows * depth == a.lanes
            && depth * columns == b.lanes
            && depth.is_multiple_of(group)
            && depth > 0;
        (exact && args.iter().zip(self.arguments).all(fits)).then_some(Matrix { rows, depth })
    }
}

/// The table as the interpreter of nests takes it.
pub struct Table;

/// The instruction called `name`.
pub fn find(name: &str) -> Option<&'static Instruction> {
    INSTRUCTIONS.iter().find(|instruction| instruction.name == name)
}
