//! LLVM's tools: instructions as text, and what a scheduling model makes of them.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use targets::Target;

use crate::MachineError;
use crate::blocks::{Run, VectorType};
use crate::cycles::Cost;
use crate::link::llvm_programs;
use crate::process;

const DISASSEMBLER: &str = "llvm-mc";
const ANALYZER: &str = "llvm-mca";

/// Rounds of each run that are simulated: enough for filling and emptying the pipeline to be about a percent.
const ROUNDS: u64 = 100;

const LIMIT: Duration = Duration::from_secs(600);

/// What each run costs by `target`'s scheduling model.
pub(crate) fn costs(target: &Target, runs: &[&Run], folder: &Path) -> Result<Vec<Cost>, MachineError> {
    let texts = disassembled(target, runs, folder)?;
    let mut source = String::new();
    for (place, (run, lines)) in runs.iter().zip(&texts).enumerate() {
        // Writing to a String does not fail.
        let _ = writeln!(source, "# LLVM-MCA-BEGIN {place}");
        source += &run.vector_type.map(instrument).unwrap_or_default();
        lines.iter().for_each(|line| _ = writeln!(source, "{line}"));
        let _ = writeln!(source, "# LLVM-MCA-END {place}");
    }
    let mut command = program(ANALYZER);
    command.args(["--json", "--instruction-info=0", "--resource-pressure=0"]);
    command.args(["--skip-unsupported-instructions=any", "--call-latency=1"]);
    command.arg(format!("--iterations={ROUNDS}"));
    let report = tool(command, "-mtriple", target, &source, folder)?;
    let report: Analysis = serde_json::from_str(&report)
        .map_err(|error| MachineError::Files(format!("what {ANALYZER} gives is not understood: {error}")))?;
    // A run of which the model has no instruction is not in the report.
    let mut costs: Vec<Cost> = runs
        .iter()
        .map(|run| run.instructions.len() as u64)
        .map(|unmodelled| Cost { cycles: unmodelled as f64, unmodelled })
        .collect();
    for Region { name, summary } in report.regions {
        if let Some(cost) = name.parse::<usize>().ok().and_then(|place| costs.get_mut(place)) {
            let unmodelled = cost.unmodelled.saturating_sub(summary.instructions / ROUNDS);
            let cycles = summary.cycles as f64 / ROUNDS as f64 + unmodelled as f64;
            *cost = Cost { cycles, unmodelled };
        }
    }
    Ok(costs)
}

/// llvm-mca's report, as far as it is read.
#[derive(Deserialize)]
struct Analysis {
    #[serde(rename = "CodeRegions")]
    regions: Vec<Region>,
}

#[derive(Deserialize)]
struct Region {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "SummaryView")]
    summary: Summary,
}

/// Of all rounds.
#[derive(Deserialize)]
struct Summary {
    #[serde(rename = "Instructions")]
    instructions: u64,
    #[serde(rename = "TotalCycles")]
    cycles: u64,
}

/// Tells llvm-mca what lies in `vtype`: how many registers are one, and how wide elements are.
fn instrument(VectorType(bits): VectorType) -> String {
    let group = match bits & 7 {
        0 => "M1",
        1 => "M2",
        2 => "M4",
        3 => "M8",
        5 => "MF8",
        6 => "MF4",
        7 => "MF2",
        _ => return String::new(),
    };
    let element = match bits >> 3 & 7 {
        0 => "E8",
        1 => "E16",
        2 => "E32",
        3 => "E64",
        _ => return String::new(),
    };
    format!("# LLVM-MCA-RISCV-LMUL {group}\n# LLVM-MCA-RISCV-SEW {element}\n")
}

/// Each run's instructions as text; those that LLVM does not know are left out.
fn disassembled(target: &Target, runs: &[&Run], folder: &Path) -> Result<Vec<Vec<String>>, MachineError> {
    let mut source = String::new();
    for instruction in runs.iter().flat_map(|run| &run.instructions) {
        instruction.iter().for_each(|byte| _ = write!(source, "{byte:#04x} "));
        source.push('\n');
    }
    let mut command = program(DISASSEMBLER);
    command.args(["--disassemble", "--show-encoding"]);
    let text = tool(command, "-triple", target, &source, folder)?;
    // The lines come in the order of the instructions, each with its own bytes.
    let mut lines = text.lines().filter_map(|line| line.split_once("encoding: [")).peekable();
    let mut known = |instruction: &[u8]| {
        let bytes = instruction.iter().map(|byte| format!("{byte:#04x}")).collect::<Vec<_>>().join(",") + "]";
        let (line, _) = lines.next_if(|(_, encoding)| *encoding == bytes)?;
        // What leads to the encoding begins with the assembler's sign of a comment.
        Some(line.trim_end_matches(['#', '@', '/', ' ', '\t']).trim_start().to_owned())
    };
    let texts = runs
        .iter()
        .map(|run| run.instructions.iter().filter_map(|instruction| known(instruction)).collect())
        .collect();
    match lines.next() {
        None => Ok(texts),
        Some((line, _)) => Err(MachineError::Files(format!(
            "what {DISASSEMBLER} gives is not understood, from `{}` on",
            line.trim()
        ))),
    }
}

fn program(name: &str) -> Command {
    Command::new(llvm_programs().join(name))
}

/// What a tool of LLVM's makes of `source` for `target`'s scheduling model; `triple` is its flag for that.
fn tool(
    mut command: Command,
    triple: &str,
    target: &Target,
    source: &str,
    folder: &Path,
) -> Result<String, MachineError> {
    let (input, output) = (folder.join("llvm.in"), folder.join("llvm.out"));
    std::fs::write(&input, source).map_err(|error| MachineError::files(input.display(), error))?;
    command.arg(format!("{triple}={}", target.triple)).arg(format!("-mcpu={}", target.scheduling_model));
    command.arg(format!("-mattr={}", target.features)).arg(&input).arg("-o").arg(&output);
    let ended = process::run(&mut command, folder, LIMIT)?;
    if !ended.status.success() {
        return Err(MachineError::Analysis { model: target.scheduling_model.clone(), output: ended.output });
    }
    std::fs::read_to_string(&output).map_err(|error| MachineError::files(output.display(), error))
}
