//! What rewriting did to a graph, in words: the text of `--dump rewrite`. Each of its two graphs stands under comments
//! of the graph's own language.

use ir::NodeKind;
use ops::Graph;
use rewrite::{Dropped, Optimized, Way};

use crate::table::table;

/// The graph that was imported.
pub fn before(graph: &Graph, optimized: &Optimized) -> String {
    let about =
        format!("before: {} operators, {:.0} modelled cycles", operators(graph), optimized.cost_before);
    format!("// {about}\n{}", ir::print_elided(graph))
}

/// The graph that was taken out of the e-graph, and how it came about.
pub fn after(optimized: &Optimized) -> String {
    let Optimized { graph, fired, dropped, chains, nodes, classes, complete, cost, cost_before, .. } =
        optimized;
    let share = 100.0 * cost / cost_before.max(f64::MIN_POSITIVE);
    let count = operators(graph);
    let mut about = format!("after: {count} operators, {cost:.0} modelled cycles ({share:.1} %)\n");
    let end = if *complete { "all that the rules say" } else { "cut off at its limit: forms may be missing" };
    about += &format!("e-graph: {nodes} nodes in {classes} classes, {end}\n");
    about += &extraction(optimized);
    if *chains > 0 {
        about += &format!("chained row by row: {chains}\n");
    }
    let rows: Vec<Vec<String>> =
        fired.iter().map(|(rule, times)| vec![rule.clone(), times.to_string()]).collect();
    match rows.is_empty() {
        true => about += "no rule fired\n",
        false => about += &table(&["rule", ">times"], &rows),
    }
    let row = |node: &Dropped| {
        let counts = [node.channels, node.of, node.zero, node.channels - node.zero];
        let counts = counts.into_iter().map(|count| count.to_string());
        std::iter::once(node.node.clone()).chain(counts).collect()
    };
    let rows: Vec<Vec<String>> = dropped.iter().map(row).collect();
    if !rows.is_empty() {
        about += &table(&["channels dropped at", ">channels", ">of", ">always zero", ">never read"], &rows);
    }
    let comments: String = about.lines().map(|line| format!("// {line}\n")).collect();
    comments + &ir::print_elided(graph)
}

/// How good the chosen forms are among all that are known.
fn extraction(optimized: &Optimized) -> String {
    let parts = &optimized.parts;
    let Some(largest) = parts.iter().max_by_key(|part| part.choices) else { return String::new() };
    let proved = match optimized.is_optimal() {
        true => "optimal".to_owned(),
        false => {
            let over: f64 = parts.iter().map(|part| part.cost - part.lower_bound).sum();
            format!("at most {over:.0} over the optimum")
        }
    };
    let mut solved: Vec<String> = Vec::new();
    for (way, words) in [
        (Way::Forced, "without a choice"),
        (Way::Enumerated, "enumerated"),
        (Way::Solver, "by linear programs"),
        (Way::Greedy, "greedily"),
    ] {
        match parts.iter().filter(|part| part.way == way).count() {
            0 => (),
            count => solved.push(format!("{count} {words}")),
        }
    }
    format!(
        "taken out: {proved}; parts: {}; the largest with {} choices\n",
        solved.join(", "),
        largest.choices
    )
}

fn operators(graph: &Graph) -> usize {
    graph.ids().filter(|&id| matches!(graph.node(id).kind, NodeKind::Apply(_))).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::rewrite;

    #[test]
    fn both_texts_parse() {
        let text =
            "graph @g(%x: f32[8]) { %a \"a\\n// b\" = relu %x : f32[8] %b = neg %a : f32[8] return %b }";
        let graph: Graph = ir::parse(text).unwrap();
        let optimized =
            rewrite(&graph, &rewrite::DefaultCost::default(), &rewrite::Options::default()).unwrap();
        let again = |text: &str| ir::print(&ir::parse::<ops::AnyOp>(text).unwrap());
        assert_eq!(again(&before(&graph, &optimized)), ir::print(&graph));
        let after = after(&optimized);
        assert_eq!(again(&after), ir::print(&optimized.graph));
        assert!(after.contains("fuse-epilogue"), "{after}");
    }
}
