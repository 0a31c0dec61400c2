//! Forms that the rules found and extraction did not take, where it matters to people: a kernel of elementwise work
//! alone that could have been the end of the kernel before it.

use std::collections::{BTreeSet, HashMap};

use egg::{Id, Language};
use ir::TensorType;
use ops::AnyOp;

use crate::extract::Extracted;
use crate::map::Map;
use crate::rule::is_view;
use crate::{CostModel, EGraph, Node};

/// A kernel that stands alone although one with its neighbour is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Passed {
    /// The names of the kernel that stands alone, and of the one that it could end: those of nodes of the result.
    pub alone: String,
    pub into: String,
    /// Others that need the result of `into` as well, so that it would be computed once more.
    pub shared_with: Vec<String>,
    /// By how much the whole would cost more.
    pub dearer: f64,
}

/// All of them, in the order of the chosen nodes; `names` are those of the chosen nodes.
pub(crate) fn passed(
    egraph: &EGraph,
    extracted: &Extracted,
    names: &HashMap<Id, String>,
    cost: &dyn CostModel,
) -> Vec<Passed> {
    let chosen = Chosen::new(egraph, extracted, cost);
    let mut passed = Vec::new();
    for (class, node) in &extracted.nodes {
        let Some(best) = chosen.cheapest_end(*class, node) else { continue };
        let name = |class: &Id| names.get(class).cloned().unwrap_or_default();
        let others = chosen.users.get(&best.producer).into_iter().flatten().filter(|user| *user != class);
        passed.push(Passed {
            alone: name(class),
            into: name(&best.producer),
            shared_with: others.map(name).filter(|name| !name.is_empty()).collect(),
            dearer: best.dearer,
        });
    }
    passed
}

/// A form of a class that does the work of `producer` as well.
struct End {
    producer: Id,
    dearer: f64,
}

struct Chosen<'a> {
    egraph: &'a EGraph,
    cost: &'a dyn CostModel,
    nodes: HashMap<Id, &'a Node>,
    /// The chosen classes that read a class, in order.
    users: HashMap<Id, BTreeSet<Id>>,
}

impl<'a> Chosen<'a> {
    fn new(egraph: &'a EGraph, extracted: &'a Extracted, cost: &'a dyn CostModel) -> Chosen<'a> {
        let nodes: HashMap<Id, &Node> = extracted.nodes.iter().map(|(class, node)| (*class, node)).collect();
        let mut users: HashMap<Id, BTreeSet<Id>> = HashMap::new();
        for (class, node) in &extracted.nodes {
            for &child in node.children() {
                users.entry(egraph.find(child)).or_default().insert(*class);
            }
        }
        Chosen { egraph, cost, nodes, users }
    }

    /// The form of `class` that is one kernel with an operand of the elementwise `node`, where all that it needs is
    /// there anyway; the cheapest of them.
    fn cheapest_end(&self, class: Id, node: &Node) -> Option<End> {
        let (op, args) = node.op()?;
        if is_view(op) || Map::of(op, &self.types(args)).is_none() {
            return None;
        }
        let mut best: Option<End> = None;
        for form in &self.egraph[class].nodes {
            let Some((AnyOp::Fused(fused), form_args)) = form.op() else { continue };
            let form_args: Vec<Id> = form_args.iter().map(|&arg| self.egraph.find(arg)).collect();
            let there = |arg: &Id| self.nodes.contains_key(arg) || self.egraph[*arg].data.constant;
            let producer = args.iter().map(|&arg| self.egraph.find(arg)).find(|arg| {
                !form_args.contains(arg)
                    && self
                        .nodes
                        .get(arg)
                        .and_then(|node| node.op())
                        .is_some_and(|(op, _)| op.label() == fused.root.label())
            });
            let Some(producer) = producer.filter(|_| form_args.iter().all(there)) else { continue };
            let freed = match self.users.get(&producer) {
                Some(users) if users.len() > 1 => 0.0,
                _ => self.price(producer, self.nodes[&producer]),
            };
            let dearer = self.price(class, form) - self.price(class, node) - freed;
            if best.as_ref().is_none_or(|best| dearer < best.dearer) {
                best = Some(End { producer, dearer });
            }
        }
        best
    }

    fn price(&self, class: Id, node: &Node) -> f64 {
        node.op()
            .map_or(0.0, |(op, args)| self.cost.cost(op, &self.types(args), &self.egraph[class].data.types))
    }

    fn types(&self, args: &[Id]) -> Vec<TensorType> {
        args.iter().map(|&arg| self.egraph[arg].data.ty().clone()).collect()
    }
}
