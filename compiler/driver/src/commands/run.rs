use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use ir::Tensor;
use object::read::archive::ArchiveFile;
use serde::Serialize;
use targets::Target;

use crate::cli::{self, TensorFormat};
use crate::compile::Options;
use crate::data::{Given, Side};
use crate::diagnostic::{Diagnostic, Diagnostics, code};
use crate::execute::{self, Execution};
use crate::interface::Port;
use crate::metadata::Metadata;
use crate::table::table;
use crate::terminal::{Progress, Report};
use crate::watch::Watch;
use crate::{output, tensor_file};

#[derive(Serialize)]
pub struct Ran {
    outputs: Vec<Output>,
    files: Vec<PathBuf>,
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

/// `onnxc run`: a model, or the library of an output directory, on given inputs.
pub fn run(arguments: &cli::Run) -> Result<Ran, Diagnostics> {
    let given = Given::from_arguments(&arguments.inputs)?;
    let (archive, metadata) = match arguments.model.model.is_dir() {
        true => library(&arguments.model.model)?,
        false => compiled(arguments)?,
    };
    let inputs = given.bind(&metadata.inputs, Side::Inputs)?;
    let outputs = run_library(&archive, &metadata, &inputs)?.outputs;
    let files = match &arguments.outputs {
        Some(place) => write(place, arguments.outputs_as, &metadata.outputs, &outputs)?,
        None => vec![],
    };
    Ok(Ran {
        outputs: metadata.outputs.iter().zip(&outputs).map(|(port, tensor)| summary(port, tensor)).collect(),
        files,
    })
}

/// Compiles the model for this machine, in memory.
fn compiled(arguments: &cli::Run) -> Result<(Vec<u8>, Metadata), Diagnostics> {
    let host =
        Target::preset("host").map_err(|error| Diagnostic::usage(code::CANNOT_RUN, error.to_string()))?;
    let progress = Progress::start();
    let say = |stage| progress.say(stage);
    let options = Options { name: None, pins: arguments.model.pins.options() };
    let artifact = crate::compile(&arguments.model.model, &host, &options, &mut Watch::new(&[], &say))?;
    Ok((artifact.archive, artifact.metadata))
}

/// The library and the description in an output directory.
fn library(dir: &Path) -> Result<(Vec<u8>, Metadata), Diagnostics> {
    let metadata = output::read(dir)?;
    let [archive, ..] = output::file_names(&metadata.name);
    let path = dir.join(archive);
    let bytes = fs::read(&path).map_err(|error| {
        Diagnostic::usage(code::CANNOT_READ, format!("cannot read `{}`: {error}", path.display()))
    })?;
    Ok((bytes, metadata))
}

/// Runs the library: in this process if it is for exactly this machine, as a program of its own or in the emulator
/// if the target that it names says how.
fn run_library(archive: &[u8], metadata: &Metadata, inputs: &[Tensor]) -> Result<Execution, Diagnostic> {
    let facts = &metadata.target;
    let same = |target: &Target| {
        (&target.triple, &target.cpu, &target.features) == (&facts.triple, &facts.cpu, &facts.features)
    };
    if Target::host().is_ok_and(|host| same(&host)) {
        return execute::in_process(&member(archive)?, metadata, inputs);
    }
    match Target::preset(&facts.name).ok().filter(same) {
        Some(target) => execute::as_program(archive, metadata, &target, inputs),
        None => Err(Diagnostic::usage(
            code::CANNOT_RUN,
            format!("the library is for {} ({}), which is not this machine", facts.name, facts.triple),
        )),
    }
}

/// The object in a static library.
fn member(archive: &[u8]) -> Result<Vec<u8>, Diagnostic> {
    let unreadable = |why: &dyn fmt::Display| {
        Diagnostic::usage(code::CANNOT_READ, format!("the static library cannot be read: {why}"))
    };
    let file = ArchiveFile::parse(archive).map_err(|error| unreadable(&error))?;
    let member = file
        .members()
        .next()
        .ok_or_else(|| unreadable(&"it is empty"))?
        .map_err(|error| unreadable(&error))?;
    Ok(member.data(archive).map_err(|error| unreadable(&error))?.to_vec())
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
        ty: port.ty.to_string(),
        head: tensor.scalars().take(SHOWN).map(|scalar| scalar.to_string()).collect(),
        elements: port.elements,
    }
}

impl Report for Ran {}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |output: &Output| {
            let more = if output.elements > output.head.len() { " ..." } else { "" };
            vec![output.name.clone(), output.ty.clone(), format!("{}{more}", output.head.join(" "))]
        };
        let rows: Vec<Vec<String>> = self.outputs.iter().map(row).collect();
        f.write_str(&table(&["output", "type", "values"], &rows))?;
        self.files.iter().try_for_each(|file| writeln!(f, "  {}", file.display()))
    }
}
