//! From the rewritten graph to kernels, buffers and calls.
//!
//! Every value of the graph gets a place: computed values a buffer, views and reshapes a look at somebody else's, parts
//! of a concatenation their slice of the whole. What cannot be looked at where it lies is copied.

mod buffers;
mod claim;
mod module;
mod value;

use std::fmt;

use ir::{NodeId, NodeKind, TensorType};
use schedule::{Chosen, Records, Workload};
use targets::Target;

use value::Lowering;

/// A model as kernels over one arena, and what the reports say of each.
#[derive(Debug)]
pub struct Lowered<'a> {
    pub module: codegen::Module<'a>,
    pub arena_bytes: usize,
    pub inputs: Vec<(String, TensorType)>,
    pub outputs: Vec<(String, TensorType)>,
    pub kernels: Vec<KernelReport>,
}

/// One kernel's call in the per-node table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelReport {
    /// The node of the lowered graph that it computes, or a part of it.
    pub node: NodeId,
    /// The names of the ONNX nodes that it computes, joined by `+`.
    pub nodes: String,
    pub op: String,
    /// The symbol of its function in the object.
    pub symbol: String,
    pub macs: u64,
    /// Bytes that it reads and writes, weights included.
    pub bytes: usize,
    pub weights_bytes: usize,
    /// What it takes by the target's cost model.
    pub modelled_cycles: u64,
    /// Why elements are moved that were computed already, if that is all it does.
    pub copies: Option<&'static str>,
    /// Where its schedules come from.
    pub chosen: Chosen,
    /// What other schedules may be found for: its stages.
    pub workloads: Vec<Workload>,
}

/// Why a graph cannot be lowered for a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LowerError {
    /// The ONNX nodes concerned.
    pub nodes: String,
    pub message: String,
    pub hint: Option<String>,
}

impl fmt::Display for LowerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.nodes, self.message)
    }
}

impl std::error::Error for LowerError {}

/// What becomes of a transpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Transposes {
    /// A look at its operand, where its readers can do with strides.
    #[default]
    Seen,
    /// A copy, so that every reader finds its own layout in memory; for comparison.
    Copied,
}

/// Lowers `graph` for `target`; every symbol will start with `name`.
pub fn lower<'a>(graph: &'a ops::Graph, target: &'a Target, name: &str) -> Result<Lowered<'a>, LowerError> {
    static NONE: Records = Records::NONE;
    lower_with(graph, target, name, Transposes::Seen, &NONE)
}

/// As [`lower`], with the schedules that are in `records`.
pub fn lower_with<'a>(
    graph: &'a ops::Graph,
    target: &'a Target,
    name: &str,
    transposes: Transposes,
    records: &'a Records,
) -> Result<Lowered<'a>, LowerError> {
    let mut lowering = Lowering::new(graph, target, transposes, records);
    lowering.claim_places();
    for id in graph.order() {
        if let NodeKind::Apply(op) = &graph.node(id).kind {
            lowering.node(id, op)?;
        }
    }
    lowering.deliver_outputs()?;
    lowering.reuse_in_place();
    Ok(lowering.into_module(name))
}
