//! From pure definitions to loop nests: what is computed in which order, with which instructions.
//!
//! Knows targets and loops; no operator and no LLVM.

pub mod math;
