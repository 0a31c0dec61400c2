//! `filetests/channels/*.graph`: a graph in; which channels were dropped, and the graph without them out. A comment
//! `// exact` takes nothing for granted.

use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};
use rewrite::ConstantChannels;
use rewrite::channels::{Eliminated, eliminate};
use tests::values::{compare, inputs};

/// One test per file.
pub fn trials(files: &[PathBuf]) -> Vec<Trial> {
    let trial = |path: &PathBuf| {
        let own = path.clone();
        Trial::test(crate::name(path), move || run(&own))
    };
    files.iter().map(trial).collect()
}

fn run(path: &Path) -> Result<(), Failed> {
    let source = fs::read_to_string(path)?;
    let exact = source.lines().any(|line| line == "// exact");
    let constants = if exact { ConstantChannels::Exact } else { ConstantChannels::default() };
    let graph: ops::Graph = ir::parse(&source).map_err(|err| format!("{}:{err}", path.display()))?;
    let eliminated = eliminate(&graph, constants, 1)?;
    if let Some(eliminated) = &eliminated {
        ir::verify(&eliminated.graph)?;
        for seed in 1..10 {
            let inputs = inputs(&graph, seed);
            let (before, after) = (ops::evaluate(&graph, &inputs), ops::evaluate(&eliminated.graph, &inputs));
            for ((a, b), (name, _)) in before.iter().zip(&after).zip(graph.outputs()) {
                compare(a, b, 0.0).map_err(|err| format!("output `{name}`: {err}"))?;
            }
        }
        // Once is enough.
        if let Some(again) = eliminate(&eliminated.graph, constants, 1)? {
            return Err(format!("the second time {:?} are dropped", again.dropped).into());
        }
    }
    crate::snapshot(path, &report(eliminated.as_ref()));
    Ok(())
}

fn report(eliminated: Option<&Eliminated>) -> String {
    let Some(eliminated) = eliminated else { return "==== nothing is dropped\n".to_owned() };
    let dropped = eliminated.dropped.iter().map(|node| {
        let (name, zero) = (&node.node, node.zero);
        let unread = node.channels - zero;
        format!("  {name}: {} of {} ({zero} always zero, {unread} never read)\n", node.channels, node.of)
    });
    let dropped: String = dropped.collect();
    format!("==== dropped, with {} MACs:\n{dropped}{}", eliminated.macs_saved, ir::print(&eliminated.graph))
}
