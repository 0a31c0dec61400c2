//! Running compiled models, here or in an emulator.

use std::ffi::c_void;

use ir::{Tensor, TensorType};
use machines::{Library, MachineError};
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
    let cannot = |error: native::LoadError| {
        Diagnostic::usage(
            code::CANNOT_RUN,
            format!("cannot run `{}` in this process: {error}", metadata.name),
        )
    };
    let library = native::Library::load(object).map_err(cannot)?;
    let inputs: Vec<Aligned> = inputs.iter().map(|tensor| Aligned::from(&tensor.data)).collect();
    let mut outputs: Vec<Aligned> = metadata.outputs.iter().map(|port| Aligned::zeros(port.bytes)).collect();
    let mut arena = Aligned::zeros(metadata.memory.arena_bytes);
    let from: Vec<*const u8> = inputs.iter().map(|input| input.bytes().as_ptr()).collect();
    let into: Vec<*mut u8> = outputs.iter_mut().map(|output| output.bytes_mut().as_mut_ptr()).collect();
    // Compiler and description are of one making; every buffer has the size that the description says and the largest
    // alignment that generated code asks for, and outlives the call.
    let (name, arena) = (&metadata.name, arena.bytes_mut().as_mut_ptr());
    let status = match metadata.threads {
        // SAFETY: as said above.
        1 => unsafe { library.run(name, &from, &into, arena) },
        threads => {
            let mut threads = threads as i32;
            let hook = native::Threads { parallel_for: share_out, pool: (&raw mut threads).cast() };
            // SAFETY: as said above; `share_out` covers every loop once, and `threads` lives as long as the call.
            unsafe { library.run_threads(name, &from, &into, arena, &hook) }
        }
    }
    .map_err(cannot)?;
    if status != 0 {
        return Err(failed(&MachineError::Status(status)));
    }
    let tensor = |(port, output): (&Port, &Aligned)| Tensor::new(port.ty.clone(), output.bytes().to_vec());
    let outputs = metadata.outputs.iter().zip(&outputs).map(tensor).collect();
    Ok(Execution { outputs, instructions: None, arena_used: None, stack_used: None })
}

/// A hook that starts threads for every loop: for being right, not for being fast. `pool` points to their number.
///
/// # Safety
/// As `onnxc_threads.h` says: `body` takes `context` and ranges of `0..count`, on any thread.
unsafe extern "C" fn share_out(pool: *mut c_void, body: native::Body, context: *mut c_void, count: i32) {
    // SAFETY: `in_process` hands a number over.
    let threads = unsafe { *pool.cast::<i32>() };
    let context = context as usize;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let part = |k: i32| (i64::from(count) * i64::from(k) / i64::from(threads)) as i32;
            let (first, last) = (part(thread), part(thread + 1));
            // SAFETY: the ranges cover `0..count` once; `context` outlives the scope.
            scope.spawn(move || unsafe { body(context as *mut c_void, first, last) });
        }
    });
}

/// Bytes that start at a multiple of [`codegen::ALIGN`].
struct Aligned {
    storage: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    fn zeros(len: usize) -> Aligned {
        let storage = vec![0; len + codegen::ALIGN];
        let start = storage.as_ptr().align_offset(codegen::ALIGN);
        Aligned { storage, start, len }
    }

    fn from(bytes: &[u8]) -> Aligned {
        let mut aligned = Aligned::zeros(bytes.len());
        aligned.bytes_mut().copy_from_slice(bytes);
        aligned
    }

    fn bytes(&self) -> &[u8] {
        &self.storage[self.start..self.start + self.len]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
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
    let run = machines::run(target, &library, inputs).map_err(|error| failed(&error))?;
    Ok(Execution {
        outputs: run.outputs,
        instructions: run.instructions,
        arena_used: Some(run.arena_used),
        stack_used: Some(run.stack_used),
    })
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
        MachineError::NoRunner { .. } | MachineError::NotInstalled { .. } | MachineError::Files(_)
    );
    match environment {
        true => Diagnostic::usage(code::CANNOT_RUN, error.to_string()),
        false => Diagnostic::new(Kind::VerificationFailed, code::RUN_FAILED, error.to_string()),
    }
}
