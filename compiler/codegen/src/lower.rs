//! MLIR down to LLVM IR in a context that inkwell owns.

use inkwell::context::Context as LlvmContext;
use inkwell::module::Module as LlvmModule;
use melior::Context;
use melior::dialect::DialectRegistry;
use melior::ir::Module as MlirModule;
use melior::ir::operation::OperationLike;
use melior::pass::{PassManager, conversion};
use melior::utility::{register_all_dialects, register_all_llvm_translations};

use crate::CodegenError;

/// A context with the dialects that kernels are written in.
pub(crate) fn context() -> Context {
    let registry = DialectRegistry::new();
    register_all_dialects(&registry);
    let context = Context::new();
    // Kernels run side by side already.
    context.enable_multi_threading(false);
    context.append_dialect_registry(&registry);
    for dialect in ["arith", "func", "scf", "cf", "vector", "llvm"] {
        context.get_or_load_dialect(dialect);
    }
    register_all_llvm_translations(&context);
    context
}

/// Runs MLIR's conversions on `module` and translates the result.
pub(crate) fn translate<'l>(
    context: &Context,
    mut module: MlirModule,
    llvm: &'l LlvmContext,
) -> Result<LlvmModule<'l>, CodegenError> {
    let internal = |what: &str| CodegenError::Internal(what.to_string());
    if !module.as_operation().verify() {
        return Err(internal("the MLIR module does not verify"));
    }
    let passes = PassManager::new(context);
    passes.enable_verifier(false);
    for pass in [
        conversion::create_scf_to_control_flow(),
        conversion::create_vector_to_llvm(),
        conversion::create_arith_to_llvm(),
        conversion::create_control_flow_to_llvm(),
        conversion::create_func_to_llvm(),
        conversion::create_reconcile_unrealized_casts(),
    ] {
        passes.add_pass(pass);
    }
    passes.run(&mut module).map_err(|e| internal(&format!("lowering to the llvm dialect: {e}")))?;
    // SAFETY: the module is a valid operation for the call; the context outlives the LLVM module, which the call hands
    // over to us. Both libraries are linked against one libLLVM, so the pointer types are the same.
    let raw =
        unsafe { mlir_sys::mlirTranslateModuleToLLVMIR(module.as_operation().to_raw(), llvm.raw().cast()) };
    if raw.is_null() {
        return Err(internal("translation to LLVM IR"));
    }
    // SAFETY: just made, owned by nobody else.
    Ok(unsafe { LlvmModule::new(raw.cast()) })
}
