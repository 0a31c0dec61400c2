//! ONNX's own tests through the whole compiler: imported, rewritten, lowered, emitted for this machine, and the machine
//! code run in this process.
//!
//! A case that does not import must be in `onnx_node_unsupported.txt`, one that imports but that no machine code can be
//! had for in `onnx_node_declined.txt`. What the results say of each operator stands in `compiler/driver/support.json`
//! and `docs/operators.md`. `UPDATE=1` rewrites the last three.

mod results;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use ir::NodeKind;
use libtest_mimic::{Arguments, Failed, Trial};
use onnxc::{Kind, Model, Watch};
use results::{Outcome, Results};
use targets::Target;
use tests::onnx_cases::{Case, Declined, Prepared, cases, reason};

/// As the command gives itself: deep expressions are walked by recursion.
const STACK_BYTES: usize = 256 << 20;

struct Suite {
    target: Target,
    unsupported: Declined,
    declined: Declined,
    results: Mutex<Results>,
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let (cases, target) = match (cases(), Target::host()) {
        (Some(cases), Ok(target)) if target.triple.starts_with("x86_64") => (cases, target),
        _ => {
            let missing = "needs an x86-64 machine, and the Python package `onnx` or ONNX_NODE_TESTS";
            let trial = Trial::test(missing, || Ok(())).with_ignored_flag(true);
            return libtest_mimic::run(&arguments, vec![trial]).exit_code();
        }
    };
    let suite = Arc::new(Suite {
        target,
        unsupported: Declined::read("onnx_node_unsupported.txt"),
        declined: Declined::read("onnx_node_declined.txt"),
        results: Mutex::default(),
    });
    let trial = |case: Case| {
        let suite = Arc::clone(&suite);
        Trial::test(case.name.clone(), move || suite.check_on_a_deep_stack(&case))
    };
    let conclusion = libtest_mimic::run(&arguments, cases.into_iter().map(trial).collect());
    let results = suite.results.lock().unwrap_or_else(PoisonError::into_inner);
    println!("{results}, {} failed", conclusion.num_failed);
    if conclusion.num_filtered_out > 0 || conclusion.num_failed > 0 {
        return conclusion.exit_code();
    }
    suite.declined.finish();
    match results.publish() {
        Ok(()) => ExitCode::SUCCESS,
        Err(stale) => {
            eprintln!("{stale}");
            ExitCode::FAILURE
        }
    }
}

impl Suite {
    fn check_on_a_deep_stack(&self, case: &Case) -> Result<(), Failed> {
        std::thread::scope(|scope| {
            let builder = std::thread::Builder::new().stack_size(STACK_BYTES);
            let thread = builder.spawn_scoped(scope, || self.check(case))?;
            thread.join().unwrap_or_else(|_| Err("panicked".to_owned())).map_err(Failed::from)
        })
    }

    fn check(&self, case: &Case) -> Result<(), String> {
        let prepared = match case.import()? {
            Ok(prepared) => prepared,
            Err(problems) => {
                let reason = reason(&problems);
                let operator = problems.into_iter().find_map(|problem| problem.operator);
                self.unsupported.declines(case, &reason)?;
                return self.record(case, Outcome::Unsupported { reason, operator });
            }
        };
        self.unsupported.accepts(case)?;
        let Prepared { imported, inputs } = prepared;
        let computes = imported
            .graph
            .order()
            .iter()
            .any(|&id| matches!(imported.graph.node(id).kind, NodeKind::Apply(_)));
        let types = types(&imported.graph);
        let (model, options) = (Model { sha256: String::new() }, onnxc::Options::default());
        let compiled = onnxc::compile_graph(
            imported.graph,
            model,
            "model",
            &self.target,
            &options,
            &mut Watch::default(),
        );
        let artifact = match compiled {
            Ok(artifact) => artifact,
            Err(diagnostics) if diagnostics.0.iter().all(|one| one.kind == Kind::Unsupported) => {
                let reason =
                    diagnostics.0.iter().map(|one| one.message.as_str()).collect::<Vec<_>>().join("; ");
                let reason = reason.replace(&format!(" for target {}", self.target.name), "");
                self.declined.declines(case, &reason)?;
                return self.record(case, Outcome::Unsupported { reason, operator: None });
            }
            Err(diagnostics) => return Err(diagnostics.to_string()),
        };
        self.declined.accepts(case)?;
        let execution =
            onnxc::in_process(&artifact.object, &artifact.metadata, &inputs).map_err(|e| e.to_string())?;
        case.check(&artifact.reference, &execution.outputs)?;
        self.record(case, Outcome::Passed { folded: !computes, types })
    }

    fn record(&self, case: &Case, outcome: Outcome) -> Result<(), String> {
        let operators = onnx::inspect(&case.model()?).map_err(|problem| problem.to_string())?.operators;
        self.results.lock().unwrap_or_else(PoisonError::into_inner).record(&operators, outcome);
        Ok(())
    }
}

/// The element types of a graph's inputs and outputs.
fn types(graph: &ops::Graph) -> Vec<ir::DType> {
    let inputs = graph.inputs().iter().map(|&id| graph.node(id).types[0].dtype);
    inputs.chain(graph.outputs().iter().map(|(_, value)| graph.ty(*value).dtype)).collect()
}
