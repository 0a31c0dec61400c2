use std::collections::BTreeMap;
use std::fmt;

use ops::OpKind;
use serde::Serialize;

use crate::table::table;
use crate::terminal::Report;

#[derive(Serialize)]
pub struct Operators {
    newest_opset: i64,
    operators: Vec<Operator>,
}

#[derive(Serialize)]
struct Operator {
    domain: String,
    name: String,
    /// The first opset whose form of the operator is read; all later ones are, too.
    since: i64,
}

/// `onnxc ops`: every ONNX operator that is read.
pub fn operators() -> Operators {
    let mut since: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for onnx in OpKind::ALL.iter().flat_map(|kind| kind.onnx()) {
        let domain = if onnx.domain.is_empty() { "ai.onnx" } else { onnx.domain };
        let oldest = since.entry((domain, onnx.op_type)).or_insert(onnx.since);
        *oldest = onnx.since.min(*oldest);
    }
    let operator = |((domain, name), since): ((&str, &str), i64)| Operator {
        domain: domain.to_owned(),
        name: name.to_owned(),
        since,
    };
    Operators { newest_opset: ops::NEWEST_OPSET, operators: since.into_iter().map(operator).collect() }
}

impl Report for Operators {}

impl fmt::Display for Operators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |op: &Operator| vec![op.name.clone(), op.domain.clone(), op.since.to_string()];
        let rows: Vec<Vec<String>> = self.operators.iter().map(row).collect();
        f.write_str(&table(&["operator", "domain", ">since opset"], &rows))?;
        writeln!(f, "\n{} operators, up to opset {}.", rows.len(), self.newest_opset)
    }
}
