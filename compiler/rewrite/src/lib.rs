//! Equality saturation: the whole graph in one e-graph, every form that the rules know of side by side, and the
//! cheapest of them taken out again.
//!
//! Only what is equal is ever united. The e-graph knows operators through `ops::AnyOp` alone: adding one changes
//! nothing here outside of `rules/`. Costs come from outside.

mod bridge;
mod cost;
mod extract;
mod first_match;
mod map;
mod node;
mod rule;
pub mod rules;

use std::time::Duration;

pub use bridge::Entered;
pub use cost::{CostModel, DefaultCost, modelled_cost};
pub use extract::{Effort, Part, Way};
pub use node::{Class, Declined, Discriminant, Facts, Node};
pub use rule::{Found, Rule, Site, Term};

use ops::Graph;

pub type EGraph = egg::EGraph<Node, Facts>;

/// How far to go. Limits are counts, never time: the same graph always gives the same result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    pub strategy: Strategy,
    pub most_nodes: usize,
    pub most_iterations: usize,
    pub effort: Effort,
}

/// What is done with the rules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Nothing: the graph stays as it is, constants folded.
    Off,
    /// The first rule that matches replaces what it matches, as a pass over the graph would; nothing is kept beside.
    FirstMatch,
    /// All forms that the rules know of side by side, and the cheapest of them taken.
    #[default]
    Saturate,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            strategy: Strategy::default(),
            most_nodes: 20_000,
            most_iterations: 30,
            effort: Effort::default(),
        }
    }
}

/// What came of a graph.
#[derive(Debug, Clone)]
pub struct Optimized {
    pub graph: Graph,
    /// How often each rule said something new, in the order of first use.
    pub fired: Vec<(String, usize)>,
    pub declined: Vec<Refusal>,
    /// Of the graph, by the cost model: what several nodes use is paid once.
    pub modelled_cost: f64,
    /// Nodes of the e-graph in the end.
    pub nodes: usize,
    /// The parts that extraction was cut into, and how each was solved; none unless forms were kept side by side.
    pub parts: Vec<Part>,
}

impl Optimized {
    /// Whether no cheaper graph is in the e-graph: every part was solved exactly.
    pub fn is_optimal(&self) -> bool {
        !self.parts.is_empty() && self.parts.iter().all(|part| part.is_optimal())
    }
}

/// A rule that nearly applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub rule: &'static str,
    /// The names of the model's nodes it was about.
    pub nodes: Vec<String>,
    pub reason: String,
}

/// A fault of this compiler, not of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub message: String,
}

impl Error {
    fn internal(message: impl Into<String>) -> Error {
        Error { message: message.into() }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rewriting: {}", self.message)
    }
}

impl std::error::Error for Error {}

/// The cheapest form of `graph` that the rules find.
///
/// Needs: a graph that verifies. Leaves: one with the same inputs and outputs, constants folded, nothing dead, and each
/// node under the names of the nodes that it stands for.
pub fn optimize(graph: &Graph, cost: &dyn CostModel, options: &Options) -> Result<Optimized, Error> {
    let (saturated, extracted) = match options.strategy {
        Strategy::Off => {
            let saturated = saturate(graph, &[], options)?;
            let extracted = first_match::as_it_is(&saturated.entered);
            (saturated, extracted)
        }
        Strategy::FirstMatch => {
            let saturated = first_match::rewrite(graph, &rules::phases(), cost, options)?;
            let extracted = first_match::as_it_is(&saturated.entered);
            (saturated, extracted)
        }
        Strategy::Saturate => {
            let saturated = saturate(graph, &rules::phases(), options)?;
            let entered = &saturated.entered;
            let extracted = extract::extract(&entered.egraph, &entered.roots, cost, &options.effort)
                .ok_or_else(|| Error::internal("an output has no form without a circle"))?;
            (saturated, extracted)
        }
    };
    let entered = &saturated.entered;
    let declined = entered.egraph.analysis.declined.iter().map(|declined| refusal(graph, declined)).collect();
    let optimized = bridge::leave(graph, entered, &extracted)?;
    Ok(Optimized {
        modelled_cost: modelled_cost(&optimized, cost),
        graph: optimized,
        fired: saturated.fired,
        declined,
        nodes: entered.egraph.total_size(),
        parts: extracted.parts,
    })
}

/// All that the rules say about a graph.
pub struct Saturated {
    pub entered: Entered,
    pub fired: Vec<(String, usize)>,
}

/// Runs each group of rules until it has nothing new to say, or a limit is met.
pub fn saturate(graph: &Graph, phases: &[Vec<Rule>], options: &Options) -> Result<Saturated, Error> {
    let mut entered = bridge::enter(graph);
    let mut fired: Vec<(String, usize)> = Vec::new();
    for rules in phases {
        let rewrites: Vec<egg::Rewrite<Node, Facts>> =
            rules.iter().map(|&rule| rule::rewrite(rule)).collect();
        let runner = egg::Runner::<Node, Facts>::new(Facts::default())
            .with_egraph(entered.egraph)
            .with_scheduler(egg::SimpleScheduler)
            .with_node_limit(options.most_nodes)
            .with_iter_limit(options.most_iterations)
            .with_time_limit(Duration::MAX)
            .run(&rewrites);
        for (rule, times) in runner.iterations.iter().flat_map(|iteration| &iteration.applied) {
            match fired.iter_mut().find(|(name, _)| name == rule.as_str()) {
                Some((_, sum)) => *sum += times,
                None => fired.push((rule.to_string(), *times)),
            }
        }
        entered.egraph = runner.egraph;
    }
    match &entered.egraph.analysis.broken {
        Some(message) => Err(Error::internal(message.clone())),
        None => Ok(Saturated { entered, fired }),
    }
}

fn refusal(graph: &Graph, declined: &Declined) -> Refusal {
    let name = |&node: &usize| graph.get(ir::NodeId::new(node)).map(|node| node.name.clone());
    let nodes = declined.nodes.iter().filter_map(name).filter(|name| !name.is_empty()).collect();
    Refusal { rule: declined.rule, nodes, reason: declined.reason.clone() }
}
