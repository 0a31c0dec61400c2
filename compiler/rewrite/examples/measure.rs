//! What rewriting makes of whole models, and what it takes:
//!
//!     cargo run --release -p rewrite --example measure -- [--list] [--dim=NAME=N ...] MODEL...
//!
//! `--list` counts operators by name and rules by how often they fired. A model that is a `.graph` is read as the text
//! form of a graph. `benches/models/bert.py` makes a large model.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use ir::NodeKind;
use ops::Graph;
use rewrite::{DefaultCost, Options, optimize};

fn main() {
    let mut failed = false;
    let mut listing = false;
    let mut pins = onnx::Options::default();
    for argument in std::env::args().skip(1) {
        if argument == "--list" {
            listing = true;
        } else if let Some((name, extent)) =
            argument.strip_prefix("--dim=").and_then(|dim| dim.split_once('='))
        {
            pins.dims.extend(extent.parse().map(|extent| (name.to_owned(), extent)));
        } else if let Err(message) = measure(Path::new(&argument), &pins, listing) {
            eprintln!("{argument}: {message}");
            failed = true;
        }
    }
    std::process::exit(failed.into());
}

fn measure(model: &Path, pins: &onnx::Options, listing: bool) -> Result<(), String> {
    let graph = read(model, pins)?;
    let before = peak_memory();
    let start = Instant::now();
    let optimized =
        optimize(&graph, &DefaultCost::default(), &Options::default()).map_err(|error| error.to_string())?;
    let seconds = start.elapsed().as_secs_f64();
    let operators = |graph: &Graph| count(graph).values().sum::<usize>();
    println!(
        "{}: {} operators to {}, {} e-nodes, {seconds:.2} s, cost {:.0}, peak {} MiB ({before} after import)",
        model.file_stem().unwrap_or_default().to_string_lossy(),
        operators(&graph),
        operators(&optimized.graph),
        optimized.nodes,
        optimized.cost,
        peak_memory(),
    );
    if listing {
        for (what, counts) in [("before", count(&graph)), ("after", count(&optimized.graph))] {
            let list: Vec<String> = counts.iter().map(|(op, times)| format!("{op} {times}")).collect();
            println!("  {what}: {}", list.join(", "));
        }
        let fired: Vec<String> =
            optimized.fired.iter().map(|(rule, times)| format!("{rule} {times}")).collect();
        println!("  fired: {}", fired.join(", "));
    }
    Ok(())
}

/// A model, or a graph in its text form.
fn read(model: &Path, pins: &onnx::Options) -> Result<Graph, String> {
    if model.extension().is_some_and(|extension| extension == "graph") {
        let text = std::fs::read_to_string(model).map_err(|error| error.to_string())?;
        return ir::parse(&text).map_err(|error| error.to_string());
    }
    let imported = onnx::import(model, pins).map_err(|problems| format!("{problems:?}"))?;
    Ok(imported.graph)
}

/// Operators by name; what is fused counts as its root.
fn count(graph: &Graph) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for id in graph.ids() {
        if let NodeKind::Apply(op) = &graph.node(id).kind {
            *counts.entry(op.label()).or_insert(0) += 1;
        }
    }
    counts
}

/// Of this process so far, in MiB; 0 where the system does not say.
fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()).and_then(|kb| kb.parse::<usize>().ok()).unwrap_or(0)
        / 1024
}
