//! Kernels on feature maps put into one another row by row, after the cheapest form of each is known.
//!
//! A path is nodes of which each alone reads the one before, as its first operand. It is cut into chains so that the
//! costs add up to the least; what a chain costs, the cost model says.

use std::collections::{HashMap, HashSet};

use ir::{NodeId, NodeKind, TensorType, Value};
use ops::ops::chain::{Chain, Link};
use ops::{AnyOp, Graph, Meaning};

use crate::{CostModel, Error};

/// Links of a chain at most: an inverted bottleneck has three.
const MOST_LINKS: usize = 3;

/// The graph with chains where they are cheaper than their links, and how many there are.
pub fn chain(graph: Graph, cost: &dyn CostModel) -> Result<(Graph, usize), Error> {
    let mut chains: HashMap<NodeId, Vec<NodeId>> = HashMap::new();
    let mut seen = HashSet::new();
    for id in graph.order().into_iter().rev() {
        if seen.contains(&id) || !is_link(&graph, id) {
            continue;
        }
        let mut path = vec![id];
        while let Some(before) = before(&graph, path[path.len() - 1]).filter(|before| !seen.contains(before))
        {
            path.push(before);
        }
        seen.extend(path.iter().copied());
        path.reverse();
        for part in cheapest(&graph, &path, cost) {
            if let (Some(&last), true) = (part.last(), part.len() > 1) {
                chains.insert(last, part);
            }
        }
    }
    match chains.len() {
        0 => Ok((graph, 0)),
        count => Ok((with(&graph, &chains)?, count)),
    }
}

/// Whether a node is one fold over a feature map by rows.
fn is_link(graph: &Graph, id: NodeId) -> bool {
    let NodeKind::Apply(op) = &graph.node(id).kind else { return false };
    rows(op).is_some()
        && matches!(op.meaning(&types(graph, id)), Meaning::Compute(definition) if definition.stages.len() == 1)
}

/// The axis of the rows of an operator's feature maps.
fn rows(op: &AnyOp) -> Option<usize> {
    // Spatial axes of maps with two of them.
    op.layout().map(|layout| layout.axes(4).spatial(0))
}

fn types(graph: &Graph, id: NodeId) -> Vec<TensorType> {
    graph.types(&graph.operands(id))
}

/// The link whose result `id` alone reads, as its first operand.
fn before(graph: &Graph, id: NodeId) -> Option<NodeId> {
    let first = *graph.operands(id).first()?;
    let (NodeKind::Apply(op), NodeKind::Apply(reader)) = (&graph.node(first.node).kind, &graph.node(id).kind)
    else {
        return None;
    };
    let alone = graph.uses(first) == 1 && graph.outputs().iter().all(|(_, value)| *value != first);
    let maps = graph.ty(first).rank() == 4 && rows(op) == rows(reader);
    (alone && maps && is_link(graph, first.node)).then_some(first.node)
}

/// The path cut into parts of the least cost.
fn cheapest(graph: &Graph, path: &[NodeId], cost: &dyn CostModel) -> Vec<Vec<NodeId>> {
    // best[k]: of the first k nodes, the cost and the length of the last part.
    let mut best: Vec<(f64, usize)> = vec![(0.0, 0)];
    for end in 1..=path.len() {
        let parts = (1..=MOST_LINKS.min(end)).map(|len| {
            let (before, _) = best[end - len];
            (before + price(graph, &path[end - len..end], cost), len)
        });
        // The shortest of equals.
        let part = parts.reduce(|a, b| if b.0 < a.0 { b } else { a });
        best.extend(part);
    }
    let mut parts = Vec::new();
    let mut end = path.len();
    while end > 0 {
        let len = best[end].1.max(1);
        parts.push(path[end - len..end].to_vec());
        end -= len;
    }
    parts
}

fn price(graph: &Graph, part: &[NodeId], cost: &dyn CostModel) -> f64 {
    let (op, operands) = match part {
        [id] => match &graph.node(*id).kind {
            NodeKind::Apply(op) => (op.clone(), graph.operands(*id)),
            _ => return 0.0,
        },
        _ => joined(graph, part),
    };
    let inputs = graph.types(&operands);
    let results = &graph.node(part[part.len() - 1]).types;
    match op.infer(&inputs).as_ref() == Ok(results) {
        true => cost.cost(&op, &inputs, results),
        false => f64::INFINITY,
    }
}

/// The nodes as one operator, and its operands.
fn joined(graph: &Graph, part: &[NodeId]) -> (AnyOp, Vec<Value>) {
    let (mut links, mut operands, mut axis) = (Vec::new(), Vec::new(), 0);
    for (k, &id) in part.iter().enumerate() {
        let NodeKind::Apply(op) = &graph.node(id).kind else { continue };
        let own = graph.operands(id);
        axis = rows(op).unwrap_or(axis);
        links.push(Link { op: op.clone(), operands: own.len() });
        operands.extend(&own[usize::from(k > 0)..]);
    }
    (Chain { links, rows: axis }.into(), operands)
}

/// The graph with the nodes of each part as one, in the place of the last.
fn with(graph: &Graph, chains: &HashMap<NodeId, Vec<NodeId>>) -> Result<Graph, Error> {
    let inner: HashSet<NodeId> = chains.values().flat_map(|part| &part[..part.len() - 1]).copied().collect();
    let mut result = Graph::new(graph.name.clone());
    let mut values: HashMap<Value, Value> = HashMap::new();
    for &id in graph.inputs() {
        let node = graph.node(id);
        values.insert(Value { node: id, result: 0 }, result.input(node.name.clone(), node.types[0].clone()));
    }
    for id in graph.order() {
        let node = graph.node(id);
        match &node.kind {
            NodeKind::Input => (),
            NodeKind::Constant(tensor) => {
                let constant = result.constant(node.name.clone(), tensor.clone());
                values.insert(Value { node: id, result: 0 }, constant);
            }
            NodeKind::Apply(_) if inner.contains(&id) => (),
            NodeKind::Apply(op) => {
                let (op, operands, name) = match chains.get(&id) {
                    Some(part) => {
                        let (op, operands) = joined(graph, part);
                        let names: Vec<&str> = part.iter().map(|&id| graph.node(id).name.as_str()).collect();
                        (op, operands, names.join("+"))
                    }
                    None => (op.clone(), graph.operands(id), node.name.clone()),
                };
                let operands: Vec<Value> = operands.iter().map(|value| values[value]).collect();
                let results =
                    result.apply(name, op, &operands).map_err(|error| Error::internal(error.message))?;
                for (k, value) in results.into_iter().enumerate() {
                    values.insert(Value { node: id, result: k }, value);
                }
            }
        }
    }
    for (name, value) in graph.outputs() {
        result.output(name.clone(), values[value]);
    }
    Ok(result)
}
