//! ONNX's own tests against the reference evaluator. What does not import is listed, case by case, in
//! `onnx_node_unsupported.txt`; `UPDATE=1` rewrites the list.

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use tests::onnx_cases::{Case, Declined, cases, reason};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let Some(cases) = cases() else {
        let missing = "needs the Python package `onnx` or ONNX_NODE_TESTS";
        let trial = Trial::test(missing, || Ok(())).with_ignored_flag(true);
        return libtest_mimic::run(&arguments, vec![trial]).exit_code();
    };
    let unsupported = Arc::new(Declined::read("onnx_node_unsupported.txt"));
    let trial = |case: Case| {
        let unsupported = Arc::clone(&unsupported);
        Trial::test(case.name.clone(), move || check_case(&case, &unsupported))
    };
    let conclusion = libtest_mimic::run(&arguments, cases.into_iter().map(trial).collect());
    if conclusion.num_filtered_out == 0 {
        unsupported.finish();
    }
    conclusion.exit_code()
}

fn check_case(case: &Case, unsupported: &Declined) -> Result<(), Failed> {
    let prepared = match case.import()? {
        Ok(prepared) => prepared,
        Err(problems) => return Ok(unsupported.declines(case, &reason(&problems))?),
    };
    unsupported.accepts(case)?;
    let graph = &prepared.imported.graph;
    Ok(case.check(graph, &ops::evaluate(graph, &prepared.inputs))?)
}
