//! What a model holds, also one that cannot be imported.

use std::collections::{BTreeMap, HashSet};

use prost::bytes::Bytes;

use crate::body::{node_name, operators, short_domain};
use crate::import::{decode, named_opsets};
use crate::interface::{dim, kind};
use crate::problem::Problem;
use crate::proto::{GraphProto, ModelProto, NodeProto, TypeValue, ValueInfoProto};

/// A model at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub ir_version: i64,
    pub producer: String,
    /// Version by domain; `ai.onnx` is the standard one.
    pub opsets: Vec<(String, i64)>,
    /// Without those that have an initializer.
    pub inputs: Vec<SummaryPort>,
    pub outputs: Vec<SummaryPort>,
    /// By domain and type; nodes of branches and functions count where they are written.
    pub operators: Vec<SummaryOperator>,
    /// Of the graph itself, without those of branches and functions.
    pub nodes: Vec<SummaryNode>,
    /// Elements of all initializers, of branches too.
    pub parameters: u64,
}

/// An input or output as the model declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummaryPort {
    pub name: String,
    /// The standard's name of the element type (`float`), or the kind of a value that is no tensor (`sequence`).
    pub kind: String,
    /// Extents, names of dimensions, or `?`; `None` where the shape is left open.
    pub shape: Option<Vec<String>>,
}

/// A node under the name that reports and problems give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummaryNode {
    pub name: String,
    pub op_type: String,
}

/// How often a model uses an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummaryOperator {
    pub domain: String,
    pub op_type: String,
    pub nodes: usize,
    /// Whether the compiler knows the operator at this opset (or the model defines it); single uses may still fail.
    pub supported: bool,
}

/// Reads what `bytes` declare, without importing.
///
/// # Errors
/// If the bytes are not an ONNX model at all.
pub fn inspect(bytes: &[u8]) -> Result<Summary, Problem> {
    let model = decode(Bytes::copy_from_slice(bytes))?;
    let empty = GraphProto::default();
    let graph = model.graph.as_ref().unwrap_or(&empty);
    let initialized: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let inputs = graph.input.iter().filter(|info| !initialized.contains(info.name.as_str()));
    Ok(Summary {
        ir_version: model.ir_version,
        producer: format!("{} {}", model.producer_name, model.producer_version).trim().into(),
        opsets: named_opsets(&model),
        inputs: inputs.map(port).collect(),
        outputs: graph.output.iter().map(port).collect(),
        operators: histogram(&model, graph),
        nodes: graph.node.iter().map(node).collect(),
        parameters: parameters(graph),
    })
}

fn node(node: &NodeProto) -> SummaryNode {
    SummaryNode { name: node_name(node, ""), op_type: node.op_type.clone() }
}

fn port(info: &ValueInfoProto) -> SummaryPort {
    let value = info.r#type.as_ref().and_then(|ty| ty.value.as_ref());
    let shape = match value {
        Some(TypeValue::Tensor(tensor)) => tensor.shape.as_ref(),
        _ => None,
    };
    SummaryPort {
        name: info.name.clone(),
        kind: value.map_or_else(|| "untyped".into(), kind),
        // Even a negative extent is shown here; importing refuses it.
        shape: shape.map(|shape| {
            shape
                .dim
                .iter()
                .map(|d| dim(d).map_or_else(|problem| problem.message, |dim| dim.to_string()))
                .collect()
        }),
    }
}

/// Calls `visit` with every node of `nodes` and of their subgraphs.
fn each_node<'m>(nodes: &'m [NodeProto], visit: &mut impl FnMut(&'m NodeProto)) {
    for node in nodes {
        visit(node);
        subgraphs(node).for_each(|graph| each_node(&graph.node, visit));
    }
}

fn subgraphs(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(|attribute| attribute.g.as_deref().into_iter().chain(&attribute.graphs))
}

fn histogram(model: &ModelProto, graph: &GraphProto) -> Vec<SummaryOperator> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for nodes in std::iter::once(&graph.node).chain(model.functions.iter().map(|function| &function.node)) {
        each_node(nodes, &mut |node| {
            *counts.entry((short_domain(&node.domain), &node.op_type)).or_default() += 1
        });
    }
    let known = operators();
    let supported = |domain: &str, op_type: &str| {
        let opset = model
            .opset_import
            .iter()
            .find(|set| short_domain(&set.domain) == domain)
            .map_or(0, |set| set.version);
        let defined = model.functions.iter().any(|f| short_domain(&f.domain) == domain && f.name == op_type);
        let read =
            known.get(&(domain, op_type)).is_some_and(|forms| forms.iter().any(|onnx| onnx.since <= opset));
        defined || read || (domain.is_empty() && op_type == "If")
    };
    let entry = |((domain, op_type), nodes): ((&str, &str), usize)| SummaryOperator {
        domain: if domain.is_empty() { "ai.onnx".into() } else { domain.into() },
        op_type: op_type.into(),
        nodes,
        supported: supported(domain, op_type),
    };
    counts.into_iter().map(entry).collect()
}

fn parameters(graph: &GraphProto) -> u64 {
    let elements =
        |dims: &[i64]| dims.iter().fold(1u64, |n, &d| n.saturating_mul(u64::try_from(d).unwrap_or(0)));
    let own = graph.initializer.iter().map(|tensor| elements(&tensor.dims));
    let inner = graph.node.iter().flat_map(subgraphs).map(parameters);
    own.chain(inner).fold(0, u64::saturating_add)
}
