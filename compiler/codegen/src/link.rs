//! One LLVM module of all functions. Each kernel is translated and optimised by itself, on as many cores as there are:
//! it has contexts of its own in MLIR and LLVM, and comes out as bitcode. The linked module has the kernels in their order,
//! on any number of cores.

use inkwell::context::Context;
use inkwell::memory_buffer::MemoryBuffer;
use inkwell::module::{Linkage, Module as LlvmModule};
use inkwell::targets::TargetMachine;
use rayon::prelude::*;
use targets::Target;

use crate::entry::{self, Entry};
use crate::function::Functions;
use crate::{CodegenError, Module, lower, machine, order, parallel};

/// The module's kernels and entries, optimised; only entries are seen from outside.
pub(crate) fn linked<'l>(
    module: &Module,
    entries: &[Entry],
    machine: &TargetMachine,
    llvm: &'l Context,
) -> Result<LlvmModule<'l>, CodegenError> {
    order::keep_uses();
    let kernels = entry::kernels(module);
    let optimized: Vec<_> = kernels
        .par_iter()
        .map(|(symbol, nest)| bitcode(module.target, |functions| functions.nest(symbol, nest)))
        .collect();
    let linked = llvm.create_module(&module.name);
    machine::describe(&linked, machine);
    for kernel in optimized {
        link(&linked, &kernel?)?;
    }
    let called: Vec<_> = linked.get_functions().filter(|f| f.count_basic_blocks() > 0).collect();
    let parallel = kernels.iter().any(|(_, nest)| parallel::is_parallel(nest));
    let entries = bitcode(module.target, |functions| {
        functions.weights(module);
        functions.declare_kernels(module);
        for threads in [false, true].into_iter().filter(|&threads| parallel || !threads) {
            entries.iter().for_each(|&entry| functions.entry(module, entry, threads));
        }
        Ok(())
    })?;
    link(&linked, &entries)?;
    called.iter().for_each(|function| function.set_linkage(Linkage::Internal));
    Ok(linked)
}

/// What `define` adds to a module of its own, optimised.
fn bitcode(
    target: &Target,
    define: impl FnOnce(&Functions) -> Result<(), CodegenError>,
) -> Result<Vec<u8>, CodegenError> {
    let context = lower::context();
    let mlir = melior::ir::Module::new(melior::ir::Location::unknown(&context));
    define(&Functions { context: &context, body: mlir.body(), target })?;
    let llvm = Context::create();
    let ir = lower::translate(&context, mlir, &llvm)?;
    machine::optimize(&ir, target, &machine::machine(target)?)?;
    Ok(ir.write_bitcode_to_memory().as_slice().to_vec())
}

fn link(into: &LlvmModule, bitcode: &[u8]) -> Result<(), CodegenError> {
    let buffer = MemoryBuffer::create_from_memory_range_copy(bitcode, "");
    LlvmModule::parse_bitcode_from_buffer(&buffer, into.get_context())
        .and_then(|module| into.link_in_module(module))
        .map_err(|e| CodegenError::Internal(format!("linking bitcode: {e}")))
}
