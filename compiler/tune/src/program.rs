//! A workload alone as a library: its operands are inputs or weights, filled with numbers of no meaning.

use std::collections::HashMap;

use codegen::{Call, Module, Object, Place};
use fastrand::Rng;
use ir::{DType, Scalar, Tensor, TensorType};
use loops::{Nest, Source};
use machines::{Library, Measure};
use schedule::{Argument, Operand, Schedule, Workload, lower_by};
use targets::Target;

use crate::trial::{TrialError, Unit};

/// The prefix of its symbols.
pub(crate) const NAME: &str = "trial";

/// Bytes that a trial may take: what large kernels take, and no more than a small machine has.
const MOST_BYTES: usize = 2 << 30;

/// A compiled workload.
pub(crate) struct Program {
    pub object: Object,
    pub inputs: Vec<Tensor>,
    /// The result, where the kernel writes all of its buffer; else that lies in the arena.
    pub outputs: Vec<TensorType>,
    pub arena_bytes: usize,
}

impl Program {
    pub fn new(workload: &Workload, schedule: &Schedule, target: &Target) -> Result<Program, TrialError> {
        let kernel =
            lower_by(workload, schedule, target).map_err(|refused| TrialError(refused.to_string()))?;
        let bytes: usize = kernel.nest.buffers.iter().map(|buffer| buffer.len * buffer.dtype.bytes()).sum();
        if bytes > MOST_BYTES {
            return Err(TrialError(format!("it takes {bytes} bytes of buffers; {MOST_BYTES} are the most")));
        }
        let (mut inputs, mut outputs, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        let mut arena_bytes = 0;
        let mut known: HashMap<Source, Place> = HashMap::new();
        let mut arguments = Vec::new();
        for (argument, buffer) in kernel.arguments.iter().zip(&kernel.nest.buffers) {
            let ty = TensorType::new(buffer.dtype, [buffer.len]);
            let mut in_arena = || {
                let offset = usize::next_multiple_of(arena_bytes, codegen::ALIGN);
                arena_bytes = offset + ty.bytes();
                Place::Arena { offset }
            };
            arguments.push(match argument {
                Argument::Source(source) if known.contains_key(source) => known[source],
                Argument::Source(source) => {
                    let operand = operand(workload, source)?;
                    let place = match operand.constant {
                        true => Place::Weights { offset: add(&mut weights, &filled(operand)) },
                        false => {
                            inputs.push(filled(operand));
                            Place::Input { index: inputs.len() - 1, offset: 0 }
                        }
                    };
                    known.insert(*source, place);
                    place
                }
                Argument::Packed { source, packing } => {
                    let packed = loops::evaluate(packing, &[&filled(operand(workload, source)?)]).remove(0);
                    Place::Weights { offset: add(&mut weights, &packed) }
                }
                Argument::Result if workload.written() == buffer.len => {
                    outputs.push(ty);
                    Place::Output { index: 0, offset: 0 }
                }
                Argument::Result | Argument::Scratch(_) => in_arena(),
            });
        }
        let named = |nest: Nest| Nest { name: "kernel".to_owned(), ..nest };
        let module = Module {
            name: NAME.to_owned(),
            target,
            kernels: vec![named(kernel.nest)],
            without_matrices: kernel.without_matrices.map(|nest| (0, named(nest))).into_iter().collect(),
            calls: vec![Call { kernel: 0, arguments }],
            inputs: inputs.len(),
            outputs: outputs.len(),
            weights,
        };
        let object = codegen::emit(&module).map_err(|error| TrialError(error.to_string()))?;
        Ok(Program { object, inputs, outputs, arena_bytes })
    }

    /// Runs it in the emulator of `target`: what one run costs in `unit`, and outputs.
    pub fn count(&self, target: &Target, unit: Unit) -> Result<(f64, Vec<Tensor>), TrialError> {
        let wrong = |error: &dyn std::fmt::Display| TrialError(error.to_string());
        let folder = tempfile::tempdir().map_err(|error| wrong(&error))?;
        let file = folder.path().join(format!("lib{NAME}.a"));
        let archive = codegen::archive(NAME, &self.object).map_err(|error| wrong(&error))?;
        std::fs::write(&file, archive).map_err(|error| wrong(&error))?;
        let ports = |of: &str, types: Vec<TensorType>| -> Vec<(String, TensorType)> {
            types.into_iter().enumerate().map(|(k, ty)| (format!("{of}{k}"), ty)).collect()
        };
        let library = Library {
            archive: &file,
            name: NAME,
            inputs: &ports("x", self.inputs.iter().map(|tensor| tensor.ty.clone()).collect()),
            outputs: &ports("y", self.outputs.clone()),
            arena_bytes: self.arena_bytes,
            arena_align: codegen::ALIGN,
        };
        let measure = Measure { cycles: unit == Unit::Cycles, ..Measure::default() };
        let run =
            machines::measure(target, &library, &self.inputs, &measure).map_err(|error| wrong(&error))?;
        let cost = match unit {
            Unit::Cycles => run.cycles.map(|cycles| cycles.total),
            Unit::Instructions => run.instructions.map(|instructions| instructions as f64),
            Unit::Ns => None,
        };
        Ok((cost.ok_or_else(|| wrong(&"nothing was counted"))?, run.outputs))
    }
}

fn operand<'w>(workload: &'w Workload, source: &Source) -> Result<&'w Operand, TrialError> {
    let operand = workload.operands.iter().find(|operand| operand.source == *source);
    let operand = operand.ok_or_else(|| TrialError(format!("the workload has no {source:?}")))?;
    match operand.len.saturating_mul(operand.dtype.bytes()) {
        bytes if bytes > MOST_BYTES => Err(TrialError(format!("{source:?} takes {bytes} bytes"))),
        _ => Ok(operand),
    }
}

/// Numbers for an operand, the same for every schedule: floats in [-1, 1), bytes of any value, wider integers 0 or 1
/// (they may be indices).
fn filled(operand: &Operand) -> Tensor {
    let number = match operand.source {
        Source::Operand(k) | Source::Stage(k) | Source::Table(k) => k as u64,
    };
    let mut random = Rng::with_seed(number);
    let dtype = operand.dtype;
    let mut data = Vec::with_capacity(operand.len * dtype.bytes());
    for _ in 0..operand.len {
        let element = match dtype {
            float if float.is_float() => Scalar::from_f64(float, f64::from(random.f32()) * 2.0 - 1.0),
            DType::U8 | DType::I8 => Scalar::from_i64(dtype, random.i64(-128..128)),
            other => Scalar::from_i64(other, random.i64(0..2)),
        };
        data.extend(element.to_le_bytes());
    }
    Tensor::new(TensorType::new(dtype, [operand.len]), data)
}

fn add(weights: &mut Vec<u8>, tensor: &Tensor) -> usize {
    weights.resize(weights.len().next_multiple_of(codegen::ALIGN), 0);
    weights.extend_from_slice(&tensor.data);
    weights.len() - tensor.data.len()
}
