//! What a graph costs, node by node.

use std::collections::BTreeMap;

use ir::{NodeId, NodeKind};
use ops::Graph;

use crate::CostModel;

/// The cost of every node of `graph` that runs on the device; what depends on constants alone does not.
pub fn prices(graph: &Graph, cost: &dyn CostModel) -> BTreeMap<NodeId, f64> {
    let mut prices = BTreeMap::new();
    for id in graph.order() {
        let NodeKind::Apply(op) = &graph.node(id).kind else { continue };
        let operands = graph.operands(id);
        let runs = |id: NodeId| match graph.node(id).kind {
            NodeKind::Input => true,
            NodeKind::Constant(_) => false,
            NodeKind::Apply(_) => prices.contains_key(&id),
        };
        if operands.iter().any(|operand| runs(operand.node)) {
            let inputs = graph.types(&operands);
            prices.insert(id, cost.cost(op, &inputs, &graph.node(id).types));
        }
    }
    prices
}
