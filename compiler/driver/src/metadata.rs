//! `<name>.json`: what a library is, for people and programs that did not compile it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::interface::Port;
use crate::lower::KernelReport;

/// Grows by one when a field changes its meaning or goes away; new fields may come at any time.
pub const SCHEMA_VERSION: u32 = 1;
/// The version of the calling convention that the header describes.
pub const ABI_VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    pub schema_version: u32,
    pub tool: Tool,
    /// Prefix of every symbol and file.
    pub name: String,
    pub abi_version: u32,
    pub model: Model,
    pub target: TargetFacts,
    pub flags: Flags,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    pub memory: Memory,
    /// Symbols that the library expects from the program it is linked into.
    pub undefined_symbols: Vec<String>,
    /// On how many threads `<name>_run_threads` runs at most; 1 if there is no such function.
    #[serde(default = "one_thread")]
    pub threads: usize,
    /// Multiply-accumulates of one inference.
    pub macs: u64,
    /// Those of the model that are not done, because they belong to channels without effect.
    #[serde(default)]
    pub macs_saved: u64,
    /// The nodes that have fewer channels than in the model.
    #[serde(default)]
    pub dropped: Vec<Dropped>,
    #[serde(default)]
    pub rewriting: Rewriting,
    /// In the order in which they run.
    pub kernels: Vec<Kernel>,
}

fn one_thread() -> usize {
    1
}

impl Metadata {
    /// The file's text.
    pub fn to_json(&self) -> String {
        // Plain data with string keys always serialises.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    pub name: String,
    pub version: String,
}

impl Tool {
    pub fn this() -> Tool {
        Tool { name: "onnxc".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// Of the `.onnx` file's bytes.
    pub sha256: String,
}

/// What decides the code, in LLVM's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetFacts {
    pub name: String,
    pub triple: String,
    pub cpu: String,
    pub features: String,
    pub abi: String,
}

impl From<&targets::Target> for TargetFacts {
    fn from(target: &targets::Target) -> TargetFacts {
        TargetFacts {
            name: target.name.clone(),
            triple: target.triple.clone(),
            cpu: target.cpu.clone(),
            features: target.features.clone(),
            abi: target.abi.clone(),
        }
    }
}

/// The options that changed the model on its way in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags {
    pub dims: BTreeMap<String, usize>,
    pub shapes: BTreeMap<String, Vec<usize>>,
    /// Values of scalar inputs, as they were written.
    pub set: BTreeMap<String, String>,
    /// Whether nothing was taken for granted about the range of activations.
    #[serde(default)]
    pub exact: bool,
    /// What convolutions and matrix products read their operands in.
    #[serde(default)]
    pub precision: Precision,
    /// What was done with the rules, if not the usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<Rewrite>,
}

/// `--precision`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    #[default]
    F32,
    Bf16,
    F16,
}

impl From<rewrite::Precision> for Precision {
    fn from(precision: rewrite::Precision) -> Precision {
        match precision {
            rewrite::Precision::F32 => Precision::F32,
            rewrite::Precision::Bf16 => Precision::Bf16,
            rewrite::Precision::F16 => Precision::F16,
        }
    }
}

/// How the graph was rewritten: `--rewrite`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rewrite {
    Off,
    FirstMatch,
}

impl Rewrite {
    pub fn unless_usual(strategy: rewrite::Strategy) -> Option<Rewrite> {
        match strategy {
            rewrite::Strategy::Off => Some(Rewrite::Off),
            rewrite::Strategy::FirstMatch => Some(Rewrite::FirstMatch),
            rewrite::Strategy::Saturate => None,
        }
    }
}

/// Bytes, as `size` and `nm` count them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// RAM that the caller lends to `_run`.
    pub arena_bytes: usize,
    pub arena_align: usize,
    /// Read-only data of the weights' section.
    pub weights_bytes: usize,
    /// Instructions and other read-only data.
    pub code_bytes: usize,
}

/// What rewriting gained, by the target's cost model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewriting {
    /// Of one inference, of the model's nodes one by one and of the kernels.
    pub modelled_cycles_before: u64,
    pub modelled_cycles: u64,
    /// Whether the rules said all that they have to say, before a limit was met.
    pub complete: bool,
    /// Whether of all forms that are known the cheapest were taken, and that is proved.
    pub optimal: bool,
}

impl From<&rewrite::Optimized> for Rewriting {
    fn from(optimized: &rewrite::Optimized) -> Rewriting {
        Rewriting {
            modelled_cycles_before: optimized.cost_before.round() as u64,
            modelled_cycles: optimized.cost.round() as u64,
            complete: optimized.complete,
            optimal: optimized.is_optimal(),
        }
    }
}

/// A node of the model and how many of its channels have no effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    pub node: String,
    /// That are not computed, of how many.
    pub channels: usize,
    pub of: usize,
    /// Of them always zero; the others are never read.
    pub zero: usize,
}

impl From<&rewrite::Dropped> for Dropped {
    fn from(dropped: &rewrite::Dropped) -> Dropped {
        let rewrite::Dropped { node, channels, of, zero } = dropped.clone();
        Dropped { node, channels, of, zero }
    }
}

/// A row of the per-node table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// The ONNX nodes that the kernel computes.
    pub nodes: Vec<String>,
    pub kernel: String,
    pub symbol: String,
    pub macs: u64,
    /// Read and written, weights included.
    pub bytes: usize,
    pub weights_bytes: usize,
    /// By the target's cost model, which compares forms and does not tell the time; 0 in files of older compilers.
    #[serde(default)]
    pub modelled_cycles: u64,
    /// Whether its schedule is a record's, found by tuning.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recorded: bool,
}

impl From<&KernelReport> for Kernel {
    fn from(report: &KernelReport) -> Kernel {
        Kernel {
            nodes: report.nodes.split('+').map(str::to_owned).collect(),
            kernel: report.op.clone(),
            symbol: report.symbol.clone(),
            macs: report.macs,
            bytes: report.bytes,
            weights_bytes: report.weights_bytes,
            modelled_cycles: report.modelled_cycles,
            recorded: report.chosen == schedule::Chosen::Record,
        }
    }
}
