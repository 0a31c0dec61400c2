//! The whole graph into one e-graph, and the chosen nodes back into a graph.

use std::collections::{BTreeSet, HashMap};

use egg::{Id, Language};
use ir::{NodeId, NodeKind, Tensor, Value};
use ops::{AnyOp, Graph};

use crate::extract::Extracted;
use crate::rule::is_view;
use crate::{EGraph, Error, Facts, Node};

/// An e-graph and where in it the graph's nodes are.
pub struct Entered {
    pub egraph: EGraph,
    /// The class of each output, in order.
    pub roots: Vec<Id>,
    /// The class of each node of the graph, with all its results.
    pub classes: HashMap<NodeId, Id>,
}

pub(crate) fn enter(graph: &Graph) -> Entered {
    let inputs = graph.inputs().iter().map(|&id| graph.node(id).types[0].clone()).collect();
    let mut egraph = EGraph::new(Facts::new(inputs));
    let mut classes: HashMap<NodeId, Id> = HashMap::new();
    for id in graph.order() {
        let node = match &graph.node(id).kind {
            NodeKind::Input => {
                Node::Input(graph.inputs().iter().position(|&input| input == id).unwrap_or_default())
            }
            NodeKind::Constant(tensor) => egraph.analysis.constant(tensor),
            NodeKind::Apply(op) => {
                let args = graph
                    .operands(id)
                    .iter()
                    .map(|&value| class_of(&mut egraph, graph, &classes, value))
                    .collect();
                Node::apply(op.clone(), args)
            }
        };
        let class = egraph.add(node);
        egraph[class].data.origins.insert(id.index());
        classes.insert(id, class);
    }
    let roots =
        graph.outputs().iter().map(|(_, value)| class_of(&mut egraph, graph, &classes, *value)).collect();
    egraph.rebuild();
    Entered { egraph, roots, classes }
}

fn class_of(egraph: &mut EGraph, graph: &Graph, classes: &HashMap<NodeId, Id>, value: Value) -> Id {
    let class = classes[&value.node];
    match graph.node(value.node).types.len() {
        1 => class,
        _ => egraph.add(Node::Proj(value.result, [class])),
    }
}

/// The chosen nodes as a graph with the interface of `original`.
///
/// `names` are those of [`names`].
pub(crate) fn leave(
    original: &Graph,
    entered: &Entered,
    extracted: &Extracted,
    names: &HashMap<Id, String>,
) -> Result<Graph, Error> {
    let egraph = &entered.egraph;
    let mut graph = Graph::new(original.name.clone());
    let mut values: HashMap<Id, Vec<Value>> = HashMap::new();
    let mut constants = Constants::new(egraph);
    let inputs: Vec<Value> = original
        .inputs()
        .iter()
        .map(|&id| {
            let node = original.node(id);
            graph.input(node.name.clone(), node.types[0].clone())
        })
        .collect();
    for (class, node) in &extracted.nodes {
        for &child in node.children() {
            constants.bring(original, &mut graph, &mut values, egraph.find(child));
        }
        let of = |child: &Id| values.get(&egraph.find(*child)).cloned().unwrap_or_default();
        let results = match node {
            Node::Input(k) => vec![inputs[*k]],
            Node::Constant(_) => continue,
            Node::Proj(k, [arg]) => of(arg).get(*k).copied().into_iter().collect(),
            Node::Apply(op, args) => {
                let operands: Vec<Value> = args.iter().filter_map(|arg| of(arg).first().copied()).collect();
                let name = names.get(class).cloned().unwrap_or_default();
                graph.apply(name, (**op).clone(), &operands).map_err(|err| Error::internal(err.message))?
            }
        };
        values.insert(*class, results);
    }
    for ((name, _), root) in original.outputs().iter().zip(&entered.roots) {
        let root = egraph.find(*root);
        constants.bring(original, &mut graph, &mut values, root);
        match values.get(&root).and_then(|results| results.first()) {
            Some(&value) => graph.output(name.clone(), value),
            None => return Err(Error::internal(format!("output `{name}` was lost"))),
        }
    }
    Ok(graph)
}

/// The names of the chosen nodes: of all original nodes that each stands for, in their order, joined by `+`.
///
/// An original node whose own class was not chosen is part of what was made of its users; and so is one that does work
/// where only a view of its result was. Views that rules brought in have no name.
pub(crate) fn names(original: &Graph, entered: &Entered, extracted: &Extracted) -> HashMap<Id, String> {
    let egraph = &entered.egraph;
    let order = original.order();
    let rank: HashMap<usize, usize> = order.iter().enumerate().map(|(rank, id)| (id.index(), rank)).collect();
    let mut chosen: HashMap<Id, BTreeSet<usize>> = HashMap::new();
    let mut covers: HashMap<usize, Vec<Id>> = HashMap::new();
    for (class, node) in &extracted.nodes {
        if node.op().is_some() {
            let origins = egraph[*class].data.origins.iter().filter_map(|origin| rank.get(origin).copied());
            let origins: BTreeSet<usize> = origins.collect();
            let stands_for =
                |origin: usize| is_work(&original.node(order[origin]).kind) <= is_work_node(node);
            let origins: BTreeSet<usize> = origins.into_iter().filter(|&origin| stands_for(origin)).collect();
            origins.iter().for_each(|&origin| covers.entry(origin).or_default().push(*class));
            chosen.insert(*class, origins);
        }
    }
    let mut users: HashMap<NodeId, Vec<usize>> = HashMap::new();
    for (rank, &id) in order.iter().enumerate() {
        original.operands(id).iter().for_each(|value| users.entry(value.node).or_default().push(rank));
    }
    // Users come later in the order: going backwards, theirs are known.
    for (rank, &id) in order.iter().enumerate().rev() {
        let applies = matches!(original.node(id).kind, NodeKind::Apply(_));
        if !applies || covers.contains_key(&rank) {
            continue;
        }
        let heirs: BTreeSet<Id> = users
            .get(&id)
            .into_iter()
            .flatten()
            .filter_map(|user| covers.get(user))
            .flatten()
            .copied()
            .collect();
        for heir in &heirs {
            chosen.entry(*heir).or_default().insert(rank);
        }
        covers.insert(rank, heirs.into_iter().collect());
    }
    let name = |origins: BTreeSet<usize>| {
        let mut names: Vec<&str> = Vec::new();
        for name in origins.into_iter().map(|rank| original.node(order[rank]).name.as_str()) {
            if !name.is_empty() && !names.contains(&name) {
                names.push(name);
            }
        }
        names.join("+")
    };
    chosen.into_iter().map(|(class, origins)| (class, name(origins))).collect()
}

fn is_work(kind: &NodeKind<AnyOp>) -> bool {
    matches!(kind, NodeKind::Apply(op) if !is_view(op))
}

fn is_work_node(node: &Node) -> bool {
    node.op().is_some_and(|(op, _)| !is_view(op))
}

/// Constant classes, evaluated where they are needed.
struct Constants<'a> {
    egraph: &'a EGraph,
    /// The node that each constant class is evaluated by: the one with the fewest operators below it.
    choices: HashMap<Id, usize>,
    known: HashMap<Id, Vec<Tensor>>,
}

impl<'a> Constants<'a> {
    fn new(egraph: &'a EGraph) -> Constants<'a> {
        let mut classes: Vec<Id> =
            egraph.classes().filter(|class| class.data.constant).map(|class| class.id).collect();
        classes.sort_unstable();
        let mut sizes: HashMap<Id, usize> = HashMap::new();
        let mut choices = HashMap::new();
        let mut grew = true;
        while std::mem::take(&mut grew) {
            for &class in &classes {
                for (number, node) in egraph[class].nodes.iter().enumerate() {
                    let below: Option<Vec<usize>> = node
                        .children()
                        .iter()
                        .map(|&child| sizes.get(&egraph.find(child)).copied())
                        .collect();
                    let Some(below) = below else { continue };
                    let size = below.iter().fold(1usize, |sum, size| sum.saturating_add(*size));
                    if sizes.get(&class).is_none_or(|known| size < *known) {
                        sizes.insert(class, size);
                        choices.insert(class, number);
                        grew = true;
                    }
                }
            }
        }
        Constants { egraph, choices, known: HashMap::new() }
    }

    /// Adds the value of `class` to `graph` if it is a constant and not there yet.
    fn bring(
        &mut self,
        original: &Graph,
        graph: &mut Graph,
        values: &mut HashMap<Id, Vec<Value>>,
        class: Id,
    ) {
        if !self.egraph[class].data.constant || values.contains_key(&class) {
            return;
        }
        let name = self.name(original, class);
        let tensors = self.evaluate(class);
        values
            .insert(class, tensors.into_iter().map(|tensor| graph.constant(name.clone(), tensor)).collect());
    }

    fn evaluate(&mut self, class: Id) -> Vec<Tensor> {
        let class = self.egraph.find(class);
        if let Some(known) = self.known.get(&class) {
            return known.clone();
        }
        let node = &self.egraph[class].nodes[self.choices.get(&class).copied().unwrap_or(0)];
        let args: Vec<Vec<Tensor>> = node.children().iter().map(|&child| self.evaluate(child)).collect();
        let results = match node {
            Node::Constant(k) => vec![self.egraph.analysis.constants[*k].clone()],
            Node::Proj(k, _) => vec![args[0][*k].clone()],
            Node::Apply(op, _) => op.eval(&args.iter().map(|arg| &arg[0]).collect::<Vec<_>>()),
            Node::Input(_) => unreachable!("{node:?} in a constant class"),
        };
        self.known.insert(class, results.clone());
        results
    }

    /// The name of the largest of the model's constants that the class is computed from.
    fn name(&self, original: &Graph, class: Id) -> String {
        let mut largest: Option<(usize, usize)> = None;
        let mut work = vec![class];
        let mut seen = BTreeSet::new();
        while let Some(class) = work.pop().map(|class| self.egraph.find(class)) {
            if !seen.insert(class) {
                continue;
            }
            let data = &self.egraph[class].data;
            let node = &self.egraph[class].nodes[self.choices.get(&class).copied().unwrap_or(0)];
            if let (Node::Constant(_), Some(&origin)) = (node, data.origins.first()) {
                let size = data.ty().elements();
                if largest.is_none_or(|(known, number)| (size, number) > (known, origin)) {
                    largest = Some((size, origin));
                }
            }
            work.extend(node.children());
        }
        let node = largest.and_then(|(_, origin)| original.get(NodeId::new(origin)));
        node.map(|node| node.name.clone()).unwrap_or_default()
    }
}
