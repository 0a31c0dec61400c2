//! Which names nodes read, and an order in which every name is given before it is read.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::proto::{GraphProto, NodeProto};

/// The names that `node` reads: its inputs, and what its subgraphs take from around them.
pub(crate) fn reads(node: &NodeProto) -> Vec<&str> {
    let mut names: Vec<&str> =
        node.input.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
    for attribute in &node.attribute {
        attribute.g.iter().for_each(|graph| names.extend(captures(graph)));
        attribute.graphs.iter().for_each(|graph| names.extend(captures(graph)));
    }
    names
}

fn captures(graph: &GraphProto) -> Vec<&str> {
    let inputs = graph.input.iter().map(|info| info.name.as_str());
    let initializers = graph.initializer.iter().map(|tensor| tensor.name.as_str());
    let outputs = graph.node.iter().flat_map(|node| node.output.iter().map(String::as_str));
    let own: HashSet<&str> = inputs.chain(initializers).chain(outputs).collect();
    let results = graph.output.iter().map(|info| info.name.as_str());
    graph.node.iter().flat_map(reads).chain(results).filter(|name| !own.contains(name)).collect()
}

/// Every name that somebody reads.
pub(crate) fn read_names<'m>(nodes: &'m [NodeProto], results: &[&'m str]) -> HashSet<&'m str> {
    nodes.iter().flat_map(reads).chain(results.iter().copied()).collect()
}

/// A body's nodes, those that give a name before those that read it, otherwise as in the file.
pub(crate) struct Order<'m> {
    pub nodes: Vec<&'m NodeProto>,
    /// Nodes that wait for each other, and those that wait for them.
    pub cyclic: Vec<&'m NodeProto>,
}

/// The standard asks for sorted nodes, but not every exporter heeds it.
pub(crate) fn order(nodes: &[NodeProto]) -> Order<'_> {
    let mut giver: HashMap<&str, usize> = HashMap::new();
    for (k, node) in nodes.iter().enumerate() {
        for name in node.output.iter().map(String::as_str).filter(|name| !name.is_empty()) {
            giver.entry(name).or_insert(k);
        }
    }

    let mut waits_for = vec![0usize; nodes.len()];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (k, node) in nodes.iter().enumerate() {
        for from in reads(node).into_iter().filter_map(|name| giver.get(name)) {
            waits_for[k] += 1;
            readers[*from].push(k);
        }
    }

    let mut ready: BTreeSet<usize> = (0..nodes.len()).filter(|&k| waits_for[k] == 0).collect();
    let mut ordered = Vec::with_capacity(nodes.len());
    while let Some(k) = ready.pop_first() {
        ordered.push(&nodes[k]);
        for &reader in &readers[k] {
            waits_for[reader] -= 1;
            if waits_for[reader] == 0 {
                ready.insert(reader);
            }
        }
    }
    let cyclic = (0..nodes.len()).filter(|&k| waits_for[k] > 0).map(|k| &nodes[k]).collect();
    Order { nodes: ordered, cyclic }
}
