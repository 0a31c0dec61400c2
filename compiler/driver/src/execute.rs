//! Running compiled models, here or in an emulator.

use std::collections::BTreeSet;

use ir::{Tensor, TensorType};
use machines::{Library, MachineError, Measure};
use targets::{Runner, Target};

use crate::diagnostic::{Diagnostic, Kind, code};
use crate::interface::Port;
use crate::metadata::Metadata;

/// What running a model gave, and took where it was measured.
#[derive(Debug, Clone)]
pub struct Execution {
    pub outputs: Vec<Tensor>,
    /// Executed by one inference.
    pub instructions: Option<u64>,
    /// Bytes of the arena that were touched.
    pub arena_used: Option<usize>,
    pub stack_used: Option<usize>,
}

/// Runs an object that was compiled for exactly this machine, in this process.
pub fn in_process(object: &[u8], metadata: &Metadata, inputs: &[Tensor]) -> Result<Execution, Diagnostic> {
    let mut loaded = Loaded::new(object, metadata, inputs)?;
    let run = loaded.entry("run")?;
    loaded.enter(run)?;
    let tensor = |(port, output): (&Port, &Aligned)| Tensor::new(port.ty.clone(), output.bytes().to_vec());
    let outputs = metadata.outputs.iter().zip(&loaded.outputs).map(tensor).collect();
    Ok(Execution { outputs, instructions: None, arena_used: None, stack_used: None })
}

/// A library in this process, with inputs, memory for its outputs and its arena, and the threads that it was made for.
pub struct Loaded {
    name: String,
    library: native::Library,
    /// None for one thread.
    pool: Option<native::Pool>,
    // The inputs' memory, which `from` points into.
    _inputs: Vec<Aligned>,
    outputs: Vec<Aligned>,
    arena: Aligned,
    from: Vec<*const u8>,
    into: Vec<*mut u8>,
}

/// A function of a loaded library that takes what `<name>_run` takes, or `<name>_run_threads`.
#[derive(Clone, Copy)]
pub struct Entry(native::Entry);

impl Loaded {
    /// `object` was compiled for exactly this machine, as `metadata` says.
    pub fn new(object: &[u8], metadata: &Metadata, inputs: &[Tensor]) -> Result<Loaded, Diagnostic> {
        let inputs = inputs.iter().map(|tensor| Aligned::from(&tensor.data)).collect();
        let outputs = metadata.outputs.iter().map(|port| Aligned::zeros(port.bytes)).collect();
        Loaded::with_memory(
            object,
            &metadata.name,
            metadata.threads,
            inputs,
            outputs,
            Aligned::zeros(metadata.memory.arena_bytes),
        )
    }

    /// The memory must be as large as the object, made for exactly this machine and so many `threads` under `name`, takes
    /// it to be.
    pub fn with_memory(
        object: &[u8],
        name: &str,
        threads: usize,
        inputs: Vec<Aligned>,
        mut outputs: Vec<Aligned>,
        arena: Aligned,
    ) -> Result<Loaded, Diagnostic> {
        let library = native::Library::load(object).map_err(|error| not_run(name, &error))?;
        let started = (threads > 1).then(|| native::Pool::start(threads)).transpose();
        let pool = started.map_err(|error| not_run(name, &format!("starting {threads} threads: {error}")))?;
        let from = inputs.iter().map(|input| input.bytes().as_ptr()).collect();
        let into = outputs.iter_mut().map(|output| output.bytes_mut().as_mut_ptr()).collect();
        Ok(Loaded { name: name.to_owned(), library, pool, _inputs: inputs, outputs, arena, from, into })
    }

    /// `<name>_run`, or `<name>_step<k>` of an object that was made with steps; the one on threads where there are some.
    pub fn entry(&self, suffix: &str) -> Result<Entry, Diagnostic> {
        let name = format!("{}_{suffix}", self.name);
        // SAFETY: these functions of generated objects are of these types; an entry is entered through this library.
        let function = unsafe { self.library.entry(&name, self.pool.is_some()) };
        function.map(Entry).map_err(|error| not_run(&self.name, &error))
    }

    /// Runs a function of this library's own.
    pub fn enter(&mut self, Entry(entry): Entry) -> Result<(), Diagnostic> {
        let (from, into) = (self.from.as_ptr(), self.into.as_ptr());
        let hook = self.pool.as_mut().map(native::Pool::hook);
        let arena = self.arena.bytes_mut().as_mut_ptr();
        // SAFETY: compiler and description are of one making; every buffer has the size that the function takes it to
        // have and the largest alignment that generated code asks for, and lives as long as `self`, as the pool does, if
        // there is one; without one no entry is on threads.
        let status = unsafe { entry.enter(from, into, arena, hook.as_ref()) };
        done(status)
    }
}

fn done(status: i32) -> Result<(), Diagnostic> {
    if status == 0 { Ok(()) } else { Err(failed(&MachineError::Status(status))) }
}

fn not_run(name: &str, error: &impl std::fmt::Display) -> Diagnostic {
    Diagnostic::usage(code::CANNOT_RUN, format!("cannot run `{name}` in this process: {error}"))
}

/// Bytes that start at a multiple of [`codegen::ALIGN`].
pub struct Aligned {
    storage: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    pub fn zeros(len: usize) -> Aligned {
        let storage = vec![0; len + codegen::ALIGN];
        let start = storage.as_ptr().align_offset(codegen::ALIGN);
        Aligned { storage, start, len }
    }

    pub fn from(bytes: &[u8]) -> Aligned {
        let mut aligned = Aligned::zeros(bytes.len());
        aligned.bytes_mut().copy_from_slice(bytes);
        aligned
    }

    pub fn bytes(&self) -> &[u8] {
        &self.storage[self.start..self.start + self.len]
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.start + self.len]
    }
}

/// Runs a library as a program of its own on the machine that `target`'s runner names.
pub fn as_program(
    archive: &[u8],
    metadata: &Metadata,
    target: &Target,
    inputs: &[Tensor],
) -> Result<Execution, Diagnostic> {
    let run = program(archive, metadata, target, inputs, &Measure::default())?;
    Ok(Execution {
        outputs: run.outputs,
        instructions: run.instructions,
        arena_used: Some(run.arena_used),
        stack_used: Some(run.stack_used),
    })
}

/// As [`as_program`] in an emulator: the instructions of one inference, and of each of its kernels' calls in order;
/// with `cycles` those, too, by the target's scheduling model.
pub fn by_kernel(
    archive: &[u8],
    metadata: &Metadata,
    target: &Target,
    inputs: &[Tensor],
    cycles: bool,
) -> Result<machines::Run, Diagnostic> {
    let symbols: BTreeSet<&str> = metadata.kernels.iter().map(|kernel| kernel.symbol.as_str()).collect();
    let symbols: Vec<&str> = symbols.into_iter().collect();
    let run = program(archive, metadata, target, inputs, &Measure { kernels: &symbols, cycles })?;
    let (counted, calls) = (run.kernels.len(), metadata.kernels.len());
    if run.instructions.is_some() && counted != calls {
        return Err(Diagnostic::bug(format!("{counted} calls of kernels were counted, of {calls}")));
    }
    Ok(run)
}

fn program(
    archive: &[u8],
    metadata: &Metadata,
    target: &Target,
    inputs: &[Tensor],
    measure: &Measure,
) -> Result<machines::Run, Diagnostic> {
    let named = |ports: &[Port]| -> Vec<(String, TensorType)> {
        ports.iter().map(|port| (port.name.clone(), port.ty.clone())).collect()
    };
    let cannot = |error: std::io::Error| {
        Diagnostic::usage(code::CANNOT_WRITE, format!("cannot write a temporary file: {error}"))
    };
    let dir = tempfile::tempdir().map_err(cannot)?;
    let file = dir.path().join(format!("lib{}.a", metadata.name));
    std::fs::write(&file, archive).map_err(cannot)?;
    let (inputs_of, outputs_of) = (named(&metadata.inputs), named(&metadata.outputs));
    let library = Library {
        archive: &file,
        name: &metadata.name,
        inputs: &inputs_of,
        outputs: &outputs_of,
        arena_bytes: metadata.memory.arena_bytes,
        arena_align: metadata.memory.arena_align,
    };
    machines::measure(target, &library, inputs, measure).map_err(|error| failed(&error))
}

/// Whether static cycles can be told of what runs for `target`.
pub fn check_cycles(target: &Target) -> Result<(), Diagnostic> {
    match target.scheduling_model.is_empty() {
        true => Err(failed(&MachineError::NoSchedulingModel { target: target.name.clone() })),
        false => Ok(()),
    }
}

/// Whether the target's code may run on this machine's own processor.
pub fn is_native(target: &Target) -> bool {
    target.runner == Some(Runner::Native)
}

/// Whether every instruction of the target's code is known to be one of this processor's.
pub fn is_this_machine(target: &Target) -> bool {
    let same = |host: Target| {
        (&host.triple, &host.cpu, &host.features) == (&target.triple, &target.cpu, &target.features)
    };
    Target::host().is_ok_and(same)
}

fn failed(error: &MachineError) -> Diagnostic {
    let environment = matches!(
        error,
        MachineError::NoRunner { .. }
            | MachineError::NotInstalled { .. }
            | MachineError::NoSchedulingModel { .. }
            | MachineError::Analysis { .. }
            | MachineError::Files(_)
    );
    match environment {
        true => Diagnostic::usage(code::CANNOT_RUN, error.to_string()),
        false => Diagnostic::new(Kind::VerificationFailed, code::RUN_FAILED, error.to_string()),
    }
}
