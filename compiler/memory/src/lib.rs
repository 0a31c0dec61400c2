//! Static memory: where each buffer lies in the one arena.
//!
//! Knows plain buffers only: sizes, alignment, first and last use. [`plan`] may be any heuristic, because [`check`],
//! which shares no code with it, refuses what is wrong.

mod check;
mod plan;

pub use check::{Fault, check};
pub use plan::{Peak, Plan, peak, plan};

/// A buffer that must lie somewhere in the arena.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buffer {
    pub bytes: usize,
    /// A power of two.
    pub align: usize,
    /// The steps in which it is alive, both included.
    pub first: usize,
    pub last: usize,
}
