//! Rewriting as passes over the graph do it: the first rule that matches replaces what it matches.
//!
//! The e-graph serves as a table of nodes here. Nothing is ever united in it, so that each class is one node; a rule's
//! result is another class, which takes the place of the first wherever that is used.

use std::collections::{BTreeSet, HashMap, HashSet};

use egg::{Id, Language};

use crate::extract::Extracted;
use crate::node::Declined;
use crate::rule::{insert, is_view};
use crate::{CostModel, EGraph, Entered, Error, Found, Node, Options, Rule, Saturated, Site, bridge};

/// Runs each group of rules in passes over the graph, operands first, until none matches, or there were
/// `options.most_iterations` passes.
///
/// What a rule replaces must not stay for the sake of others when it costs work: a convolution with two users is not
/// computed once for each. Transposes and reshapes don't count as work, for they are on their way to where they vanish.
pub(crate) fn rewrite(
    graph: &ops::Graph,
    phases: &[Vec<Rule>],
    cost: &dyn CostModel,
    options: &Options,
) -> Result<Saturated, Error> {
    let mut entered = bridge::enter(graph);
    let mut fired: Vec<(String, usize)> = Vec::new();
    let mut complete = true;
    for rules in phases {
        let mut more = true;
        for _ in 0..options.most_iterations {
            let mut pass =
                Pass { egraph: &mut entered.egraph, cost, uses: HashMap::new(), fired: &mut fired };
            let became = pass.run(&entered.roots, rules);
            let now = |class: &Id| became.get(class).copied().unwrap_or(*class);
            let roots: Vec<Id> = entered.roots.iter().map(now).collect();
            entered.classes.values_mut().for_each(|class| *class = now(class));
            more = roots != entered.roots;
            entered.roots = roots;
            if !more {
                break;
            }
        }
        complete &= !more;
    }
    match &entered.egraph.analysis.broken {
        Some(message) => Err(Error::internal(message.clone())),
        None => Ok(Saturated { entered, fired, complete }),
    }
}

impl Saturated {
    /// What became of the nodes here becomes further forms of theirs in another e-graph of the same graph.
    pub(crate) fn join(&self, other: &mut Entered) {
        let from = &self.entered.egraph;
        let mut there: HashMap<Id, Id> = HashMap::new();
        for class in order(from, &self.entered.roots, true) {
            let node = match &from[class].nodes[0] {
                Node::Constant(number) => other.egraph.analysis.constant(&from.analysis.constants[*number]),
                node => node.clone().map_children(|child| there[&child]),
            };
            let same = other.egraph.add(node);
            other.egraph[same].data.origins.extend(&from[class].data.origins);
            there.insert(class, same);
        }
        let mut nodes: Vec<&ir::NodeId> = self.entered.classes.keys().collect();
        nodes.sort_unstable();
        let nodes = nodes.into_iter().map(|node| (other.classes[node], self.entered.classes[node]));
        let roots = other.roots.iter().copied().zip(self.entered.roots.iter().copied());
        for (class, became) in nodes.chain(roots).collect::<Vec<_>>() {
            // What others took in is not there any more.
            if let Some(&same) = there.get(&became) {
                other.egraph.union(class, same);
            }
        }
        other.egraph.rebuild();
    }
}

/// All nodes that the roots need, where each class has but one.
pub(crate) fn as_it_is(entered: &Entered) -> Extracted {
    let egraph = &entered.egraph;
    let node = |class: Id| (class, egraph[class].nodes[0].clone());
    Extracted { nodes: order(egraph, &entered.roots, false).into_iter().map(node).collect(), parts: vec![] }
}

/// The classes that the roots need, operands first; with constants and what those need, or without.
fn order(egraph: &EGraph, roots: &[Id], constants: bool) -> Vec<Id> {
    let is_part = |class: Id| constants || !egraph[class].data.constant;
    let mut seen = BTreeSet::new();
    let mut order = Vec::new();
    // Each entry: a class and how many of its operands have been visited.
    let mut way: Vec<(Id, usize)> = Vec::new();
    for &root in roots {
        if is_part(root) && seen.insert(root) {
            way.push((root, 0));
        }
        while let Some((class, visited)) = way.pop() {
            match egraph[class].nodes[0].children().get(visited) {
                None => order.push(class),
                Some(&child) => {
                    way.push((class, visited + 1));
                    if is_part(child) && seen.insert(child) {
                        way.push((child, 0));
                    }
                }
            }
        }
    }
    order
}

struct Pass<'a> {
    egraph: &'a mut EGraph,
    cost: &'a dyn CostModel,
    /// How often each class is used: by nodes that are used themselves, by nodes that the pass comes to yet, and as a
    /// root.
    uses: HashMap<Id, usize>,
    fired: &'a mut Vec<(String, usize)>,
}

impl Pass<'_> {
    /// Visits every node once; returns what became of them.
    fn run(&mut self, roots: &[Id], rules: &[Rule]) -> HashMap<Id, Id> {
        let order = order(self.egraph, roots, false);
        // What was replaced is still in the table, but uses nothing.
        let live: HashSet<Id> = order.iter().copied().collect();
        let idle = self.egraph.classes().map(|class| class.id).filter(|id| !live.contains(id)).collect();
        self.egraph.analysis.idle = idle;
        let mut waiting: HashMap<Id, usize> = HashMap::new();
        let users = order.iter().flat_map(|&class| self.egraph[class].nodes[0].children());
        users.chain(roots).for_each(|&class| *waiting.entry(class).or_default() += 1);
        let mut became: HashMap<Id, Id> = HashMap::new();
        let now = |became: &HashMap<Id, Id>, class: Id| became.get(&class).copied().unwrap_or(class);
        for class in order {
            let node = self.egraph[class].nodes[0].clone().map_children(|child| now(&became, child));
            let origins = self.egraph[class].data.origins.clone();
            let same = self.egraph.add(node.clone());
            self.egraph[same].data.origins.extend(origins);
            let times = waiting[&class];
            self.keep(same, times);
            node.children().iter().for_each(|&child| {
                self.drop(child, 1);
            });
            became.insert(class, self.settle(same, times, rules));
        }
        became
    }

    /// Replaces a class as long as a rule matches, without coming back to what it was.
    fn settle(&mut self, mut class: Id, times: usize, rules: &[Rule]) -> Id {
        let mut been = vec![class];
        'again: loop {
            for rule in rules {
                for other in self.ask(rule, class) {
                    if !been.contains(&other) && self.replace(class, other, times) {
                        self.count(rule, class);
                        been.push(other);
                        class = other;
                        continue 'again;
                    }
                }
            }
            return class;
        }
    }

    /// What else `class` is, says `rule`.
    fn ask(&mut self, rule: &Rule, class: Id) -> Vec<Id> {
        let mut found = Found::default();
        let data = &self.egraph[class].data;
        if data.constant {
            return vec![];
        }
        (rule.apply)(&Site { egraph: self.egraph, class, node: &self.egraph[class].nodes[0] }, &mut found);
        let (origins, types) = (data.origins.clone(), data.types.clone());
        for reason in found.declined {
            let declined = Declined { rule: rule.name, nodes: origins.clone(), reason };
            self.egraph.analysis.declined.insert(declined);
        }
        let mut others = Vec::new();
        for term in &found.equal {
            match insert(self.egraph, term, &origins) {
                Ok(other) if self.egraph[other].data.types == types => others.push(other),
                Ok(_) => {
                    let message = format!("rule {}: {types:?} is said to equal {term:?}", rule.name);
                    self.egraph.analysis.broken.get_or_insert(message);
                }
                Err(err) => {
                    self.egraph.analysis.broken.get_or_insert(format!("rule {}: {err}", rule.name));
                }
            }
        }
        others
    }

    /// Puts `other` in the place of `class`, unless that makes more work.
    fn replace(&mut self, class: Id, other: Id, times: usize) -> bool {
        let more = self.keep(other, times);
        let less = self.drop(class, times);
        let pays = more <= less * (1.0 + ROUNDING);
        if !pays {
            self.keep(class, times);
            self.drop(other, times);
        }
        pays
    }

    /// Uses `class` so many times more; returns the work that is newly used.
    fn keep(&mut self, class: Id, times: usize) -> f64 {
        let mut work = 0.0;
        let mut open = vec![(class, times)];
        while let Some((class, times)) = open.pop() {
            let uses = self.uses.entry(class).or_default();
            *uses += times;
            if *uses == times {
                work += self.work(class);
                open.extend(self.egraph[class].nodes[0].children().iter().map(|&child| (child, 1)));
            }
        }
        work
    }

    /// Uses `class` so many times less; returns the work that is not used any more.
    fn drop(&mut self, class: Id, times: usize) -> f64 {
        let mut work = 0.0;
        let mut open = vec![(class, times)];
        while let Some((class, times)) = open.pop() {
            let uses = self.uses.entry(class).or_default();
            *uses = uses.saturating_sub(times);
            if *uses == 0 {
                work += self.work(class);
                open.extend(self.egraph[class].nodes[0].children().iter().map(|&child| (child, 1)));
            }
        }
        work
    }

    fn work(&self, class: Id) -> f64 {
        let data = &self.egraph[class].data;
        match &self.egraph[class].nodes[0] {
            Node::Apply(op, args) if !data.constant && !is_view(op) => {
                let inputs: Vec<ir::TensorType> =
                    args.iter().map(|&arg| self.egraph[arg].data.ty().clone()).collect();
                self.cost.cost(op, &inputs, &data.types)
            }
            _ => 0.0,
        }
    }

    /// Notes that `rule` made `class` what it is.
    fn count(&mut self, rule: &Rule, class: Id) {
        let origins = self.egraph[class].data.origins.clone();
        *self.egraph.analysis.applied.entry((rule.name, origins)).or_default() += 1;
        match self.fired.iter_mut().find(|(name, _)| name == rule.name) {
            Some((_, sum)) => *sum += 1,
            None => self.fired.push((rule.name.to_owned(), 1)),
        }
    }
}

/// What costs of one thing may differ by.
const ROUNDING: f64 = 1e-9;
