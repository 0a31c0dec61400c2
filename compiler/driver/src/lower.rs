//! From the rewritten graph to kernels, buffers and calls.

use std::fmt;

use ir::TensorType;
use targets::Target;

/// A model as kernels over one arena, and what the reports say of each.
#[derive(Debug)]
pub struct Lowered<'a> {
    pub module: codegen::Module<'a>,
    pub arena_bytes: usize,
    pub inputs: Vec<(String, TensorType)>,
    pub outputs: Vec<(String, TensorType)>,
    pub kernels: Vec<KernelReport>,
}

/// One kernel in the per-node table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelReport {
    /// The names of the ONNX nodes that it computes, joined by `+`.
    pub nodes: String,
    pub op: String,
    /// The symbol of its function in the object.
    pub symbol: String,
    pub macs: u64,
    /// Bytes that it reads and writes, weights included.
    pub bytes: usize,
    pub weights_bytes: usize,
}

/// Why a graph cannot be lowered for a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LowerError {
    pub message: String,
    pub hint: Option<String>,
}

impl fmt::Display for LowerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for LowerError {}

pub fn lower<'a>(_graph: &ops::Graph, _target: &'a Target, _name: &str) -> Result<Lowered<'a>, LowerError> {
    Err(LowerError { message: "lowering has not landed".to_owned(), hint: None })
}
