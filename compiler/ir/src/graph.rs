use petgraph::Direction;
use petgraph::stable_graph::{NodeIndex, StableDiGraph};
use petgraph::visit::EdgeRef;

use crate::{OpError, Tensor, TensorType};

/// What the graph needs of an operator; the operators themselves live in their own room.
pub trait Operator: Clone + std::fmt::Debug + PartialEq {
    /// The mnemonic in the textual IR.
    fn name(&self) -> &'static str;
    /// The attributes that differ from the operator's default, as a JSON object in field order.
    fn attributes(&self) -> serde_json::Map<String, serde_json::Value>;
    /// The inverse of `name` and `attributes`.
    fn parse(name: &str, attributes: serde_json::Map<String, serde_json::Value>) -> Result<Self, OpError>;
    /// Types of the results. The only place that judges an operator's inputs.
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError>;
}

pub type NodeId = NodeIndex<u32>;

/// One result of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value {
    pub node: NodeId,
    pub result: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub enum NodeKind<O> {
    Input,
    Constant(Tensor),
    Apply(O),
}

/// A node and the types of its results.
#[derive(Debug, Clone, PartialEq)]
pub struct Node<O> {
    pub kind: NodeKind<O>,
    pub types: Vec<TensorType>,
    /// The name in the model, for diagnostics and reports: an input's or initializer's own, or the names of the
    /// ONNX nodes this one came from, joined by `+`.
    pub name: String,
}

/// How an operand arrives: which result of the producer, at which place of the consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Operand {
    result: usize,
    place: usize,
}

/// A typed SSA graph. petgraph keeps the structure; node ids are stable under removal.
#[derive(Debug, Clone)]
pub struct Graph<O> {
    pub name: String,
    nodes: StableDiGraph<Node<O>, Operand>,
    inputs: Vec<NodeId>,
    outputs: Vec<(String, Value)>,
}

impl<O: Operator> Graph<O> {
    pub fn new(name: impl Into<String>) -> Graph<O> {
        Graph { name: name.into(), nodes: StableDiGraph::default(), inputs: Vec::new(), outputs: Vec::new() }
    }

    pub fn input(&mut self, name: impl Into<String>, ty: TensorType) -> Value {
        let node = self.nodes.add_node(Node { kind: NodeKind::Input, types: vec![ty], name: name.into() });
        self.inputs.push(node);
        Value { node, result: 0 }
    }

    pub fn constant(&mut self, name: impl Into<String>, tensor: Tensor) -> Value {
        let types = vec![tensor.ty.clone()];
        let node = self.nodes.add_node(Node { kind: NodeKind::Constant(tensor), types, name: name.into() });
        Value { node, result: 0 }
    }

    /// Adds `op` applied to `operands`; the operator's own `infer` says whether it may.
    pub fn apply(
        &mut self,
        name: impl Into<String>,
        op: O,
        operands: &[Value],
    ) -> Result<Vec<Value>, OpError> {
        let types = self.types(operands);
        let types = op.infer(&types)?;
        let results = types.len();
        let node = self.nodes.add_node(Node { kind: NodeKind::Apply(op), types, name: name.into() });
        for (place, value) in operands.iter().enumerate() {
            self.nodes.add_edge(value.node, node, Operand { result: value.result, place });
        }
        Ok((0..results).map(|result| Value { node, result }).collect())
    }

    pub fn output(&mut self, name: impl Into<String>, value: Value) {
        self.outputs.push((name.into(), value));
    }

    pub fn node(&self, id: NodeId) -> &Node<O> {
        &self.nodes[id]
    }

    /// As [`Graph::node`], for an id that may not be of this graph.
    pub fn get(&self, id: NodeId) -> Option<&Node<O>> {
        self.nodes.node_weight(id)
    }

    /// All nodes, by id.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.node_indices()
    }

    pub fn ty(&self, value: Value) -> &TensorType {
        &self.nodes[value.node].types[value.result]
    }

    /// The tensor behind `value`, if it is a constant node.
    pub fn constant_value(&self, value: Value) -> Option<&Tensor> {
        match &self.nodes[value.node].kind {
            NodeKind::Constant(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// The types of `values`, in their order.
    pub fn types(&self, values: &[Value]) -> Vec<TensorType> {
        values.iter().map(|&value| self.ty(value).clone()).collect()
    }

    /// The operands of `id`, in their order.
    pub fn operands(&self, id: NodeId) -> Vec<Value> {
        let mut operands: Vec<(usize, Value)> = self
            .nodes
            .edges_directed(id, Direction::Incoming)
            .map(|edge| (edge.weight().place, Value { node: edge.source(), result: edge.weight().result }))
            .collect();
        operands.sort_unstable_by_key(|(place, _)| *place);
        operands.into_iter().map(|(_, value)| value).collect()
    }

    /// How many operand places and graph outputs read `value`.
    pub fn uses(&self, value: Value) -> usize {
        let edges = self.nodes.edges_directed(value.node, Direction::Outgoing);
        edges.filter(|edge| edge.weight().result == value.result).count()
            + self.outputs.iter().filter(|(_, output)| *output == value).count()
    }

    pub fn inputs(&self) -> &[NodeId] {
        &self.inputs
    }

    pub fn outputs(&self) -> &[(String, Value)] {
        &self.outputs
    }

    /// All nodes, operands before their users, ties broken by id.
    pub fn order(&self) -> Vec<NodeId> {
        let mut waiting: std::collections::HashMap<NodeId, usize> =
            self.nodes.node_indices().map(|id| (id, self.operands(id).len())).collect();
        let mut ready: std::collections::BTreeSet<NodeId> =
            self.nodes.node_indices().filter(|id| waiting[id] == 0).collect();
        let mut order = Vec::with_capacity(self.nodes.node_count());
        while let Some(id) = ready.pop_first() {
            order.push(id);
            for edge in self.nodes.edges_directed(id, Direction::Outgoing) {
                if let Some(left) = waiting.get_mut(&edge.target()) {
                    *left -= 1;
                    if *left == 0 {
                        ready.insert(edge.target());
                    }
                }
            }
        }
        order
    }

    pub fn node_count(&self) -> usize {
        self.nodes.node_count()
    }

    /// Drops every node that no output needs; inputs stay, they are the interface.
    pub fn drop_dead(&mut self) {
        let mut live: std::collections::HashSet<NodeId> = self.inputs.iter().copied().collect();
        let mut work: Vec<NodeId> = self.outputs.iter().map(|(_, value)| value.node).collect();
        while let Some(id) = work.pop() {
            if live.insert(id) {
                work.extend(self.operands(id).iter().map(|value| value.node));
            }
        }
        self.nodes.retain_nodes(|_, id| live.contains(&id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, verify};

    /// The identity.
    #[derive(Debug, Clone, PartialEq)]
    struct Same;

    impl Operator for Same {
        fn name(&self) -> &'static str {
            "same"
        }
        fn attributes(&self) -> serde_json::Map<String, serde_json::Value> {
            serde_json::Map::new()
        }
        fn parse(_: &str, _: serde_json::Map<String, serde_json::Value>) -> Result<Same, OpError> {
            Ok(Same)
        }
        fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
            Ok(inputs.to_vec())
        }
    }

    fn chain() -> (Graph<Same>, Value, Value) {
        let mut graph = Graph::new("chain");
        let x = graph.input("x", TensorType::new(DType::F32, [2]));
        let y = graph.apply("y", Same, &[x]).unwrap()[0];
        graph.output("y", y);
        (graph, x, y)
    }

    fn complaint(graph: &Graph<Same>) -> String {
        verify(graph).unwrap_err().to_string()
    }

    #[test]
    fn a_sound_graph_verifies() {
        assert_eq!(verify(&chain().0), Ok(()));
    }

    #[test]
    fn the_verifier_finds_a_wrong_type() {
        let (mut graph, _, y) = chain();
        graph.nodes[y.node].types[0].dtype = DType::I8;
        assert!(complaint(&graph).starts_with("same `y` (node 1) is "), "{}", complaint(&graph));
    }

    #[test]
    fn the_verifier_finds_a_cycle() {
        let (mut graph, _, y) = chain();
        let z = graph.apply("z", Same, &[y]).unwrap()[0];
        graph.nodes.add_edge(z.node, y.node, Operand { result: 0, place: 1 });
        assert_eq!(complaint(&graph), "same `y` (node 1) is on a cycle");
    }

    #[test]
    fn the_verifier_finds_what_is_missing() {
        let (mut graph, x, y) = chain();
        graph.output("z", Value { node: y.node, result: 1 });
        assert_eq!(complaint(&graph), "output `z` is not there");
        let (mut graph, ..) = chain();
        graph.inputs.clear();
        assert_eq!(complaint(&graph), "input `x` (node 0) is an undeclared input");
        let (mut graph, ..) = chain();
        graph.nodes.remove_node(x.node);
        assert_eq!(complaint(&graph), "node `` (node 0) is declared as an input and is none");
    }
}
