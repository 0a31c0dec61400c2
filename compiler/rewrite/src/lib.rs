//! Equality saturation: the whole graph in one e-graph, every form that the rules know of side by side, and the
//! cheapest of them taken out again.
//!
//! Only what is equal is ever united. The e-graph knows operators through `ops::AnyOp` alone: adding one changes
//! nothing here outside of `rules/`. Costs come from outside.

mod bridge;
mod chain;
pub mod channels;
mod cost;
mod extract;
mod first_match;
mod map;
mod node;
mod passed;
mod precision;
mod price;
mod rule;
pub mod rules;

use std::collections::BTreeSet;
use std::time::Duration;

pub use bridge::Entered;
pub use channels::{ConstantChannels, Dropped};
use cost::InLayout;
pub use cost::{CostModel, DefaultCost};
pub use extract::{Effort, Part, Way};
pub use node::{Class, Declined, Discriminant, Facts, Node};
pub use passed::Passed;
pub use precision::Precision;
pub use price::prices;
pub use rule::{Found, Rule, Site, Term};

use extract::Extracted;
use ops::Graph;
use ops::shape::Layout;

pub type EGraph = egg::EGraph<Node, Facts>;

/// How far to go. Limits are counts, never time: the same graph always gives the same result.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    pub strategy: Strategy,
    pub most_nodes: usize,
    pub most_iterations: usize,
    pub layout: LayoutChoice,
    /// Which channels are dropped as having no effect, before the rules run.
    pub channels: ConstantChannels,
    pub effort: Effort,
    /// What the operands of products are stored in; decided last, on the form that was taken.
    pub precision: Precision,
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

/// Where operators on feature maps keep their channels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LayoutChoice {
    /// Each operator where it is cheapest, conversions counted.
    #[default]
    Chosen,
    /// All in one layout, whatever the cost; for comparison.
    Fixed(Layout),
}

impl Default for Options {
    fn default() -> Options {
        Options {
            strategy: Strategy::default(),
            most_nodes: 20_000,
            most_iterations: 30,
            layout: LayoutChoice::default(),
            channels: ConstantChannels::default(),
            effort: Effort::default(),
            precision: Precision::default(),
        }
    }
}

/// What came of a graph.
#[derive(Debug, Clone)]
pub struct Optimized {
    pub graph: Graph,
    /// How often each rule said something new, in the order of first use.
    pub fired: Vec<(String, usize)>,
    /// The same, by the nodes that it was about.
    pub applied: Vec<Application>,
    /// What nearly applied and never did at those nodes.
    pub declined: Vec<Refusal>,
    /// Kernels that stand alone because one with their neighbour costs more.
    pub passed: Vec<Passed>,
    /// Channels that were dropped before the rules ran.
    pub dropped: Vec<Dropped>,
    /// Multiply-accumulates of one inference that this saves.
    pub macs_saved: u64,
    /// Chains of kernels that are computed row by row.
    pub chains: usize,
    /// Of the graph before and after, by the cost model: what several nodes use is paid once.
    pub cost_before: f64,
    pub cost: f64,
    /// Nodes and classes of the e-graph in the end.
    pub nodes: usize,
    pub classes: usize,
    /// Whether the rules had nothing new to say any more; otherwise a limit was met, and forms may be missing.
    pub complete: bool,
    /// The parts that extraction was cut into, and how each was solved; none unless forms were kept side by side.
    pub parts: Vec<Part>,
}

impl Optimized {
    /// Whether no cheaper graph is in the e-graph: every part was solved exactly.
    pub fn is_optimal(&self) -> bool {
        !self.parts.is_empty() && self.parts.iter().all(Part::is_optimal)
    }
}

/// A rule that said something new of some nodes of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    pub rule: &'static str,
    /// The names of the model's nodes it was about.
    pub nodes: Vec<String>,
    pub times: usize,
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
    let cost_before = prices(graph, cost).values().sum();
    let eliminated = match options.strategy {
        Strategy::Off => None,
        _ => channels::eliminate(graph, options.channels, cost.channels_at_once())?,
    };
    let (graph, dropped, macs_saved) = match &eliminated {
        Some(eliminated) => (&eliminated.graph, eliminated.dropped.clone(), eliminated.macs_saved),
        None => (graph, vec![], 0),
    };
    let (saturated, extracted) = match options.layout {
        LayoutChoice::Chosen => rewrite(graph, cost, options)?,
        LayoutChoice::Fixed(layout) => rewrite(graph, &InLayout { cost, layout }, options)?,
    };
    let entered = &saturated.entered;
    let names = bridge::names(graph, entered, &extracted);
    let optimized = bridge::leave(graph, entered, &extracted, &names)?;
    // What is stored narrow is read in chains as it is elsewhere.
    let stored = precision::store(optimized, options.precision, cost)?;
    let (chained, chains) = match options.strategy {
        Strategy::Saturate => chain::chain(stored, cost)?,
        Strategy::Off | Strategy::FirstMatch => (stored, 0),
    };
    Ok(Optimized {
        cost: prices(&chained, cost).values().sum(),
        graph: chained,
        applied: applications(graph, entered, &saturated.fired),
        declined: refusals(graph, entered),
        passed: passed::passed(&entered.egraph, &extracted, &names, cost),
        fired: saturated.fired,
        cost_before,
        dropped,
        macs_saved,
        chains,
        nodes: entered.egraph.total_size(),
        classes: entered.egraph.number_of_classes(),
        complete: saturated.complete,
        parts: extracted.parts,
    })
}

/// The nodes that a graph is to consist of, in the e-graph that they are taken from.
fn rewrite(graph: &Graph, cost: &dyn CostModel, options: &Options) -> Result<(Saturated, Extracted), Error> {
    let phases = rules::phases();
    match options.strategy {
        Strategy::Off => {
            let entered = saturate(graph, &[], options)?;
            let as_it_is = first_match::as_it_is(&entered.entered);
            Ok((entered, as_it_is))
        }
        Strategy::FirstMatch => {
            let rewritten = first_match::rewrite(graph, &phases, cost, options)?;
            let as_it_is = first_match::as_it_is(&rewritten.entered);
            Ok((rewritten, as_it_is))
        }
        Strategy::Saturate => {
            let mut saturated = saturate(graph, &phases, options)?;
            // Limits may have kept a form out that the rules reach on a straight way.
            first_match::rewrite(graph, &phases, cost, options)?.join(&mut saturated.entered);
            let Entered { egraph, roots, .. } = &saturated.entered;
            let extracted = extract::extract(egraph, roots, cost, &options.effort)
                .ok_or_else(|| Error::internal("an output has no form without a circle"))?;
            Ok((saturated, extracted))
        }
    }
}

/// All that the rules say about a graph.
pub struct Saturated {
    pub entered: Entered,
    pub fired: Vec<(String, usize)>,
    /// Whether no limit was met.
    pub complete: bool,
}

/// Runs each group of rules until it has nothing new to say, or a limit is met.
pub fn saturate(graph: &Graph, phases: &[Vec<Rule>], options: &Options) -> Result<Saturated, Error> {
    let mut entered = bridge::enter(graph);
    let mut fired: Vec<(String, usize)> = Vec::new();
    let mut complete = true;
    for rules in phases {
        let rewrites: Vec<egg::Rewrite<Node, Facts>> =
            rules.iter().map(|&rule| rule::rewrite(rule)).collect();
        let roots = entered.roots.clone();
        let find_idle = move |runner: &mut egg::Runner<Node, Facts>| {
            rule::find_idle(&mut runner.egraph, &roots);
            Ok(())
        };
        let runner = egg::Runner::<Node, Facts>::new(Facts::default())
            .with_egraph(entered.egraph)
            .with_scheduler(egg::SimpleScheduler)
            .with_node_limit(options.most_nodes)
            .with_iter_limit(options.most_iterations)
            .with_time_limit(Duration::MAX)
            .with_hook(find_idle)
            .run(&rewrites);
        complete &= matches!(runner.stop_reason, Some(egg::StopReason::Saturated));
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
        None => Ok(Saturated { entered, fired, complete }),
    }
}

/// In the order in which the rules were first used, then in that of the nodes.
fn applications(graph: &Graph, entered: &Entered, fired: &[(String, usize)]) -> Vec<Application> {
    let applied = &entered.egraph.analysis.applied;
    let of = |rule: &str| applied.iter().filter(move |((name, _), _)| *name == rule).collect::<Vec<_>>();
    let application = |((rule, nodes), times): (&(&'static str, BTreeSet<usize>), &usize)| Application {
        rule,
        nodes: node_names(graph, nodes),
        times: *times,
    };
    fired.iter().flat_map(|(rule, _)| of(rule)).map(application).collect()
}

/// What was declined once and found another time, in another order or form, is no loss.
fn refusals(graph: &Graph, entered: &Entered) -> Vec<Refusal> {
    let facts = &entered.egraph.analysis;
    let places = |(rule, nodes): &(&'static str, BTreeSet<usize>)| {
        let rule = *rule;
        nodes.iter().map(move |&node| (rule, node)).collect::<Vec<_>>()
    };
    let applied: BTreeSet<(&str, usize)> = facts.applied.keys().flat_map(places).collect();
    let lost =
        |declined: &&Declined| !declined.nodes.iter().any(|&node| applied.contains(&(declined.rule, node)));
    let refusal = |declined: &Declined| Refusal {
        rule: declined.rule,
        nodes: node_names(graph, &declined.nodes),
        reason: declined.reason.clone(),
    };
    facts.declined.iter().filter(lost).map(refusal).collect()
}

/// The names of nodes of the original graph, each once.
fn node_names(graph: &Graph, nodes: &BTreeSet<usize>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for node in nodes.iter().filter_map(|&node| graph.get(ir::NodeId::new(node))) {
        if !node.name.is_empty() && !names.contains(&node.name) {
            names.push(node.name.clone());
        }
    }
    names
}
