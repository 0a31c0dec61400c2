use std::collections::BTreeSet;

use crate::{Graph, NodeId, NodeKind, Operator, Value};

/// What does not hold in a graph, with the name of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyError(pub String);

impl std::fmt::Display for VerifyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for VerifyError {}

/// Holds between all stages: the graph is acyclic, its inputs are those declared, every node has the types that its
/// operator infers for its operands, and every output is there.
pub fn verify<O: Operator>(graph: &Graph<O>) -> Result<(), VerifyError> {
    let order = graph.order();
    if order.len() != graph.node_count() {
        let done: BTreeSet<NodeId> = order.into_iter().collect();
        let stuck = graph.ids().find(|id| !done.contains(id));
        return fail(graph, stuck, "is on a cycle");
    }
    for &id in graph.inputs() {
        if !graph.get(id).is_some_and(|node| node.kind == NodeKind::Input) {
            return fail(graph, Some(id), "is declared as an input and is none");
        }
    }
    order.iter().try_for_each(|&id| node(graph, id))?;
    for (name, value) in graph.outputs() {
        if !exists(graph, *value) {
            return Err(VerifyError(format!("output `{name}` is not there")));
        }
    }
    Ok(())
}

fn node<O: Operator>(graph: &Graph<O>, id: NodeId) -> Result<(), VerifyError> {
    let node = graph.node(id);
    let operands = graph.operands(id);
    if operands.iter().any(|&value| !exists(graph, value)) {
        return fail(graph, Some(id), "has an operand that is not there");
    }
    let expected = match &node.kind {
        NodeKind::Input if !graph.inputs().contains(&id) => {
            return fail(graph, Some(id), "is an undeclared input");
        }
        NodeKind::Input => node.types.clone(),
        NodeKind::Constant(tensor) => vec![tensor.ty.clone()],
        NodeKind::Apply(op) => {
            let types = graph.types(&operands);
            match op.infer(&types) {
                Ok(expected) => expected,
                Err(err) => return fail(graph, Some(id), &format!("is not valid: {err}")),
            }
        }
    };
    match expected == node.types {
        true => Ok(()),
        false => fail(graph, Some(id), &format!("is {expected:?} and says {:?}", node.types)),
    }
}

fn exists<O: Operator>(graph: &Graph<O>, value: Value) -> bool {
    graph.get(value.node).is_some_and(|node| value.result < node.types.len())
}

fn fail<O: Operator>(graph: &Graph<O>, id: Option<NodeId>, what: &str) -> Result<(), VerifyError> {
    let node = id.and_then(|id| graph.get(id));
    let operator = node.map_or("node", |node| match &node.kind {
        NodeKind::Input => "input",
        NodeKind::Constant(_) => "constant",
        NodeKind::Apply(op) => op.name(),
    });
    let number = id.map_or(String::new(), |id| id.index().to_string());
    let name = node.map_or("", |node| &node.name);
    Err(VerifyError(format!("{operator} `{name}` (node {number}) {what}")))
}
