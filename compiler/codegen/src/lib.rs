//! Loops to machine code: MLIR through melior, LLVM through inkwell, one object file out.
//!
//! The only room that links LLVM. It takes no decision that changes performance ranking and knows no operator.

use loops::Nest;
use targets::Target;

/// Everything that goes into one object file.
#[derive(Debug, Clone)]
pub struct Module<'a> {
    /// A C identifier; every symbol starts with it.
    pub name: String,
    pub target: &'a Target,
    /// Each becomes a function `<name>_<nest.name>`, local to the object.
    pub kernels: Vec<Nest>,
    /// What `<name>_run` does, in order.
    pub calls: Vec<Call>,
    /// Number of pointers in the header's input and output structs.
    pub inputs: usize,
    pub outputs: usize,
    /// The read-only data that `Place::Weights` points into; aligned to `WEIGHTS_ALIGN`.
    pub weights: Vec<u8>,
}

/// Alignment in bytes of the weights' section and of the arena.
pub const ALIGN: usize = 64;

/// One kernel's call: a place for each of its buffers.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Index into `Module::kernels`.
    pub kernel: usize,
    pub arguments: Vec<Place>,
}

/// Where a buffer lies when a kernel runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The k-th input's or output's memory, from a byte offset on.
    Input { index: usize, offset: usize },
    Output { index: usize, offset: usize },
    /// Byte offsets into the arena and the weights.
    Arena { offset: usize },
    Weights { offset: usize },
}

/// An object file and what is known of it.
#[derive(Debug, Clone)]
pub struct Object {
    /// ELF.
    pub bytes: Vec<u8>,
    /// Bytes of `.text*` and of read-only data that is not weights.
    pub code_bytes: usize,
    pub weights_bytes: usize,
}
