//! The pipeline as a function that can be read.

use std::path::Path;

use codegen::CodegenError;
use rewrite::{CostModel, LayoutChoice, Optimized};
use sha2::{Digest, Sha256};
use targets::Target;

use crate::cost::TargetCost;
use crate::diagnostic::{Diagnostic, Diagnostics, Kind, code};
use crate::interface::ports;
use crate::io_layout::{PublicLayouts, Wish};
use crate::lower::{LowerError, Lowered, Transposes, lower_with};
use crate::metadata::{
    ABI_VERSION, Dropped, Flags, Kernel, Memory, Metadata, Model, Rewrite, Rewriting, SCHEMA_VERSION,
    TargetFacts, Tool,
};
use crate::watch::{Dump, Watch};
use crate::{audit, example, header, identifier, problems, records};

/// What the user asked for besides model and target.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Prefix of symbols and files, a C identifier; `None` takes the model's file name.
    pub name: Option<String>,
    /// What is pinned before anything is inferred.
    pub pins: onnx::Options,
    pub rewriting: rewrite::Options,
    /// Layouts of public inputs and outputs other than the model's.
    pub io_layout: Vec<Wish>,
    /// Gives each kernel's call a function of its own beside the library's, to be measured.
    pub steps: bool,
    /// Schedules that were found by tuning.
    pub records: schedule::Records,
}

/// A compiled model, ready to be written or run.
#[derive(Debug, Clone)]
pub struct Artifact {
    pub metadata: Metadata,
    /// ELF, relocatable.
    pub object: Vec<u8>,
    /// The object in an archive: `lib<name>.a`.
    pub archive: Vec<u8>,
    /// The graph as it was imported, its inputs and outputs laid out as the library's, for the reference evaluator.
    pub reference: ops::Graph,
    /// What was asked for and not done.
    pub warnings: Vec<Diagnostic>,
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

/// Compiles the model in a file. Each stage's own documentation says what it needs and leaves.
pub fn compile(
    model: &Path,
    target: &Target,
    options: &Options,
    watch: &mut Watch,
) -> Result<Artifact, Diagnostics> {
    let name = library_name(model, options)?;
    let imported =
        watch.stage("import", || onnx::import(model, &options.pins)).map_err(problems::diagnostics)?;
    let model = Model { sha256: sha256(model)? };
    compile_graph(imported.graph, model, &name, target, options, watch)
}

/// Compiles a graph that was imported from `model`; `name`, a C identifier, is the prefix of symbols and files.
pub fn compile_graph(
    imported: ops::Graph,
    model: Model,
    name: &str,
    target: &Target,
    options: &Options,
    watch: &mut Watch,
) -> Result<Artifact, Diagnostics> {
    let public = PublicLayouts::of(&imported, &options.io_layout)?;
    let imported = public.apply(&imported).map_err(|error| Diagnostic::bug(error.to_string()))?;
    watch.graph(Dump::Import, &imported)?;
    let cost = TargetCost::new(target);
    let rewritten = watch.stage("rewrite", || rewrite(&imported, &cost, &options.rewriting))?;
    watch.rewriting(&imported, &rewritten)?;
    let lowered = watch
        .stage("lower", || lower_with(&rewritten.graph, target, name, transposes(options), &options.records))
        .map_err(|error| declined(&error, target))?;
    watch.keep(Dump::Loops, || nests(&lowered));
    watch.keep(Dump::Mlir, || mlir(&lowered));
    let emit = if options.steps { codegen::emit_with_steps } else { codegen::emit };
    let object = watch.stage("emit", || emit(&lowered.module)).map_err(|error| not_emitted(&error))?;
    let archive = codegen::archive(name, &object).map_err(|error| not_emitted(&error))?;
    let metadata = describe(model, &rewritten, &lowered, &object, options, &public)?;
    let warnings = records::refused(&lowered.kernels);
    Ok(Artifact { metadata, object: object.bytes, archive, reference: imported, warnings })
}

/// One layout for all is what it says: what lies in another is copied first.
fn transposes(options: &Options) -> Transposes {
    match options.rewriting.layout {
        LayoutChoice::Chosen => Transposes::Seen,
        LayoutChoice::Fixed(_) => Transposes::Copied,
    }
}

pub fn library_name(model: &Path, options: &Options) -> Result<String, Diagnostic> {
    match &options.name {
        Some(name) if identifier::is_identifier(name) => Ok(name.clone()),
        Some(name) => {
            Err(Diagnostic::usage(code::COMMAND_LINE, format!("the name `{name}` is not a C identifier"))
                .with_hint(format!("`{}` would be", identifier::identifier(name, "model"))))
        }
        None => {
            let stem = model.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
            Ok(identifier::identifier(&stem, "model"))
        }
    }
}

/// The cheapest form of an imported graph.
pub fn rewrite(
    graph: &ops::Graph,
    cost: &dyn CostModel,
    options: &rewrite::Options,
) -> Result<Optimized, Diagnostic> {
    rewrite::optimize(graph, cost, options).map_err(|error| Diagnostic::bug(error.to_string()))
}

/// A graph that this target cannot have.
pub fn declined(error: &LowerError, target: &Target) -> Diagnostic {
    let message = format!("not supported for target {}: {}", target.name, error.message);
    let mut diagnostic = Diagnostic::new(Kind::Unsupported, code::TARGET_CANNOT, message);
    diagnostic.nodes = error.nodes.split('+').filter(|node| !node.is_empty()).map(str::to_owned).collect();
    diagnostic.hint = error.hint.clone();
    diagnostic
}

/// What code generation refuses is our fault, unless it is the machine that the user described.
pub fn not_emitted(error: &CodegenError) -> Diagnostic {
    match error {
        CodegenError::Target { .. } => Diagnostic::usage(code::TARGET, error.to_string()),
        CodegenError::Undefined { .. } => {
            Diagnostic::new(Kind::Unsupported, code::TARGET_CANNOT, error.to_string())
        }
        _ => Diagnostic::bug(error.to_string()),
    }
}

fn nests(lowered: &Lowered) -> String {
    lowered.module.kernels.iter().map(|nest| format!("{nest}\n")).collect::<Vec<_>>().join("\n")
}

fn mlir(lowered: &Lowered) -> String {
    let module = &lowered.module;
    let text = |nest| codegen::mlir_text(nest, module.target).unwrap_or_else(|error| format!("// {error}\n"));
    module.kernels.iter().map(text).collect::<Vec<_>>().join("\n")
}

/// Of the model's file, in hexadecimal.
fn sha256(model: &Path) -> Result<String, Diagnostic> {
    let bytes = std::fs::read(model).map_err(|error| {
        Diagnostic::usage(code::CANNOT_READ, format!("cannot read `{}`: {error}", model.display()))
    })?;
    Ok(Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What the output directory says of itself.
fn describe(
    model: Model,
    rewritten: &Optimized,
    lowered: &Lowered,
    object: &codegen::Object,
    options: &Options,
    public: &PublicLayouts,
) -> Result<Metadata, Diagnostic> {
    let name = lowered.module.name.clone();
    let audit = audit::audit(&object.bytes, &name)?;
    let pins = &options.pins;
    Ok(Metadata {
        schema_version: SCHEMA_VERSION,
        tool: Tool::this(),
        name,
        abi_version: ABI_VERSION,
        model,
        target: TargetFacts::from(lowered.module.target),
        flags: Flags {
            dims: pins.dims.iter().cloned().collect(),
            shapes: pins.shapes.iter().cloned().collect(),
            set: pins.scalars.iter().cloned().collect(),
            exact: options.rewriting.channels == rewrite::ConstantChannels::Exact,
            precision: options.rewriting.precision.into(),
            rewrite: Rewrite::unless_usual(options.rewriting.strategy),
        },
        inputs: ports(&lowered.inputs, &public.inputs),
        outputs: ports(&lowered.outputs, &public.outputs),
        memory: Memory {
            arena_bytes: lowered.arena_bytes,
            arena_align: codegen::ALIGN,
            weights_bytes: object.weights_bytes,
            code_bytes: object.code_bytes,
        },
        threads: if audit.threads { lowered.module.target.threads } else { 1 },
        undefined_symbols: audit.undefined,
        dropped: rewritten.dropped.iter().map(Dropped::from).collect(),
        macs_saved: rewritten.macs_saved,
        rewriting: Rewriting::from(rewritten),
        macs: lowered.kernels.iter().map(|kernel| kernel.macs).sum(),
        kernels: lowered.kernels.iter().map(Kernel::from).collect(),
    })
}
