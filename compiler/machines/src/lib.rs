//! Running a generated library on the machine that it is for: this one, a Linux program under user-mode QEMU, or a
//! bare-metal image on a board that QEMU emulates. In QEMU instructions are counted, and LLVM's scheduling models say
//! what they cost.
//!
//! Knows libraries and targets, no model and no compiler. What the program does on the machine is `runtime/runner`.

mod blocks;
mod count;
mod cycles;
mod error;
mod image;
mod link;
mod mca;
mod process;
mod run;
mod sources;

use std::path::Path;

use ir::TensorType;

pub use cycles::{Cycles, cycles};
pub use error::MachineError;
pub use link::{Linker, check_link, undefined_symbols};
pub use run::{Measure, Run, measure, run};

/// A generated static library, as its header describes it.
#[derive(Debug, Clone, Copy)]
pub struct Library<'a> {
    /// `lib<name>.a`.
    pub archive: &'a Path,
    /// The C identifier that its symbols start with.
    pub name: &'a str,
    pub inputs: &'a [(String, TensorType)],
    pub outputs: &'a [(String, TensorType)],
    pub arena_bytes: usize,
    /// A power of two.
    pub arena_align: usize,
}
