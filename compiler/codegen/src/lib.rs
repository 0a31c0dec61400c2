//! Loops to machine code: MLIR through melior, LLVM through inkwell, one object file out.
//!
//! The only room that links LLVM. It takes no decision that changes performance ranking and knows no operator.

mod access;
mod archive;
mod arith;
mod builder;
mod cast;
mod entry;
mod expr;
mod function;
mod inspect;
mod kernel;
mod link;
mod lower;
mod machine;
mod matrix;
mod order;
mod parallel;
mod typing;
mod weights;

use std::collections::BTreeMap;
use std::fmt;

pub use archive::archive;
use entry::Entry;
use loops::Nest;
use targets::Target;

/// Everything that goes into one object file: `<name>_run`, and `<name>_run_threads` where a nest has a parallel loop
/// outermost.
#[derive(Debug, Clone)]
pub struct Module<'a> {
    /// A C identifier; every symbol starts with it.
    pub name: String,
    pub target: &'a Target,
    /// Each becomes a function `<name>_<nest.name>`, local to the object.
    pub kernels: Vec<Nest>,
    /// By kernel: what is called instead, on the same buffers, where the process may not use matrix registers. Every kernel
    /// that does has one.
    pub without_matrices: BTreeMap<usize, Nest>,
    /// What `<name>_run` does, in order.
    pub calls: Vec<Call>,
    /// Number of pointers in the header's input and output structs.
    pub inputs: usize,
    pub outputs: usize,
    /// The read-only data that `Place::Weights` points into; aligned to `WEIGHTS_ALIGN`.
    pub weights: Vec<u8>,
}

/// Alignment in bytes of the weights' section and of the arena.
pub const ALIGN: usize = 64;

/// One kernel's call: a place for each of its buffers.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Index into `Module::kernels`.
    pub kernel: usize,
    pub arguments: Vec<Place>,
}

/// Where a buffer lies when a kernel runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The k-th input's or output's memory, from a byte offset on.
    Input {
        index: usize,
        offset: usize,
    },
    Output {
        index: usize,
        offset: usize,
    },
    /// Byte offsets into the arena and the weights.
    Arena {
        offset: usize,
    },
    Weights {
        offset: usize,
    },
}

/// An object file and what is known of it.
#[derive(Debug, Clone)]
pub struct Object {
    /// ELF.
    pub bytes: Vec<u8>,
    /// Bytes of all that is loaded beside the weights: code, constants, Arm's unwinding index.
    pub code_bytes: usize,
    pub weights_bytes: usize,
    /// Arithmetic that the machine lacks and the object takes from the C compiler's own runtime (libgcc or
    /// compiler-rt, part of every link): soft floats, 64-bit division on 32-bit machines. Sorted; mostly empty.
    pub helpers: Vec<String>,
}

/// Why no object came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CodegenError {
    /// A kernel asks for what its target has not, or is not well formed.
    Kernel { kernel: String, message: String },
    /// The list of calls does not fit the module.
    Call { call: usize, message: String },
    /// The module's name is not a C identifier.
    Name(String),
    /// LLVM does not know the machine.
    Target { target: String, message: String },
    /// The object would need functions of a C library.
    Undefined { target: String, symbols: Vec<String> },
    /// A defect of this compiler.
    Internal(String),
}

impl fmt::Display for CodegenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CodegenError::Kernel { kernel, message } => write!(f, "kernel `{kernel}`: {message}"),
            CodegenError::Call { call, message } => write!(f, "call {call}: {message}"),
            CodegenError::Name(name) => write!(f, "`{name}` is not a C identifier"),
            CodegenError::Target { target, message } => write!(f, "target `{target}`: {message}"),
            CodegenError::Undefined { target, symbols } => {
                write!(f, "target `{target}` would need library functions: {}", symbols.join(", "))
            }
            CodegenError::Internal(message) => write!(f, "internal error in code generation: {message}"),
        }
    }
}

impl std::error::Error for CodegenError {}

/// Compiles `module` for its target.
pub fn emit(module: &Module) -> Result<Object, CodegenError> {
    object(module, &[Entry::Run])
}

/// As [`emit`]; beside `<name>_run`, every call can be made alone, through a function `<name>_step<k>` of the same
/// type, so that it can be measured; beside `<name>_run_threads` through `<name>_step<k>_threads`.
pub fn emit_with_steps(module: &Module) -> Result<Object, CodegenError> {
    let steps = (0..module.calls.len()).map(Entry::Step);
    object(module, &[Entry::Run].into_iter().chain(steps).collect::<Vec<_>>())
}

fn object(module: &Module, entries: &[Entry]) -> Result<Object, CodegenError> {
    check(module)?;
    let machine = machine::machine(module.target)?;
    let llvm = inkwell::context::Context::create();
    let ir = link::linked(module, entries, &machine, &llvm)?;
    let mut bytes = machine::object(&ir, module.target, &machine)?;
    let (symbol, weights) = (entry::weights_symbol(module), entry::weights(module));
    weights::patch(&mut bytes, &symbol, weights)?;
    let (helpers, foreign): (Vec<_>, Vec<_>) =
        inspect::undefined_symbols(&bytes)?.into_iter().partition(|name| inspect::is_arithmetic_helper(name));
    if !foreign.is_empty() {
        return Err(CodegenError::Undefined { target: module.target.name.clone(), symbols: foreign });
    }
    let code_bytes = inspect::code_bytes(&bytes, &symbol)?;
    Ok(Object { bytes, code_bytes, weights_bytes: weights.len(), helpers })
}

/// The target's assembly for `module`, for a reader.
pub fn assembly(module: &Module) -> Result<String, CodegenError> {
    check(module)?;
    let machine = machine::machine(module.target)?;
    let llvm = inkwell::context::Context::create();
    let ir = link::linked(module, &[Entry::Run], &machine, &llvm)?;
    machine::assembly(&ir, module.target, &machine)
}

/// One kernel as MLIR, before any pass.
pub fn mlir_text(nest: &Nest, target: &Target) -> Result<String, CodegenError> {
    let context = lower::context();
    let module = melior::ir::Module::new(melior::ir::Location::unknown(&context));
    let functions = function::Functions { context: &context, body: module.body(), target };
    functions.nest(&nest.name, nest)?;
    Ok(module.as_operation().to_string())
}

/// Whether every call names what the module has.
fn check(module: &Module) -> Result<(), CodegenError> {
    let letter = |c: char| c == '_' || c.is_ascii_alphabetic();
    let identifier =
        |name: &str| name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit());
    if !identifier(&module.name) {
        return Err(CodegenError::Name(module.name.clone()));
    }
    for (number, call) in module.calls.iter().enumerate() {
        let wrong = |message: String| Err(CodegenError::Call { call: number, message });
        let Some(kernel) = module.kernels.get(call.kernel) else {
            return wrong(format!("the module has no kernel {}", call.kernel));
        };
        if kernel.buffers.len() != call.arguments.len() {
            return wrong(format!(
                "`{}` takes {} buffers, not {}",
                kernel.name,
                kernel.buffers.len(),
                call.arguments.len()
            ));
        }
        let without = module.without_matrices.get(&call.kernel);
        if without.is_some_and(|without| without.buffers != kernel.buffers) {
            return wrong(format!("`{}` has other buffers without matrix registers", kernel.name));
        }
        for (buffer, place) in kernel.buffers.iter().zip(&call.arguments) {
            let bytes = buffer.len * buffer.dtype.bytes();
            match *place {
                Place::Input { index, .. } if index >= module.inputs => {
                    return wrong(format!("no input {index}"));
                }
                Place::Output { index, .. } if index >= module.outputs => {
                    return wrong(format!("no output {index}"));
                }
                Place::Weights { offset } if offset + bytes > module.weights.len() => {
                    return wrong(format!("`{}` lies beyond the weights", buffer.name));
                }
                _ => {}
            }
        }
    }
    Ok(())
}
