//! The onnx room's findings as diagnostics.

use std::collections::BTreeMap;

use crate::diagnostic::{Diagnostic, Diagnostics, Finding, Kind};

/// All problems of a model: those with operators gathered under their code, the others each for itself.
pub fn diagnostics(problems: Vec<onnx::Problem>) -> Diagnostics {
    let mut all: Vec<Diagnostic> = Vec::new();
    let mut gathered: BTreeMap<(&'static str, Kind), usize> = BTreeMap::new();
    for problem in problems {
        let kind = match problem.kind {
            onnx::Kind::Usage => Kind::Usage,
            onnx::Kind::Invalid => Kind::InvalidModel,
            onnx::Kind::Unsupported => Kind::Unsupported,
        };
        let Some(operator) = problem.operator else {
            let mut diagnostic = Diagnostic::new(kind, problem.code, problem.message);
            diagnostic.nodes = problem.nodes;
            diagnostic.hint = problem.hint;
            all.push(diagnostic);
            continue;
        };
        let finding = Finding {
            operator: operator.op_type,
            domain: operator.domain,
            opset: operator.opset,
            nodes: problem.nodes,
            message: problem.message,
            hint: problem.hint,
        };
        let place = *gathered.entry((problem.code, kind)).or_insert_with(|| {
            all.push(Diagnostic::new(kind, problem.code, ""));
            all.len() - 1
        });
        all[place].findings.push(finding);
    }
    all.iter_mut().filter(|diagnostic| !diagnostic.findings.is_empty()).for_each(entitle);
    Diagnostics(all)
}

/// Says how many operators a gathered diagnostic is about.
fn entitle(diagnostic: &mut Diagnostic) {
    let nodes: usize = diagnostic.findings.iter().map(|finding| finding.nodes.len()).sum();
    let (uses, are) =
        if nodes == 1 { ("1 node of this model", "is") } else { ("nodes of this model", "are") };
    let uses = if nodes == 1 { uses.to_owned() } else { format!("{nodes} {uses}") };
    let what = if diagnostic.kind == Kind::Unsupported { "not supported" } else { "not valid" };
    diagnostic.message = format!("{uses} {are} {what}");
}
