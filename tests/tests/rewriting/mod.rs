//! A graph in; which rules fired, which nearly did, and the graph that came of it out.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};
use ops::Graph;
use rewrite::{DefaultCost, Optimized, Options, optimize, rules, saturate};
use tests::classes::check_classes;
use tests::values::{compare, inputs};

pub fn trials(files: &[PathBuf]) -> Vec<Trial> {
    let of = |path: &PathBuf| {
        let path = path.clone();
        Trial::test(crate::name(&path), move || run(&path))
    };
    let all = files.to_vec();
    let complete = Trial::test("rewrite/every rule fires in some file", move || every_rule_fires(&all));
    files.iter().map(of).chain([complete]).collect()
}

fn run(path: &Path) -> Result<(), Failed> {
    let graph = read(path)?;
    let optimized = optimize(&graph, &DefaultCost::default(), &Options::default())?;
    ir::verify(&optimized.graph)?;
    let printed = ir::print(&optimized.graph);
    if ir::print(&ir::parse::<ops::AnyOp>(&printed)?) != printed {
        return Err("the result does not parse back to what was printed".into());
    }
    let saturated = saturate(&graph, &rules::phases(), &Options::default())?;
    for seed in 1..4 {
        check_classes(&saturated, &rules::all(), seed)?;
        same_outputs(&graph, &optimized, seed)?;
    }
    // Last, so that a wrong meaning fails before a changed text.
    crate::snapshot(path, &report(&optimized));
    Ok(())
}

fn read(path: &Path) -> Result<Graph, Failed> {
    let source = fs::read_to_string(path)?;
    ir::parse(&source).map_err(|err| format!("{}:{err}", path.display()).into())
}

fn same_outputs(graph: &Graph, optimized: &Optimized, seed: u64) -> Result<(), Failed> {
    let inputs = inputs(graph, seed);
    let (before, after) = (ops::evaluate(graph, &inputs), ops::evaluate(&optimized.graph, &inputs));
    for ((a, b), (name, _)) in before.iter().zip(&after).zip(graph.outputs()) {
        compare(a, b, 1e-5).map_err(|err| format!("output `{name}`: {err}"))?;
    }
    Ok(())
}

fn report(optimized: &Optimized) -> String {
    let fired: Vec<String> = optimized.fired.iter().map(|(rule, times)| format!("{rule} x{times}")).collect();
    let declined: Vec<String> = optimized
        .declined
        .iter()
        .map(|refusal| format!("  {} at {}: {}\n", refusal.rule, refusal.nodes.join(", "), refusal.reason))
        .collect();
    let fired = if fired.is_empty() { "nothing".to_owned() } else { fired.join(", ") };
    let mut text = format!("==== fired: {fired}\n{}", ir::print_elided(&optimized.graph));
    if !declined.is_empty() {
        text += &format!("==== declined\n{}", declined.concat());
    }
    text
}

fn every_rule_fires(files: &[PathBuf]) -> Result<(), Failed> {
    let mut silent: BTreeSet<&str> = rules::all().iter().map(|rule| rule.name).collect();
    for path in files {
        let saturated = saturate(&read(path)?, &rules::phases(), &Options::default())?;
        silent.retain(|rule| !saturated.fired.iter().any(|(name, _)| name == rule));
    }
    match silent.is_empty() {
        true => Ok(()),
        false => Err(format!("no file under filetests/rewrite makes these rules fire: {silent:?}").into()),
    }
}
