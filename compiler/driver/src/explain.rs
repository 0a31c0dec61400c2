//! What became of a model's nodes: the kernels that they ended in, and what else could have been.

use std::collections::{BTreeMap, HashSet};

use ir::{NodeId, NodeKind};
use ops::Graph;
use ops::shape::Layout;
use rewrite::{CostModel, Optimized, Passed};
use serde::Serialize;

use crate::lower::Lowered;

/// A node of the rewritten graph that is computed by one or several kernels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Kernel {
    /// Of the rewritten graph.
    #[serde(skip)]
    pub node: NodeId,
    /// The ONNX nodes that it computes, in their order; none for what was put between them.
    pub nodes: Vec<String>,
    /// Of a kernel without nodes: those that it is for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub serves: Vec<String>,
    pub op: String,
    /// Of the feature maps that it reads and writes, if it does.
    pub layout: Option<String>,
    /// By the cost model that extraction went by; and its share of all kernels' cost.
    pub cost: f64,
    pub share: f64,
    pub macs: u64,
    /// Read and written, weights included.
    pub bytes: usize,
    pub weights_bytes: usize,
    /// Of its functions: one per stage that is run, and per copy that it takes to bring its elements to their place.
    pub symbols: Vec<String>,
    /// Of its functions, those whose schedules are records', found by tuning.
    pub recorded: usize,
    /// Why elements are moved that were computed already.
    pub copies: Vec<String>,
    pub apart: Option<Apart>,
}

/// Why elementwise work is not done at the end of the kernel before it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Apart {
    /// The nodes of that kernel.
    pub from: Vec<String>,
    /// Those of others that need its result, so that it would be computed again.
    pub shared_with: Vec<Vec<String>>,
    /// By how much the whole would cost more.
    pub dearer: f64,
}

/// A reason for which a rule did not apply, and everything that it was about.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Refusals {
    pub rule: String,
    pub reason: String,
    pub nodes: Vec<String>,
}

/// A rule that said something new.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Applied {
    pub rule: String,
    pub times: usize,
}

/// Names that stand joined by `+` in reports; they may hold that sign themselves.
pub struct Names<'a>(HashSet<&'a str>);

impl<'a> Names<'a> {
    /// Of all nodes that there are.
    pub fn new(names: impl IntoIterator<Item = &'a str>) -> Names<'a> {
        Names(names.into_iter().collect())
    }

    /// Taken apart, each as long as it can be.
    pub fn split(&self, joined: &str) -> Vec<String> {
        let pieces: Vec<&str> = joined.split('+').filter(|_| !joined.is_empty()).collect();
        let mut names = Vec::new();
        let mut start = 0;
        while start < pieces.len() {
            let known = |&end: &usize| self.0.contains(pieces[start..end].join("+").as_str());
            let end = (start + 1..=pieces.len()).rev().find(known).unwrap_or(start + 1);
            names.push(pieces[start..end].join("+"));
            start = end;
        }
        names
    }
}

impl Kernel {
    /// What it is about, in a line.
    pub fn subject(&self) -> String {
        match self.nodes.is_empty() {
            true => format!("(for {})", self.serves.join(" + ")),
            false => self.nodes.join(" + "),
        }
    }
}

/// Every kernel in the order in which they run.
pub fn kernels(optimized: &Optimized, lowered: &Lowered, cost: &dyn CostModel, names: &Names) -> Vec<Kernel> {
    let graph = &optimized.graph;
    let prices = rewrite::prices(graph, cost);
    let all: f64 = prices.values().sum();
    let mut kernels: Vec<Kernel> = Vec::new();
    for report in &lowered.kernels {
        let known = kernels.iter().position(|kernel| kernel.node == report.node);
        let at = known.unwrap_or_else(|| {
            let cost = prices.get(&report.node).copied().unwrap_or(0.0);
            kernels.push(Kernel {
                node: report.node,
                nodes: names.split(&report.nodes),
                serves: if report.nodes.is_empty() { served(graph, report.node, names) } else { vec![] },
                op: report.op.clone(),
                layout: layout(optimized, report.node).map(|layout| layout.to_string()),
                cost,
                share: cost / all.max(f64::MIN_POSITIVE),
                macs: 0,
                bytes: 0,
                weights_bytes: 0,
                symbols: vec![],
                recorded: 0,
                copies: vec![],
                apart: apart(optimized, &report.nodes, names),
            });
            kernels.len() - 1
        });
        let kernel = &mut kernels[at];
        kernel.macs += report.macs;
        kernel.bytes += report.bytes;
        kernel.weights_bytes += report.weights_bytes;
        kernel.symbols.push(report.symbol.clone());
        kernel.recorded += usize::from(report.chosen == schedule::Chosen::Record);
        kernel.copies.extend(report.copies.map(str::to_owned));
    }
    kernels
}

/// The nearest ONNX nodes that `node` is computed for.
fn served(graph: &Graph, node: NodeId, names: &Names) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen = HashSet::from([node]);
    for id in graph.order() {
        if graph.operands(id).iter().any(|value| seen.contains(&value.node)) {
            match graph.node(id).name.as_str() {
                "" => _ = seen.insert(id),
                name => found.extend(names.split(name)),
            }
        }
    }
    found
}

fn layout(optimized: &Optimized, node: NodeId) -> Option<Layout> {
    match &optimized.graph.node(node).kind {
        NodeKind::Apply(op) => op.layout(),
        _ => None,
    }
}

fn apart(optimized: &Optimized, name: &str, names: &Names) -> Option<Apart> {
    let passed = optimized.passed.iter().find(|passed| passed.alone == name && !name.is_empty())?;
    let Passed { into, shared_with, dearer, .. } = passed;
    Some(Apart {
        from: names.split(into),
        shared_with: shared_with.iter().map(|name| names.split(name)).collect(),
        dearer: *dearer,
    })
}

/// What was declined, by rule and reason; of the node `name` alone if there is one.
pub fn refusals(optimized: &Optimized, name: Option<&str>) -> Vec<Refusals> {
    let mut grouped: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for refusal in &optimized.declined {
        if name.is_none_or(|name| refusal.nodes.iter().any(|node| node == name)) {
            let nodes = grouped.entry((refusal.rule, &refusal.reason)).or_default();
            let new: Vec<String> =
                refusal.nodes.iter().filter(|node| !nodes.contains(node)).cloned().collect();
            nodes.extend(new);
        }
    }
    let refusals = |((rule, reason), nodes): ((&str, &str), Vec<String>)| Refusals {
        rule: rule.to_owned(),
        reason: reason.to_owned(),
        nodes,
    };
    grouped.into_iter().map(refusals).collect()
}

/// The rules that said something new of the node `name`, in the order of their first use.
pub fn applied(optimized: &Optimized, name: &str) -> Vec<Applied> {
    let mut rules: Vec<Applied> = Vec::new();
    for application in
        optimized.applied.iter().filter(|applied| applied.nodes.iter().any(|node| node == name))
    {
        match rules.iter_mut().find(|known| known.rule == application.rule) {
            Some(known) => known.times += application.times,
            None => rules.push(Applied { rule: application.rule.to_owned(), times: application.times }),
        }
    }
    rules
}

/// The names that `wrong` may have meant, the likeliest first.
pub fn near<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    const MOST: usize = 5;
    const ALIKE: f64 = 0.6;
    let small = wrong.to_lowercase();
    let score = |name: &'a str| {
        let lower = name.to_lowercase();
        let part = if !small.is_empty() && lower.contains(&small) { 1.0 } else { 0.0 };
        (part + strsim::normalized_damerau_levenshtein(&small, &lower), name)
    };
    let mut scored: Vec<(f64, &str)> =
        names.into_iter().map(score).filter(|(score, _)| *score >= ALIKE).collect();
    scored.sort_by(|(a, first), (b, second)| b.total_cmp(a).then(first.cmp(second)));
    scored.dedup();
    scored.into_iter().take(MOST).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_names_are_taken_apart_where_they_were_joined() {
        let names = Names::new(["a", "b", "a+b", "c"]);
        assert_eq!(names.split("c+a+b"), ["c", "a+b"]);
        assert_eq!(names.split("a+c+b"), ["a", "c", "b"]);
        assert_eq!(names.split("unknown+c"), ["unknown", "c"]);
        assert_eq!(names.split(""), Vec::<String>::new());
    }

    #[test]
    fn near_names_are_those_that_contain_it_or_look_like_it() {
        let names = ["/layer1/Conv", "/layer1/Relu", "/layer10/Conv", "Softmax"];
        assert_eq!(near("relu", names), ["/layer1/Relu"]);
        assert_eq!(near("/layer1/conv", names), ["/layer1/Conv", "/layer10/Conv", "/layer1/Relu"]);
        assert_eq!(near("xyz", names), Vec::<&str>::new());
    }
}
