//! One run: tensors in, tensors and figures out.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ir::Tensor;
use targets::{Runner, Target};

use crate::cycles::{self, Cycles};
use crate::image::Symbols;
use crate::link::{Linker, program};
use crate::process::Ended;
use crate::{Library, MachineError, count, process, sources};

/// No inference that is worth waiting for under an emulator takes longer.
const LIMIT: Duration = Duration::from_secs(900);

/// What one inference gave and took.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    pub outputs: Vec<Tensor>,
    /// Executed from the run function's first instruction to its return; `None` where nothing counts (native).
    pub instructions: Option<u64>,
    /// Of each call of a kernel, in order, where they were asked for and something counts; what the run function does
    /// after a call is counted with it.
    pub kernels: Vec<u64>,
    /// Where they were asked for and something counts.
    pub cycles: Option<Cycles>,
    /// Bytes of the arena up to the last one written.
    pub arena_used: usize,
    /// Bytes of stack below the caller's stack pointer that were written.
    pub stack_used: usize,
}

/// What is measured beside the instructions.
#[derive(Debug, Clone, Copy, Default)]
pub struct Measure<'a> {
    /// Functions of the library that its run function calls, each call of which is counted.
    pub kernels: &'a [&'a str],
    /// Static cycles by the target's scheduling model.
    pub cycles: bool,
}

/// Runs `library` on the machine that `target`'s runner names.
///
/// The library runs twice, from differently painted memory, and must give the same outputs both times.
pub fn run(target: &Target, library: &Library, inputs: &[Tensor]) -> Result<Run, MachineError> {
    measure(target, library, inputs, &Measure::default())
}

/// As [`run`], and measures more.
pub fn measure(
    target: &Target,
    library: &Library,
    inputs: &[Tensor],
    measure: &Measure,
) -> Result<Run, MachineError> {
    if measure.cycles && target.scheduling_model.is_empty() {
        return Err(MachineError::NoSchedulingModel { target: target.name.clone() });
    }
    check_inputs(library, inputs)?;
    let folder = tempfile::tempdir().map_err(|error| MachineError::files("a temporary folder", error))?;
    let folder = folder.path();
    let program = program(target, library, Linker::Gnu, folder)?;
    let symbols = Symbols::read(&program)?;
    for (index, input) in inputs.iter().enumerate() {
        let path = folder.join(format!("input_{index:03}"));
        std::fs::write(&path, &*input.data).map_err(|error| MachineError::files(path.display(), error))?;
    }
    let (mut command, counted) = command(target, library, &symbols, measure)?;
    let ended = process::run(&mut command, folder, LIMIT)?;
    check_end(target, &ended, &symbols)?;
    let report = Report::read(folder)?;
    report.check()?;
    let counts = if counted { Some(count::read(folder)?) } else { None };
    let cycles = match counted && measure.cycles {
        true => Some(cycles::read(target, &folder.join(count::BLOCKS), folder)?),
        false => None,
    };
    Ok(Run {
        outputs: outputs(folder, library)?,
        instructions: counts.as_ref().map(|counts| counts.total),
        kernels: counts.map(|counts| counts.kernels).unwrap_or_default(),
        cycles,
        arena_used: report.arena_used,
        stack_used: report.stack_used,
    })
}

fn check_inputs(library: &Library, inputs: &[Tensor]) -> Result<(), MachineError> {
    // The runner's files are numbered by three digits.
    let most = library.inputs.len().max(library.outputs.len());
    if most > 1000 {
        return Err(MachineError::Inputs(format!(
            "{most} tensors; up to 1000 inputs and outputs can be passed"
        )));
    }
    if inputs.len() != library.inputs.len() {
        let (given, wanted) = (inputs.len(), library.inputs.len());
        return Err(MachineError::Inputs(format!("{given} input tensors for a library that takes {wanted}")));
    }
    match library.inputs.iter().zip(inputs).find(|((_, ty), input)| *ty != input.ty) {
        Some(((name, ty), input)) => {
            Err(MachineError::Inputs(format!("input `{name}` is {ty}; the given tensor is {}", input.ty)))
        }
        None => Ok(()),
    }
}

/// What starts the program, in its folder; and whether its instructions are counted.
fn command(
    target: &Target,
    library: &Library,
    symbols: &Symbols,
    measure: &Measure,
) -> Result<(Command, bool), MachineError> {
    let counter = || count::plugin_argument(symbols, library, measure);
    match &target.runner {
        None => Err(MachineError::NoRunner { target: target.name.clone() }),
        Some(Runner::Native) => Ok((Command::new("./program"), false)),
        Some(Runner::QemuUser { emulator, cpu, .. }) => {
            let mut command = Command::new(emulator);
            command.args(["-cpu", cpu, "-plugin", &counter()?, "./program"]);
            Ok((command, true))
        }
        Some(Runner::QemuSystem { emulator, machine, cpu, .. }) => {
            let mut command = Command::new(emulator);
            command.args(["-M", machine, "-nographic", "-monitor", "none", "-serial", "none"]);
            if !cpu.is_empty() {
                command.args(["-cpu", cpu]);
            }
            if machine == "virt" {
                command.args(["-bios", "none"]);
            }
            command.args(["-semihosting-config", "enable=on,target=native", "-kernel", "program"]);
            command.args(["-plugin", &counter()?]);
            Ok((command, true))
        }
    }
}

/// The program must have left with status 0; says where it stopped if the start-up caught a fault.
fn check_end(target: &Target, ended: &Ended, symbols: &Symbols) -> Result<(), MachineError> {
    if ended.status.success() {
        return Ok(());
    }
    // An emulator in user mode passes its guest's signal on as its own.
    let how = match (ended.status.code(), ended.status.signal()) {
        (_, Some(4)) => format!("met an instruction that this machine lacks (target `{}`)", target.name),
        (_, Some(11)) => "read or wrote memory that is not its own".to_string(),
        (_, Some(signal)) => format!("was ended by signal {signal}"),
        (Some(code), None) => format!("left with status {code}"),
        (None, None) => "ended in an unknown way".to_string(),
    };
    let place = fault_address(&ended.output).and_then(|address| symbols.around(address));
    let how = place.map_or(how.clone(), |place| format!("{how}, in {place}"));
    Err(MachineError::Stopped { how, output: ended.output.clone() })
}

/// The address in the start-up's `fault at 0x... cause 0x...`.
fn fault_address(output: &str) -> Option<u64> {
    let (_, rest) = output.split_once("fault at 0x")?;
    u64::from_str_radix(rest.split_whitespace().next()?, 16).ok()
}

/// The runner's own figures, see `report` in `runtime/runner/main.c`.
struct Report {
    status: i32,
    arena_used: usize,
    stack_used: usize,
    arena_passed: bool,
    input_written: bool,
}

impl Report {
    fn read(folder: &Path) -> Result<Report, MachineError> {
        let path = folder.join("report");
        let bytes = std::fs::read(&path).map_err(|error| MachineError::files(path.display(), error))?;
        let words: Vec<u32> = bytes
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
            .collect();
        match words[..] {
            [status, arena_used, stack_used, arena_passed, input_written] => Ok(Report {
                status: status as i32,
                arena_used: arena_used as usize,
                stack_used: stack_used as usize,
                arena_passed: arena_passed != 0,
                input_written: input_written != 0,
            }),
            _ => Err(MachineError::Files(format!("{}: {} bytes are no report", path.display(), bytes.len()))),
        }
    }

    fn check(&self) -> Result<(), MachineError> {
        let broken = |problem: &str| Err(MachineError::Contract(problem.to_string()));
        match self {
            Report { arena_passed: true, .. } => broken("wrote behind the end of its arena"),
            Report { input_written: true, .. } => broken("wrote to its inputs"),
            Report { stack_used, .. } if *stack_used + 64 >= sources::STACK_BYTES => {
                broken(&format!("used all {} bytes of stack that were painted", sources::STACK_BYTES))
            }
            Report { status: 0, .. } => Ok(()),
            Report { status, .. } => Err(MachineError::Status(*status)),
        }
    }
}

fn outputs(folder: &Path, library: &Library) -> Result<Vec<Tensor>, MachineError> {
    let read = |run: &str, index: usize| {
        let path = folder.join(format!("{run}_{index:03}"));
        std::fs::read(&path).map_err(|error| MachineError::files(path.display(), error))
    };
    let outputs = library.outputs.iter().enumerate();
    outputs
        .map(|(index, (name, ty))| {
            let (first, second) = (read("first", index)?, read("second", index)?);
            if let Some(byte) = first.iter().zip(&second).position(|(a, b)| a != b) {
                return Err(MachineError::Contract(format!(
                    "gave other values for output `{name}` (from byte {byte} on) in the second run: it left some \
                     unwritten or reads memory before writing it"
                )));
            }
            Ok(Tensor::new(ty.clone(), second))
        })
        .collect()
}
