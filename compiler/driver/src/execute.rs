//! Running compiled models, here or in an emulator.

use ir::{Tensor, TensorType};
use machines::{Library, MachineError};
use targets::{Runner, Target};

use crate::Artifact;
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
    let native = codegen::Native::load(object, &metadata.name).map_err(|error| {
        Diagnostic::usage(code::CANNOT_RUN, format!("cannot run `{}` here: {error}", metadata.name))
    })?;
    let outputs: Vec<TensorType> = metadata.outputs.iter().map(|port| port.ty.clone()).collect();
    let outputs = native.run(inputs, &outputs, metadata.memory.arena_bytes).map_err(|error| Diagnostic::bug(error.to_string()))?;
    Ok(Execution { outputs, instructions: None, arena_used: None, stack_used: None })
}

/// Runs a library as a program of its own on the machine that `target`'s runner names.
pub fn as_program(artifact: &Artifact, target: &Target, inputs: &[Tensor]) -> Result<Execution, Diagnostic> {
    let named = |ports: &[Port]| -> Vec<(String, TensorType)> {
        ports.iter().map(|port| (port.name.clone(), port.ty.clone())).collect()
    };
    let metadata = &artifact.metadata;
    let cannot = |error: std::io::Error| {
        Diagnostic::usage(code::CANNOT_WRITE, format!("cannot write a temporary file: {error}"))
    };
    let dir = tempfile::tempdir().map_err(cannot)?;
    let archive = dir.path().join(format!("lib{}.a", metadata.name));
    std::fs::write(&archive, &artifact.archive).map_err(cannot)?;
    let (inputs_of, outputs_of) = (named(&metadata.inputs), named(&metadata.outputs));
    let library = Library {
        archive: &archive,
        name: &metadata.name,
        inputs: &inputs_of,
        outputs: &outputs_of,
        arena_bytes: metadata.memory.arena_bytes,
        arena_align: metadata.memory.arena_align,
    };
    let run = machines::run(target, &library, inputs).map_err(|error| failed(&error))?;
    Ok(Execution {
        outputs: run.outputs,
        instructions: run.instructions,
        arena_used: Some(run.arena_used),
        stack_used: Some(run.stack_used),
    })
}

/// Whether the target's code can run on this machine's own processor.
pub fn is_native(target: &Target) -> bool {
    target.runner == Some(Runner::Native)
}

fn failed(error: &MachineError) -> Diagnostic {
    let environment =
        matches!(error, MachineError::NoRunner { .. } | MachineError::NotInstalled { .. } | MachineError::Files(_));
    match environment {
        true => Diagnostic::usage(code::CANNOT_RUN, error.to_string()),
        false => Diagnostic::new(Kind::VerificationFailed, code::RUN_FAILED, error.to_string()),
    }
}
