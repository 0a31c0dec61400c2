use ir::DType;
use serde::{Deserialize, Serialize};

use crate::Expr;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u32);
    )*};
}
ids! {
    /// A buffer of a nest, by its place in `Nest::buffers`.
    BufferId,
    /// A loop variable.
    LoopVar,
    /// A register: a mutable local of one type. Code generation turns them into SSA values.
    Reg
}

/// The type of a register or an expression in a nest: a scalar (`lanes == 1`) or a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Type {
    pub dtype: DType,
    pub lanes: usize,
}

impl Type {
    pub fn scalar(dtype: DType) -> Type {
        Type { dtype, lanes: 1 }
    }

    pub fn vector(dtype: DType, lanes: usize) -> Type {
        Type { dtype, lanes }
    }

    /// The type of the same bits in elements of `dtype`, if they fill whole ones.
    pub fn reinterpreted(self, dtype: DType) -> Option<Type> {
        let bits = self.dtype.bits() as usize * self.lanes;
        let whole =
            bits.is_multiple_of(dtype.bits() as usize) && self.dtype != DType::Bool && dtype != DType::Bool;
        whole.then(|| Type { dtype, lanes: bits / dtype.bits() as usize })
    }
}

/// `f32`, `f32x16`.
impl std::fmt::Display for Type {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.lanes {
            1 => write!(f, "{}", self.dtype),
            lanes => write!(f, "{}x{lanes}", self.dtype),
        }
    }
}

/// What a kernel may do with a buffer. Buffers of one nest do not overlap, unless both are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    Read,
    Write,
    /// Read and then written, in place.
    Update,
    /// Written and read within the kernel, dead outside.
    Scratch,
}

/// One buffer argument of a kernel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Buffer {
    pub name: String,
    pub dtype: DType,
    /// Elements.
    pub len: usize,
    pub access: Access,
}

/// A kernel as explicit loops. No allocation, no calls, no aliasing between operands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Nest {
    pub name: String,
    /// The kernel's arguments, in order.
    pub buffers: Vec<Buffer>,
    pub body: Vec<Stmt>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stmt {
    /// `for var in (from..to).step_by(step)`; runs no iteration where `from >= to`. `step` is positive.
    For {
        var: LoopVar,
        from: Expr,
        to: Expr,
        step: i64,
        parallel: bool,
        body: Vec<Stmt>,
    },
    If {
        condition: Expr,
        then: Vec<Stmt>,
        otherwise: Vec<Stmt>,
    },
    /// Declares a register; it lives to the end of the enclosing block.
    Let {
        reg: Reg,
        ty: Type,
        value: Expr,
    },
    /// Gives a declared register another value.
    Set {
        reg: Reg,
        value: Expr,
    },
    /// Asks for the cache line of an element, which need not exist: nothing is read, nothing is waited for.
    Prefetch {
        buffer: BufferId,
        index: Expr,
    },
    /// Writes the first `valid` lanes of `value` to neighbouring elements from `index` on.
    Store {
        buffer: BufferId,
        index: Expr,
        value: Expr,
        valid: usize,
    },
}
