//! The pipeline as a function that can be read.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use targets::Target;

use crate::diagnostic::{Diagnostic, Diagnostics, Kind, code};
use crate::interface::ports;
use crate::lower::{LowerError, Lowered, lower};
use crate::metadata::{
    ABI_VERSION, Flags, Kernel, Memory, Metadata, Model, SCHEMA_VERSION, TargetFacts, Tool,
};
use crate::watch::{Dump, Watch};
use crate::{audit, example, header, identifier, problems};

/// What the user asked for besides model and target.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Prefix of symbols and files, a C identifier; `None` takes the model's file name.
    pub name: Option<String>,
    /// What is pinned before anything is inferred.
    pub pins: onnx::Options,
}

/// A compiled model, ready to be written or run.
#[derive(Debug, Clone)]
pub struct Artifact {
    pub metadata: Metadata,
    /// ELF, relocatable.
    pub object: Vec<u8>,
    /// The object in an archive: `lib<name>.a`.
    pub archive: Vec<u8>,
    /// The graph as it was imported, for the reference evaluator.
    pub reference: ops::Graph,
}

impl Artifact {
    /// The output directory's files and their contents, in reading order.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        let [library, header_name, json, example_name] = crate::output::file_names(&self.metadata.name);
        vec![
            (library, self.archive.clone()),
            (header_name, header::header(&self.metadata).into_bytes()),
            (json, self.metadata.to_json().into_bytes()),
            (example_name, example::example(&self.metadata).into_bytes()),
        ]
    }
}

/// Compiles one model. Each stage's own documentation says what it needs and leaves.
pub fn compile(model: &Path, target: &Target, options: &Options, watch: &mut Watch) -> Result<Artifact, Diagnostics> {
    let name = library_name(model, options)?;
    let imported = watch.stage("import", || onnx::import(model, &options.pins)).map_err(problems::diagnostics)?;
    watch.graph(Dump::Import, &imported.graph)?;
    let graph = watch.stage("rewrite", || optimize(&imported.graph, target))?;
    watch.graph(Dump::Rewrite, &graph)?;
    let lowered = watch.stage("lower", || lower(&graph, target, &name)).map_err(|error| declined(&error, target))?;
    watch.keep(Dump::Loops, || print_nests(&lowered));
    watch.keep(Dump::Mlir, || print_mlir(&lowered));
    let object = watch.stage("emit", || codegen::emit(&lowered.module)).map_err(emit_failed)?;
    let archive = watch.stage("archive", || codegen::archive(&name, &object))?;
    let metadata = describe(model, &name, &lowered, &object, options)?;
    Ok(Artifact { metadata, object: object.bytes, archive, reference: imported.graph })
}
