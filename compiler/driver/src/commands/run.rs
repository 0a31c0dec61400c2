use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use ir::Tensor;
use serde::Serialize;
use targets::Target;

use crate::cli::{self, TensorFormat};
use crate::compile::Options;
use crate::data::{Given, Side};
use crate::diagnostic::{Diagnostic, Diagnostics, code};
use crate::execute::{self, Execution};
use crate::interface::Port;
use crate::metadata::Metadata;
use crate::table::{grouped, table};
use crate::terminal::{Progress, Report};
use crate::watch::Watch;
use crate::written::Written;
use crate::{records, tensor_file};

#[derive(Serialize)]
pub struct Ran {
    outputs: Vec<Output>,
    files: Vec<PathBuf>,
    /// Executed by one inference, where the emulator counts them.
    instructions: Option<u64>,
    arena_used: Option<usize>,
    stack_used: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Diagnostic>,
}

#[derive(Serialize)]
struct Output {
    name: String,
    #[serde(rename = "type")]
    ty: String,
    /// The first elements.
    head: Vec<String>,
    elements: usize,
}

/// `onnxc run`: a model on this machine, or the library of an output directory on the machine that it is for.
pub fn run(arguments: &cli::Run) -> Result<Ran, Diagnostics> {
    let given = Given::from_arguments(&arguments.inputs)?;
    let mut warnings = Vec::new();
    let (metadata, execution) = match arguments.model.model.is_dir() {
        true => library(&arguments.model.model, &given)?,
        false => compiled(arguments, &given, &mut warnings)?,
    };
    let Execution { outputs, instructions, arena_used, stack_used } = execution;
    let outputs: Vec<Tensor> =
        metadata.outputs.iter().zip(outputs).map(|(port, tensor)| port.to_model(tensor)).collect();
    let files = match &arguments.outputs {
        Some(place) => write(place, arguments.outputs_as, &metadata.outputs, &outputs)?,
        None => vec![],
    };
    let outputs = metadata.outputs.iter().zip(&outputs).map(|(port, tensor)| summary(port, tensor)).collect();
    Ok(Ran { outputs, files, instructions, arena_used, stack_used, warnings })
}

/// Compiles the model for this machine, in memory, and runs it.
fn compiled(
    arguments: &cli::Run,
    given: &Given,
    warnings: &mut Vec<Diagnostic>,
) -> Result<(Metadata, Execution), Diagnostics> {
    let host =
        Target::preset("host").map_err(|error| Diagnostic::usage(code::CANNOT_RUN, error.to_string()))?;
    let progress = Progress::start();
    let say = |stage| progress.say(stage);
    let (records, of_records) = records::load(&arguments.records, &host)?;
    let options = Options { pins: arguments.model.pins.options(), records, ..Options::default() };
    let artifact = crate::compile(&arguments.model.model, &host, &options, &mut Watch::new(&[], &say))?;
    warnings.extend(of_records.into_iter().chain(artifact.warnings));
    let inputs = given.bind(&artifact.metadata.inputs, Side::Inputs)?;
    let execution = execute::in_process(&artifact.object, &artifact.metadata, &inputs)?;
    Ok((artifact.metadata, execution))
}

/// Runs the library in an output directory: in this process if it is for exactly this machine, else as a program.
fn library(dir: &Path, given: &Given) -> Result<(Metadata, Execution), Diagnostics> {
    let written = Written::open(dir)?;
    let inputs = given.bind(&written.metadata.inputs, Side::Inputs)?;
    let execution = match execute::is_this_machine(&written.target) {
        true => execute::in_process(&written.object()?, &written.metadata, &inputs)?,
        false => execute::as_program(&written.archive, &written.metadata, &written.target, &inputs)?,
    };
    Ok((written.metadata, execution))
}

fn write(
    place: &Path,
    format: TensorFormat,
    ports: &[Port],
    tensors: &[Tensor],
) -> Result<Vec<PathBuf>, Diagnostic> {
    if place.extension().is_some_and(|extension| extension == "npz") {
        let arrays: Vec<(&str, &Tensor)> = ports.iter().map(|port| port.name.as_str()).zip(tensors).collect();
        tensor_file::write_npz(place, &arrays)?;
        return Ok(vec![place.to_owned()]);
    }
    fs::create_dir_all(place).map_err(|error| {
        Diagnostic::usage(code::CANNOT_WRITE, format!("cannot create `{}`: {error}", place.display()))
    })?;
    let mut files = Vec::with_capacity(ports.len());
    for (k, (port, tensor)) in ports.iter().zip(tensors).enumerate() {
        let path = match format {
            TensorFormat::Npy => place.join(format!("{}.npy", port.field)),
            TensorFormat::Pb => place.join(format!("output_{k}.pb")),
        };
        match format {
            TensorFormat::Npy => tensor_file::write_npy(&path, tensor)?,
            TensorFormat::Pb => tensor_file::write_pb(&path, &port.name, tensor)?,
        }
        files.push(path);
    }
    Ok(files)
}

fn summary(port: &Port, tensor: &Tensor) -> Output {
    const SHOWN: usize = 6;
    Output {
        name: port.name.clone(),
        ty: port.model_type().to_string(),
        head: tensor.scalars().take(SHOWN).map(|scalar| scalar.to_string()).collect(),
        elements: port.elements,
    }
}

impl Report for Ran {
    fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |output: &Output| {
            let more = if output.elements > output.head.len() { " ..." } else { "" };
            vec![output.name.clone(), output.ty.clone(), format!("{}{more}", output.head.join(" "))]
        };
        let rows: Vec<Vec<String>> = self.outputs.iter().map(row).collect();
        f.write_str(&table(&["output", "type", "values"], &rows))?;
        self.files.iter().try_for_each(|file| writeln!(f, "  {}", file.display()))?;
        match self.instructions {
            Some(instructions) => writeln!(f, "  {} instructions", grouped(instructions)),
            None => Ok(()),
        }
    }
}
