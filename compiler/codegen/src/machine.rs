//! LLVM IR to an object file for one target.

use inkwell::OptimizationLevel;
use inkwell::attributes::AttributeLoc;
use inkwell::module::Module;
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{
    CodeModel, FileType, InitializationConfig, RelocMode, Target as LlvmTarget, TargetMachine,
    TargetMachineOptions, TargetTriple,
};
use targets::Target;
use targets::instructions::{Meaning, find};

use crate::{CodegenError, order};

/// The machine that `target` describes, in LLVM's terms.
pub(crate) fn machine(target: &Target) -> Result<TargetMachine, CodegenError> {
    let config = InitializationConfig::default();
    LlvmTarget::initialize_x86(&config);
    LlvmTarget::initialize_arm(&config);
    LlvmTarget::initialize_aarch64(&config);
    LlvmTarget::initialize_riscv(&config);
    let unknown = |message: String| CodegenError::Target { target: target.name.clone(), message };
    // Only in its full form does LLVM find the environment in a triple of three parts, and with it the Arm ABI: the
    // float registers of `eabihf`, the run-time functions of `eabi`.
    let triple = TargetMachine::normalize_triple(&TargetTriple::create(&target.triple));
    let llvm = LlvmTarget::from_triple(&triple).map_err(|e| unknown(e.to_string()))?;
    // A hosted program may be loaded anywhere; firmware is linked where it lies.
    let hosted = target.triple.contains("linux");
    // RISC-V's small model reaches the lowest and highest 2 GiB alone; memory mostly begins at 2 GiB.
    let code_model =
        if target.triple.starts_with("riscv64") { CodeModel::Medium } else { CodeModel::Default };
    let options = TargetMachineOptions::new()
        .set_cpu(&target.cpu)
        .set_features(&target.features)
        .set_abi(&target.abi)
        .set_level(OptimizationLevel::Aggressive)
        .set_reloc_mode(if hosted { RelocMode::PIC } else { RelocMode::Static })
        .set_code_model(code_model);
    llvm.create_target_machine_from_options(&triple, options)
        .ok_or_else(|| unknown("LLVM has no machine for it".into()))
}

/// An optimised module as ELF.
pub(crate) fn object(
    module: &Module,
    target: &Target,
    machine: &TargetMachine,
) -> Result<Vec<u8>, CodegenError> {
    let _order = order::hold(target.instruction_order);
    let buffer = machine
        .write_to_memory_buffer(module, FileType::Object)
        .map_err(|e| CodegenError::Internal(format!("writing the object: {e}")))?;
    Ok(buffer.as_slice().to_vec())
}

pub(crate) fn assembly(
    module: &Module,
    target: &Target,
    machine: &TargetMachine,
) -> Result<String, CodegenError> {
    let _order = order::hold(target.instruction_order);
    let buffer = machine
        .write_to_memory_buffer(module, FileType::Assembly)
        .map_err(|e| CodegenError::Internal(format!("writing assembly: {e}")))?;
    Ok(String::from_utf8_lossy(buffer.as_slice()).trim_end_matches('\0').to_string())
}

/// Whether the machine has an instruction that sums a whole vector: LLVM forms it, with a predicated tail, from plain
/// loops.
fn sums_vectors(target: &Target) -> bool {
    let instructions = target.instructions.iter().filter_map(|name| find(name));
    instructions.into_iter().any(|i| i.meaning == Meaning::DotAll && i.arguments[1].lanes > 2)
}

/// For which machine `module` is.
pub(crate) fn describe(module: &Module, machine: &TargetMachine) {
    module.set_triple(&machine.get_triple());
    module.set_data_layout(&machine.get_target_data().get_data_layout());
    // An assembler's file name would be the only trace of where the compiler ran.
    module.set_source_file_name("");
}

pub(crate) fn optimize(
    module: &Module,
    target: &Target,
    machine: &TargetMachine,
) -> Result<(), CodegenError> {
    describe(module, machine);
    describe_functions(module, target);
    let options = PassBuilderOptions::create();
    options.set_loop_interleaving(false);
    options.set_loop_unrolling(false);
    let passes = match target.vector.bits {
        _ if sums_vectors(target) => "default<O3>".to_string(),
        0 => format!("function({CLEAN_UP},{SHORT_ADDRESSES})"),
        _ => format!("function({CLEAN_UP})"),
    };
    module
        .run_passes(&passes, machine, options)
        .map_err(|e| CodegenError::Internal(format!("LLVM's passes: {e}")))
}

/// Our schedules decide on vectors and unrolling; what is left is to fold, share and hoist. `default<O3>` would
/// vectorize again whatever it is told, and takes three times as long. That `instcombine` leaves no work for a second
/// run, LLVM checks (and ends the process) unless it is told not to.
///
/// Jump threading joins the guards of neighbouring taps: a sixth of all instructions of a network of depthwise
/// convolutions on a Cortex-M7.
const CLEAN_UP: &str = "sroa,early-cse<memssa>,instcombine<no-verify-fixpoint>,simplifycfg,\
    loop-mssa(loop-rotate,licm),loop(indvars,loop-deletion),gvn,instcombine<no-verify-fixpoint>,simplifycfg,\
    jump-threading,adce";

/// For machines that add no more than a constant to an address: the constant parts of indices go where the load or store
/// takes them for free. Elsewhere registers are scarcer than additions.
const SHORT_ADDRESSES: &str = "separate-const-offset-from-gep,early-cse,loop-mssa(licm),simplifycfg";

/// What holds for every function of a generated library: it never unwinds and calls no library.
fn describe_functions(module: &Module, target: &Target) {
    let context = module.get_context();
    let flag = |name: &str| {
        context.create_enum_attribute(inkwell::attributes::Attribute::get_named_enum_kind_id(name), 0)
    };
    let text = |key: &str, value: &str| context.create_string_attribute(key, value);
    let width = target.vector.bits.to_string();
    for function in module.get_functions().filter(|f| f.count_basic_blocks() > 0) {
        let at = AttributeLoc::Function;
        function.add_attribute(at, flag("nounwind"));
        // No loop becomes a call of memset or memcpy.
        function.add_attribute(at, text("no-builtins", ""));
        function.add_attribute(at, text("target-cpu", &target.cpu));
        function.add_attribute(at, text("target-features", &target.features));
        if target.vector.bits >= 512 {
            // LLVM splits 512-bit vectors on most CPUs unless it is told that they are wanted.
            function.add_attribute(at, text("prefer-vector-width", &width));
            function.add_attribute(at, text("min-legal-vector-width", &width));
        }
        function.add_attribute(at, flag("noinline"));
        let section = function.get_name().to_string_lossy().into_owned();
        function.set_section(Some(&format!(".text.{section}")));
    }
    for global in module.get_globals() {
        // Its bytes come after LLVM: loads must not be folded to zeros.
        global.set_externally_initialized(true);
    }
}
