use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use ir::NodeKind;
use ops::Graph;
use rewrite::Optimized;
use serde::Serialize;

use crate::cli;
use crate::compile::{self, Options};
use crate::cost::TargetCost;
use crate::diagnostic::{Diagnostic, Diagnostics, code};
use crate::explain::{self, Applied, Kernel, Names, Refusals};
use crate::lower::{Transposes, lower_with};
use crate::metadata::Dropped;
use crate::picture::Picture;
use crate::table::{bytes, grouped, table};
use crate::terminal::{Progress, Report};
use crate::{problems, records};

#[derive(Serialize)]
pub struct Explained {
    model: String,
    target: String,
    cost_before: f64,
    cost: f64,
    /// Whether the rules said all that they have to say, before a limit was met.
    complete: bool,
    /// Whether of all forms that are known the cheapest were taken, and that is proved.
    optimal: bool,
    /// All of them, or those of the node.
    kernels: Vec<Kernel>,
    /// Everything that was declined, or what was at the node.
    declined: Vec<Refusals>,
    /// Channels without effect, everywhere or at the node.
    dropped: Vec<Dropped>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<Node>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Diagnostic>,
    /// The file that was drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    picture: Option<PathBuf>,
}

#[derive(Serialize)]
struct Node {
    name: String,
    op_type: Option<String>,
    /// Where it is, if it is in no kernel.
    gone: Option<&'static str>,
    applied: Vec<Applied>,
    /// Of its channels those that are not computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<Dropped>,
}

/// `onnxc explain`: what became of a model's nodes, or of one of them.
pub fn explain(arguments: &cli::Explain) -> Result<Explained, Diagnostics> {
    let target = arguments.rewriting.allowed(arguments.target.resolve()?);
    let path = &arguments.model.model;
    let pins = arguments.model.pins.options();
    let file = fs::read(path).map_err(|error| {
        Diagnostic::usage(code::CANNOT_READ, format!("cannot read `{}`: {error}", path.display()))
    })?;
    let written = onnx::inspect(&file).map_err(|problem| problems::diagnostics(vec![problem]))?.nodes;
    let progress = Progress::start();
    progress.say("import");
    let imported = onnx::import(path, &pins).map_err(problems::diagnostics)?.graph;
    let in_graph = imported.ids().filter(|&id| matches!(imported.node(id).kind, NodeKind::Apply(_)));
    let in_graph = in_graph.map(|id| imported.node(id).name.as_str());
    let all: Vec<&str> = written.iter().map(|node| node.name.as_str()).chain(in_graph).collect();
    if let Some(name) = &arguments.node
        && !all.contains(&name.as_str())
    {
        return Err(no_such_node(name, &all).into());
    }
    let (records, mut warnings) = records::load(&arguments.records, &target)?;
    progress.say("rewrite");
    let cost = TargetCost::new(&target);
    let optimized = compile::rewrite(&imported, &cost, &arguments.rewriting.options())?;
    progress.say("lower");
    let name = compile::library_name(path, &Options { pins, ..Options::default() })?;
    let lowered = lower_with(&optimized.graph, &target, &name, Transposes::Seen, &records)
        .map_err(|error| compile::declined(&error, &target))?;
    warnings.extend(records::refused(&lowered.kernels));
    let mut kernels = explain::kernels(&optimized, &lowered, &cost, &Names::new(all));
    if let Some((file, form)) = &arguments.picture {
        let heading = format!("{}: {} kernels for {}", shown(path), kernels.len(), target.name);
        let op_type =
            |name: &str| written.iter().find(|node| node.name == name).map(|node| node.op_type.as_str());
        let drawn = Picture::new(heading, &optimized.graph, &kernels, op_type).draw(*form);
        fs::write(file, drawn).map_err(|error| {
            Diagnostic::usage(code::CANNOT_WRITE, format!("cannot write `{}`: {error}", file.display()))
        })?;
    }
    if let Some(node) = &arguments.node {
        kernels.retain(|kernel| kernel.nodes.contains(node));
    }
    let node = arguments.node.as_ref().map(|name| Node {
        name: name.clone(),
        op_type: written.iter().find(|node| node.name == *name).map(|node| node.op_type.clone()),
        gone: kernels.is_empty().then(|| gone(&imported, &optimized, name, &cost)),
        applied: explain::applied(&optimized, name),
        dropped: optimized.dropped.iter().find(|dropped| dropped.node == *name).map(Dropped::from),
    });
    Ok(Explained {
        model: shown(path),
        target: target.name.clone(),
        cost_before: optimized.cost_before,
        cost: optimized.cost,
        complete: optimized.complete,
        optimal: optimized.is_optimal(),
        dropped: optimized
            .dropped
            .iter()
            .filter(|dropped| arguments.node.as_ref().is_none_or(|name| dropped.node == *name))
            .map(Dropped::from)
            .collect(),
        kernels,
        declined: explain::refusals(&optimized, arguments.node.as_deref()),
        node,
        warnings,
        picture: arguments.picture.as_ref().map(|(file, _)| file.clone()),
    })
}

fn shown(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn no_such_node(name: &str, all: &[&str]) -> Diagnostic {
    let near = explain::near(name, all.iter().copied());
    let hint = match near.is_empty() {
        true => "`onnxc explain MODEL` lists the kernels with their nodes".to_owned(),
        false => format!("there is {}", near.join(", ")),
    };
    Diagnostic::usage(code::NODE, format!("the model has no node `{name}`")).with_hint(hint)
}

/// Why no kernel computes the node.
fn gone(imported: &Graph, optimized: &Optimized, name: &str, cost: &dyn rewrite::CostModel) -> &'static str {
    let runs = rewrite::prices(imported, cost);
    let of_it: Vec<_> = imported
        .ids()
        .filter(|&id| imported.node(id).name == name && matches!(imported.node(id).kind, NodeKind::Apply(_)))
        .collect();
    let is_view = || {
        let graph = &optimized.graph;
        graph.ids().any(|id| graph.node(id).name.split('+').any(|part| part == name))
    };
    if of_it.is_empty() {
        "done away with while the model was read: it gives what it is given, or a constant"
    } else if of_it.iter().all(|id| !runs.contains_key(id)) {
        "computed when the model is compiled: it depends on constants alone"
    } else if is_view() {
        "no work: its result is its operand's memory seen differently"
    } else {
        "no work: its result is an input, an output or a constant as it is"
    }
}

impl Report for Explained {
    fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Some(node) => self.one(f, node),
            None => self.all(f),
        }
    }
}

impl Explained {
    fn all(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = 100.0 * self.cost / self.cost_before.max(f64::MIN_POSITIVE);
        writeln!(
            f,
            "{} for {}: {} kernels, {} modelled cycles, {share:.1} % of what the model's nodes take one by one\n",
            self.model,
            self.target,
            self.kernels.len(),
            grouped(self.cost as u128)
        )?;
        let row = |kernel: &Kernel| {
            vec![
                kernel.op.clone(),
                format!("{:.1} %", 100.0 * kernel.share),
                grouped(kernel.macs),
                grouped(kernel.bytes as u128),
                kernel.layout.clone().unwrap_or_default(),
                kernel.subject(),
            ]
        };
        let rows: Vec<Vec<String>> = self.kernels.iter().map(row).collect();
        f.write_str(&table(&["kernel", ">cost", ">MACs", ">bytes", "layout", "nodes"], &rows))?;
        let alone = |kernel: &Kernel| {
            let apart = kernel.apart.as_ref()?;
            Some(vec![kernel.nodes.join(" + "), apart.from.join(" + ")])
        };
        let rows: Vec<Vec<String>> = self.kernels.iter().filter_map(alone).collect();
        if !rows.is_empty() {
            writeln!(f, "\nalone, because to do them at the end of another kernel would cost more:")?;
            f.write_str(&table(&["alone", "not at the end of"], &rows))?;
        }
        let recorded = self.kernels.iter().filter(|kernel| kernel.recorded > 0).count();
        if recorded > 0 {
            writeln!(f, "\n{recorded} of {} kernels by schedules that were recorded", self.kernels.len())?;
        }
        self.dropped(f)?;
        self.declined(f)?;
        if !self.complete {
            writeln!(f, "\nthe e-graph was cut off at its limit: forms that would cost less may be missing")?;
        }
        Ok(())
    }

    fn declined(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 3;
        if self.declined.is_empty() {
            return Ok(());
        }
        writeln!(f, "\ndeclined:")?;
        for Refusals { rule, reason, nodes } in &self.declined {
            writeln!(f, "  {rule}: {reason}")?;
            if self.node.is_none() {
                let more = match nodes.len().saturating_sub(SHOWN) {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                let shown: Vec<&str> = nodes.iter().take(SHOWN).map(String::as_str).collect();
                writeln!(f, "    at {}{more}", shown.join(", "))?;
            }
        }
        Ok(())
    }

    fn one(&self, f: &mut fmt::Formatter<'_>, node: &Node) -> fmt::Result {
        let op_type = node.op_type.as_ref().map(|op_type| format!(" ({op_type})")).unwrap_or_default();
        writeln!(f, "{}{op_type} in {} for {}", node.name, self.model, self.target)?;
        if let Some(gone) = node.gone {
            writeln!(f, "\n{gone}")?;
        }
        for kernel in &self.kernels {
            writeln!(f)?;
            let with: &Vec<&str> =
                &kernel.nodes.iter().filter(|name| **name != node.name).map(String::as_str).collect();
            f.write_str(&table(&["", ""], &facts(kernel, with)))?;
        }
        if let Some(Dropped { channels, of, zero, .. }) = node.dropped {
            let unread = channels - zero;
            writeln!(
                f,
                "\n{channels} of {of} channels are left out: {zero} always zero, {unread} never read"
            )?;
        }
        if !node.applied.is_empty() {
            let rules: Vec<String> =
                node.applied.iter().map(|Applied { rule, times }| format!("{rule} x{times}")).collect();
            writeln!(f, "\nrules: {}", rules.join(", "))?;
        }
        self.dropped(f)?;
        self.declined(f)
    }

    fn dropped(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.dropped.is_empty() {
            return Ok(());
        }
        writeln!(f, "\nchannels without effect, which are not computed:")?;
        let row = |dropped: &Dropped| {
            let never_read = dropped.channels - dropped.zero;
            vec![
                format!("{} of {}", dropped.channels, dropped.of),
                dropped.zero.to_string(),
                never_read.to_string(),
                dropped.node.clone(),
            ]
        };
        let rows: Vec<Vec<String>> = self.dropped.iter().map(row).collect();
        f.write_str(&table(&[">channels", ">always zero", ">never read", "node"], &rows))
    }
}

/// What there is to say of a kernel, line by line.
fn facts(kernel: &Kernel, with: &[&str]) -> Vec<Vec<String>> {
    let moved = format!("{} moved, {} of it weights", bytes(kernel.bytes), bytes(kernel.weights_bytes));
    let mut facts = vec![
        ("kernel", kernel.symbols.join(", ")),
        ("with", if with.is_empty() { "nothing else".to_owned() } else { with.join(" + ") }),
        (
            "cost",
            format!(
                "{} modelled cycles, {:.1} % of the model",
                grouped(kernel.cost as u128),
                100.0 * kernel.share
            ),
        ),
        ("work", format!("{} MACs", grouped(kernel.macs))),
        ("memory", moved),
    ];
    let schedule = match kernel.recorded {
        0 => "the default".to_owned(),
        all if all == kernel.symbols.len() => "a record's".to_owned(),
        some => {
            format!("records' for {some} of {} functions, the default for the others", kernel.symbols.len())
        }
    };
    facts.push(("schedule", schedule));
    facts.extend(kernel.layout.iter().map(|layout| ("layout", layout.clone())));
    facts.extend(kernel.copies.iter().map(|why| ("copies", format!("what is computed already: {why}"))));
    if let Some(apart) = &kernel.apart {
        facts.push(("alone", format!("although it could be done at the end of {}", apart.from.join(" + "))));
        let others: Vec<String> = apart.shared_with.iter().map(|other| other.join(" + ")).collect();
        if !others.is_empty() {
            facts.push(("", format!("whose result is needed by {} as well", others.join(", and by "))));
        }
        facts.push(("", format!("the model would take {:.0} modelled cycles more", apart.dearer)));
    }
    facts.into_iter().map(|(what, text)| vec![what.to_owned(), text]).collect()
}
