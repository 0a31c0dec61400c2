use ir::{DType, Scalar};
use serde::{Deserialize, Serialize};

use crate::{BufferId, Fold, LoopVar, Reg, Source};

/// A scalar (or, in a nest, vector) expression. Definitions and nests share it; which leaves are legal where is
/// said at each leaf.
///
/// Integer arithmetic wraps. Index arithmetic is `I64` in definitions and in nests; code generation narrows it to
/// the target's pointer width.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Expr {
    Const(Scalar),
    /// The value of an axis as `I64`. Definition: `0..n` are the domain's axes, then the reduction's.
    Axis(usize),
    /// An element of an operand, an earlier stage or a table; one index per dimension. Definition only.
    Read {
        source: Source,
        index: Vec<Expr>,
    },
    /// What the fold left, in a stage's `finish`. Definition only.
    Folded,
    /// The value of a loop variable as `I64`. Nest only.
    Loop(LoopVar),
    /// The value of a register. Nest only.
    Reg(Reg),
    /// `lanes` neighbouring elements from `index` (in elements) on, of which only the first `valid` are touched
    /// (the others read as zero). Nest only.
    Load {
        buffer: BufferId,
        index: Box<Expr>,
        lanes: usize,
        valid: usize,
    },
    /// `lanes` neighbouring elements in each of `rows` rows that lie `stride` elements apart, the first at `index`: one row
    /// after the other. Nest only.
    Rows {
        buffer: BufferId,
        index: Box<Expr>,
        stride: usize,
        rows: usize,
        lanes: usize,
    },
    /// The lanes of values of one type, one value after the other. Nest only.
    Concat(Vec<Expr>),
    /// A scalar in every lane. Nest only.
    Broadcast {
        value: Box<Expr>,
        lanes: usize,
    },
    /// The lanes of a vector folded into a scalar, in a fixed pairwise order. Nest only.
    Horizontal {
        fold: Fold,
        value: Box<Expr>,
    },
    /// One element of a vector. Nest only.
    Lane {
        value: Box<Expr>,
        lane: usize,
    },
    /// Elements of two vectors of one type, counted through both. Nest only.
    Shuffle {
        a: Box<Expr>,
        b: Box<Expr>,
        lanes: Vec<usize>,
    },
    Unary(Unary, Box<Expr>),
    Binary(Binary, Box<Expr>, Box<Expr>),
    /// A `Bool`.
    Compare(Compare, Box<Expr>, Box<Expr>),
    /// `a * b + c` in one rounding where the target has the instruction, in two where it has not. Nest only.
    MulAdd(Box<Expr>, Box<Expr>, Box<Expr>),
    /// `if condition { then } else { otherwise }`; only the chosen side is evaluated, so it may guard a read.
    Select {
        condition: Box<Expr>,
        then: Box<Expr>,
        otherwise: Box<Expr>,
    },
    /// Conversion: float to integer truncates and saturates (NaN becomes 0), integers wrap, to `Bool` is `!= 0`.
    Cast(DType, Box<Expr>),
    /// The same bits, little-endian, as another element type; the lanes change where its width does. Nest only.
    Bits(DType, Box<Expr>),
    /// A target instruction, by its name in the instruction table. Nest only.
    Instruction {
        name: String,
        args: Vec<Expr>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unary {
    Neg,
    Abs,
    Sign,
    /// Logical not of a `Bool`, bitwise not of an integer.
    Not,
    Sqrt,
    Exp,
    Log,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Tanh,
    Asinh,
    Acosh,
    Atanh,
    Erf,
    Floor,
    Ceil,
    /// To nearest, ties to even.
    Round,
    Trunc,
    IsNan,
    IsInf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binary {
    Add,
    Sub,
    Mul,
    /// Integers truncate towards zero; division by zero gives 0.
    Div,
    /// The remainder with the divisor's sign (ONNX `Mod`, fmod=0; Python's `%`); 0 for a zero divisor.
    Mod,
    /// The remainder with the dividend's sign (C `fmod`); integers: 0 for a zero divisor.
    Rem,
    Pow,
    /// `if a < b { a } else { b }`: with a NaN among them, `b`.
    Min,
    /// `if a > b { a } else { b }`: with a NaN among them, `b`.
    Max,
    And,
    Or,
    Xor,
    ShiftLeft,
    /// Arithmetic for signed, logical for unsigned integers; 0 (or the sign) where the shift is too wide.
    ShiftRight,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Expr {
    pub fn f32(value: f32) -> Expr {
        Expr::Const(Scalar::f32(value))
    }

    /// An index constant.
    pub fn int(value: i64) -> Expr {
        Expr::Const(Scalar::i64(value))
    }

    /// `value` in the element type `dtype`.
    pub fn constant(dtype: DType, value: f64) -> Expr {
        Expr::Const(Scalar::from_f64(dtype, value))
    }

    pub fn read(source: Source, index: impl Into<Vec<Expr>>) -> Expr {
        Expr::Read { source, index: index.into() }
    }

    pub fn unary(op: Unary, value: Expr) -> Expr {
        Expr::Unary(op, Box::new(value))
    }

    pub fn binary(op: Binary, a: Expr, b: Expr) -> Expr {
        Expr::Binary(op, Box::new(a), Box::new(b))
    }

    pub fn compare(op: Compare, a: Expr, b: Expr) -> Expr {
        Expr::Compare(op, Box::new(a), Box::new(b))
    }

    pub fn select(condition: Expr, then: Expr, otherwise: Expr) -> Expr {
        Expr::Select { condition: Box::new(condition), then: Box::new(then), otherwise: Box::new(otherwise) }
    }

    pub fn cast(self, dtype: DType) -> Expr {
        Expr::Cast(dtype, Box::new(self))
    }

    pub fn min(self, other: Expr) -> Expr {
        Expr::binary(Binary::Min, self, other)
    }

    pub fn max(self, other: Expr) -> Expr {
        Expr::binary(Binary::Max, self, other)
    }

    pub fn and(self, other: Expr) -> Expr {
        Expr::binary(Binary::And, self, other)
    }

    /// `0 <= self < extent`, for guards.
    pub fn within(self, extent: usize) -> Expr {
        let low = Expr::compare(Compare::Ge, self.clone(), Expr::int(0));
        low.and(Expr::compare(Compare::Lt, self, Expr::int(extent as i64)))
    }

    /// The direct parts.
    pub fn children(&self) -> Vec<&Expr> {
        match self {
            Expr::Const(_) | Expr::Axis(_) | Expr::Folded | Expr::Loop(_) | Expr::Reg(_) => vec![],
            Expr::Read { index, .. } => index.iter().collect(),
            Expr::Load { index: a, .. }
            | Expr::Rows { index: a, .. }
            | Expr::Broadcast { value: a, .. }
            | Expr::Horizontal { value: a, .. }
            | Expr::Lane { value: a, .. }
            | Expr::Unary(_, a)
            | Expr::Cast(_, a)
            | Expr::Bits(_, a) => vec![a],
            Expr::Binary(_, a, b) | Expr::Compare(_, a, b) | Expr::Shuffle { a, b, .. } => vec![a, b],
            Expr::MulAdd(a, b, c) => vec![a, b, c],
            Expr::Select { condition, then, otherwise } => vec![condition, then, otherwise],
            Expr::Concat(parts) | Expr::Instruction { args: parts, .. } => parts.iter().collect(),
        }
    }

    /// The same node over parts changed by `f`.
    pub fn map_children(&self, f: &mut dyn FnMut(&Expr) -> Expr) -> Expr {
        let mut boxed = |e: &Expr| Box::new(f(e));
        match self {
            Expr::Const(_) | Expr::Axis(_) | Expr::Folded | Expr::Loop(_) | Expr::Reg(_) => self.clone(),
            Expr::Read { source, index } => {
                Expr::Read { source: *source, index: index.iter().map(f).collect() }
            }
            Expr::Load { buffer, index, lanes, valid } => {
                Expr::Load { buffer: *buffer, index: boxed(index), lanes: *lanes, valid: *valid }
            }
            Expr::Rows { buffer, index, stride, rows, lanes } => {
                let index = boxed(index);
                Expr::Rows { buffer: *buffer, index, stride: *stride, rows: *rows, lanes: *lanes }
            }
            Expr::Broadcast { value, lanes } => Expr::Broadcast { value: boxed(value), lanes: *lanes },
            Expr::Concat(parts) => Expr::Concat(parts.iter().map(f).collect()),
            Expr::Horizontal { fold, value } => Expr::Horizontal { fold: *fold, value: boxed(value) },
            Expr::Lane { value, lane } => Expr::Lane { value: boxed(value), lane: *lane },
            Expr::Shuffle { a, b, lanes } => Expr::Shuffle { a: boxed(a), b: boxed(b), lanes: lanes.clone() },
            Expr::Unary(op, a) => Expr::Unary(*op, boxed(a)),
            Expr::Cast(dtype, a) => Expr::Cast(*dtype, boxed(a)),
            Expr::Bits(dtype, a) => Expr::Bits(*dtype, boxed(a)),
            Expr::Binary(op, a, b) => Expr::Binary(*op, boxed(a), boxed(b)),
            Expr::Compare(op, a, b) => Expr::Compare(*op, boxed(a), boxed(b)),
            Expr::MulAdd(a, b, c) => Expr::MulAdd(boxed(a), boxed(b), boxed(c)),
            Expr::Select { condition, then, otherwise } => {
                Expr::Select { condition: boxed(condition), then: boxed(then), otherwise: boxed(otherwise) }
            }
            Expr::Instruction { name, args } => {
                Expr::Instruction { name: name.clone(), args: args.iter().map(f).collect() }
            }
        }
    }

    /// Rewrites bottom-up: `f` sees each node after its parts were rewritten; `None` keeps it.
    pub fn rewrite(&self, f: &mut dyn FnMut(&Expr) -> Option<Expr>) -> Expr {
        let node = self.map_children(&mut |child| child.rewrite(f));
        f(&node).unwrap_or(node)
    }

    /// Replaces axis `k` by `axes[k]`.
    pub fn substitute_axes(&self, axes: &[Expr]) -> Expr {
        self.rewrite(&mut |node| match node {
            Expr::Axis(axis) => Some(axes[*axis].clone()),
            _ => None,
        })
    }

    /// Whether `predicate` holds for this node or any below it.
    pub fn any(&self, predicate: &mut dyn FnMut(&Expr) -> bool) -> bool {
        predicate(self) || self.children().into_iter().any(|child| child.any(predicate))
    }

    /// Number of nodes.
    pub fn size(&self) -> usize {
        1 + self.children().into_iter().map(Expr::size).sum::<usize>()
    }
}

macro_rules! operators {
    ($($trait:ident :: $method:ident => $op:ident),*) => {$(
        impl std::ops::$trait for Expr {
            type Output = Expr;
            fn $method(self, other: Expr) -> Expr {
                Expr::binary(Binary::$op, self, other)
            }
        }
    )*};
}
operators! { Add::add => Add, Sub::sub => Sub, Mul::mul => Mul, Div::div => Div }
