use std::collections::BTreeMap;
use std::fmt;
use std::fs;

use serde::Serialize;

use crate::cli;
use crate::diagnostic::{Diagnostic, Diagnostics, code};
use crate::lower::lower;
use crate::macs::macs;
use crate::problems;
use crate::table::{grouped, table};
use crate::terminal::Report;

#[derive(Serialize)]
pub struct Checked {
    model: String,
    ir_version: i64,
    producer: String,
    opsets: BTreeMap<String, i64>,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    parameters: u64,
    /// Of one inference; unknown if the model cannot be imported.
    macs: Option<u64>,
    /// Those that `compile` leaves out, because they belong to channels without effect.
    macs_without_effect: Option<u64>,
    operators: Vec<Operator>,
    target: String,
    /// Whether `compile` will take it.
    compiles: bool,
    exit_code: u8,
    diagnostics: Vec<Diagnostic>,
}

/// An input or output: as it is declared, and pinned if it could be.
#[derive(Serialize)]
struct Tensor {
    name: String,
    kind: String,
    declared: Option<Vec<String>>,
    pinned: Option<Vec<usize>>,
}

#[derive(Serialize)]
struct Operator {
    domain: String,
    name: String,
    nodes: usize,
    supported: bool,
}

/// `onnxc check`: what a model is, and everything that keeps it from being compiled.
pub fn check(arguments: &cli::Check) -> Result<Checked, Diagnostics> {
    let target = arguments.target.resolve()?;
    let path = &arguments.model.model;
    let bytes = fs::read(path).map_err(|error| {
        Diagnostic::usage(code::CANNOT_READ, format!("cannot read `{}`: {error}", path.display()))
    })?;
    let summary = onnx::inspect(&bytes).map_err(|problem| problems::diagnostics(vec![problem]))?;
    let imported = onnx::import(path, &arguments.model.pins.options()).map_err(problems::diagnostics);
    let problems = match &imported {
        Ok(imported) => match lower(&imported.graph, &target, "check") {
            Ok(_) => Diagnostics(vec![]),
            Err(error) => crate::compile::declined(&error, &target).into(),
        },
        Err(diagnostics) => diagnostics.clone(),
    };
    let pinned = |name: &str, ports: &[onnx::Port]| {
        ports.iter().find(|port| port.name == name).map(|port| port.ty.shape.clone())
    };
    let tensor = |port: onnx::SummaryPort, ports: Option<&Vec<onnx::Port>>| Tensor {
        pinned: ports.and_then(|ports| pinned(&port.name, ports)),
        name: port.name,
        kind: port.kind,
        declared: port.shape,
    };
    let known = imported.as_ref().ok();
    let macs_without_effect = known.map(|imported| without_effect(&imported.graph)).transpose()?;
    let operator = |op: onnx::SummaryOperator| Operator {
        domain: op.domain,
        name: op.op_type,
        nodes: op.nodes,
        supported: op.supported,
    };
    Ok(Checked {
        model: path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        ir_version: summary.ir_version,
        producer: summary.producer,
        opsets: summary.opsets.into_iter().collect(),
        inputs: summary.inputs.into_iter().map(|port| tensor(port, known.map(|i| &i.inputs))).collect(),
        outputs: summary.outputs.into_iter().map(|port| tensor(port, known.map(|i| &i.outputs))).collect(),
        parameters: summary.parameters,
        macs: known.map(|imported| macs(&imported.graph)),
        macs_without_effect,
        operators: summary.operators.into_iter().map(operator).collect(),
        target: target.name,
        compiles: problems.0.is_empty(),
        exit_code: if problems.0.is_empty() { 0 } else { problems.exit_code() },
        diagnostics: problems.0,
    })
}

/// Multiply-accumulates of channels without effect, of which a target may keep some.
fn without_effect(graph: &ops::Graph) -> Result<u64, Diagnostic> {
    match rewrite::channels::eliminate(graph, rewrite::ConstantChannels::default(), 1) {
        Ok(eliminated) => Ok(eliminated.map_or(0, |eliminated| eliminated.macs_saved)),
        Err(error) => Err(Diagnostic::bug(error.to_string())),
    }
}

impl Report for Checked {
    fn exit_code(&self) -> u8 {
        self.exit_code
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let opsets: Vec<String> =
            self.opsets.iter().map(|(domain, version)| format!("{domain} v{version}")).collect();
        let producer = if self.producer.is_empty() { "an unnamed exporter" } else { &self.producer };
        writeln!(
            f,
            "{}: {}, IR version {}, by {producer}\n",
            self.model,
            opsets.join(", "),
            self.ir_version
        )?;
        let row = |way: &str, tensor: &Tensor| {
            let declared =
                tensor.declared.as_ref().map_or("open".to_owned(), |dims| format!("[{}]", dims.join(", ")));
            let pinned = tensor.pinned.as_ref().map(|dims| {
                format!("[{}]", dims.iter().map(usize::to_string).collect::<Vec<_>>().join(", "))
            });
            let shape = match pinned {
                Some(pinned) if pinned != declared => format!("{declared} = {pinned}"),
                _ => declared,
            };
            vec![way.to_owned(), tensor.name.clone(), tensor.kind.clone(), shape]
        };
        let mut rows: Vec<Vec<String>> = self.inputs.iter().map(|tensor| row("input", tensor)).collect();
        rows.extend(self.outputs.iter().map(|tensor| row("output", tensor)));
        f.write_str(&table(&["", "name", "type", "shape"], &rows))?;
        let mut macs = self.macs.map_or("unknown".to_owned(), grouped);
        if let Some(without_effect) = self.macs_without_effect.filter(|&macs| macs > 0) {
            macs += &format!(", {} of them of channels without effect", grouped(without_effect));
        }
        writeln!(f, "\n  parameters  {}\n  MACs        {macs}\n", grouped(self.parameters))?;
        let row = |op: &Operator| {
            let mark = if op.supported { "✓" } else { "✗" };
            vec![mark.to_owned(), op.name.clone(), op.domain.clone(), op.nodes.to_string()]
        };
        let rows: Vec<Vec<String>> = self.operators.iter().map(row).collect();
        f.write_str(&table(&["", "operator", "domain", ">nodes"], &rows))?;
        writeln!(f)?;
        self.diagnostics.iter().try_for_each(|diagnostic| write!(f, "{diagnostic}"))?;
        match self.compiles {
            true => writeln!(f, "it compiles for {}", self.target),
            false => writeln!(f, "it does not compile for {}", self.target),
        }
    }
}
