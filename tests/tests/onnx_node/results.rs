//! What the cases say of each operator: counted, and published as the compiler's own table and as documentation.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

use ir::DType;
use onnx::{Operator, SummaryOperator};
use onnxc::{Support, SupportedOperator, UnsupportedOperator};
use ops::OpKind;
use tests::onnx_cases::updating;

/// What came of a case that did not fail.
pub enum Outcome {
    /// The compiled code gives what it should; `folded` if nothing was left to compute when it runs.
    Passed {
        folded: bool,
        types: Vec<DType>,
    },
    Unsupported {
        reason: String,
        fault: Fault,
    },
}

/// Whose fault it is that a case is unsupported.
pub enum Fault {
    /// That of the model as a whole, for instance its opset.
    Model,
    Operator(Operator),
    /// That of the model's operator, if it has one alone.
    Unknown,
}

#[derive(Default)]
pub struct Results {
    passed: usize,
    folded: usize,
    unsupported: usize,
    /// By domain and name.
    operators: BTreeMap<(String, String), Record>,
}

#[derive(Default)]
struct Record {
    passed: usize,
    declined: usize,
    /// Cases whose model has the operator, whatever came of them.
    cases: usize,
    types: BTreeSet<DType>,
    limits: BTreeSet<String>,
}

impl Results {
    /// Takes note of a case whose model has `operators`.
    pub fn record(&mut self, operators: &[SummaryOperator], outcome: Outcome) {
        let key = |op: &SummaryOperator| (op.domain.clone(), op.op_type.clone());
        for op in operators {
            self.operators.entry(key(op)).or_default().cases += 1;
        }
        match outcome {
            Outcome::Passed { folded, types } => {
                self.passed += 1;
                self.folded += usize::from(folded);
                for op in operators {
                    let record = self.operators.entry(key(op)).or_default();
                    record.passed += 1;
                    if operators.len() == 1 {
                        record.types.extend(&types);
                    }
                }
            }
            Outcome::Unsupported { reason, fault } => {
                self.unsupported += 1;
                let culprit = match (fault, operators) {
                    (Fault::Operator(operator), _) => Some((operator.domain, operator.op_type)),
                    (Fault::Unknown, [only]) => Some(key(only)),
                    _ => None,
                };
                if let Some(culprit) = culprit {
                    let record = self.operators.entry(culprit).or_default();
                    record.declined += 1;
                    record.limits.insert(reason);
                }
            }
        }
    }

    /// Holds the committed table and documentation to these results, or rewrites them with `UPDATE=1`.
    ///
    /// # Errors
    /// Says which file is stale.
    pub fn publish(&self) -> Result<(), String> {
        let support = self.support();
        let json = serde_json::to_string_pretty(&support).map_err(|err| err.to_string())? + "\n";
        keep("compiler/driver/support.json", &json)?;
        keep("docs/operators.md", &document(&support, self))
    }

    fn support(&self) -> Support {
        // What operator files read, and what importing decides itself.
        let mut since: BTreeMap<(&str, &str), i64> = BTreeMap::from([(("", "If"), 1)]);
        for onnx in OpKind::ALL.iter().flat_map(|kind| kind.onnx()) {
            let oldest = since.entry((onnx.domain, onnx.op_type)).or_insert(onnx.since);
            *oldest = onnx.since.min(*oldest);
        }
        let long = |domain: &str| if domain.is_empty() { "ai.onnx".to_owned() } else { domain.to_owned() };
        let nothing = Record::default();
        let operators = since.iter().map(|(&(domain, name), &since)| {
            let (domain, name) = (long(domain), name.to_owned());
            let record = self.operators.get(&(domain.clone(), name.clone())).unwrap_or(&nothing);
            SupportedOperator {
                since: if domain == "ai.onnx" { since.max(onnx::OLDEST_OPSET) } else { since },
                passed: record.passed,
                declined: record.declined,
                types: record.types.iter().map(DType::to_string).collect(),
                limits: record.limits.iter().cloned().collect(),
                domain,
                name,
            }
        });
        let operators: Vec<SupportedOperator> = operators.collect();
        let read =
            |domain: &str, name: &str| operators.iter().any(|op| op.domain == domain && op.name == name);
        let others = self
            .operators
            .iter()
            .filter(|((domain, name), record)| !read(domain, name) && record.passed == 0);
        let not_supported = others
            .map(|((domain, name), record)| UnsupportedOperator {
                domain: domain.clone(),
                name: name.clone(),
                cases: record.cases,
            })
            .collect();
        let (oldest_opset, newest_opset) = (onnx::OLDEST_OPSET, ops::NEWEST_OPSET);
        Support { oldest_opset, newest_opset, operators, not_supported }
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Results { passed, folded, unsupported, .. } = self;
        write!(
            f,
            "{passed} passed ({folded} of them folded to constants), {unsupported} declared unsupported"
        )
    }
}

/// `text` must be the content of the repository's `file`.
fn keep(file: &str, text: &str) -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    if updating() {
        return fs::write(&path, text).map_err(|err| format!("{file}: {err}"));
    }
    match fs::read_to_string(&path) {
        Ok(committed) if committed == text => Ok(()),
        _ => Err(format!("{file} is not what the cases say; UPDATE=1 rewrites it")),
    }
}

fn document(support: &Support, results: &Results) -> String {
    let mut text = format!(
        "# Operators\n\n\
         Made from ONNX's own tests by `UPDATE=1 cargo test -p tests --test onnx_node`; `onnxc ops` prints the same.\n\n\
         Every case is imported, rewritten, lowered and emitted, and the machine code is run and held to the case's\n\
         outputs with ONNX's tolerances, integers exactly: {results}.\n\n\
         Opsets {} to {} of the standard domain are read.\n\n\
         - since: the first opset whose form of the operator is read; all later ones are, too.\n\
         - passed: cases whose model has the operator. declined: cases that are refused because of it.\n\
         - element types: those of inputs and outputs in passed cases that have this operator alone.\n\n\
         | operator | domain | since | passed | declined | element types |\n\
         |---|---|--:|--:|--:|---|\n",
        support.oldest_opset, support.newest_opset
    );
    for op in &support.operators {
        let SupportedOperator { domain, name, since, passed, declined, types, .. } = op;
        text += &format!("| {name} | {domain} | {since} | {passed} | {declined} | {} |\n", types.join(" "));
    }
    text += "\n## What is declined\n\n";
    for op in support.operators.iter().filter(|op| !op.limits.is_empty()) {
        text += &format!("- {}\n", op.name);
        for limit in &op.limits {
            text += &format!("  - {limit}\n");
        }
    }
    text +=
        "\n## Not supported\n\nOperators in ONNX's tests that are not read, with the number of cases.\n\n";
    for UnsupportedOperator { domain, name, cases } in &support.not_supported {
        text += &format!("- {name} ({domain}): {cases}\n");
    }
    text
}
