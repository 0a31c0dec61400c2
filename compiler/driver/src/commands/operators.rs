use std::fmt;

use serde::Serialize;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::support::{Support, SupportedOperator};
use crate::table::table;
use crate::terminal::Report;

#[derive(Serialize)]
#[serde(transparent)]
pub struct Operators(Support);

/// `onnxc ops`: every ONNX operator that is read, and what ONNX's own tests say of it.
pub fn operators() -> Result<Operators, Diagnostics> {
    let broken = |error: serde_json::Error| Diagnostic::bug(format!("the table of operators: {error}"));
    Ok(Operators(Support::committed().map_err(broken)?))
}

impl Report for Operators {}

impl fmt::Display for Operators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Support { oldest_opset, newest_opset, operators, not_supported } = &self.0;
        let row = |op: &SupportedOperator| {
            let numbers = [op.since, op.passed as i64, op.declined as i64].map(|number| number.to_string());
            let mut row = vec![op.name.clone(), op.domain.clone()];
            row.extend(numbers);
            row.push(op.types.join(" "));
            row
        };
        let rows: Vec<Vec<String>> = operators.iter().map(row).collect();
        let heading = ["operator", "domain", ">since opset", ">passed", ">declined", "element types tested"];
        f.write_str(&table(&heading, &rows))?;
        writeln!(f, "\n{} operators of opsets {oldest_opset} to {newest_opset}.", rows.len())?;
        writeln!(
            f,
            "passed, declined: cases of ONNX's own tests that use the operator; why some are declined: --format json"
        )?;
        writeln!(
            f,
            "Not supported: {}",
            not_supported.iter().map(|op| op.name.as_str()).collect::<Vec<_>>().join(", ")
        )
    }
}
