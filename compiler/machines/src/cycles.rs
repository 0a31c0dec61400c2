//! Static cycles: what LLVM's scheduling model of a processor makes of the instructions that an inference executed.
//!
//! Each run of instructions is simulated by llvm-mca as a loop of itself, and costs what a round then takes: its
//! dependences, the width of the machine and its units count. Every load meets its cache, and every branch is foreseen.

use std::collections::HashMap;
use std::path::Path;

use targets::Target;

use crate::MachineError;
use crate::blocks::{self, Run};
use crate::mca;

/// Static cycles of one inference.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cycles {
    pub total: f64,
    /// Of each call of a kernel that was asked for, to the next.
    pub kernels: Vec<f64>,
    /// Executed, by the blocks: as many as are counted.
    pub instructions: u64,
    /// Of these those that the model does not have; they are taken to cost a cycle each.
    pub unmodelled: u64,
}

/// What a run costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cost {
    pub cycles: f64,
    /// Of its instructions those that the model does not have.
    pub unmodelled: u64,
}

/// Static cycles of the last inference in `blocks`, a file that `plugin/count.c` wrote, by `target`'s scheduling model.
pub fn cycles(target: &Target, blocks: &Path) -> Result<Cycles, MachineError> {
    if target.scheduling_model.is_empty() {
        return Err(MachineError::NoSchedulingModel { target: target.name.clone() });
    }
    let folder = tempfile::tempdir().map_err(|error| MachineError::files("a temporary folder", error))?;
    read(target, blocks, folder.path())
}

/// As [`cycles`]; `folder` is for files of LLVM's tools.
pub(crate) fn read(target: &Target, path: &Path, folder: &Path) -> Result<Cycles, MachineError> {
    let text = std::fs::read_to_string(path).map_err(|error| MachineError::files(path.display(), error))?;
    let parts = blocks::read(&text, target.triple.starts_with("thumb")).ok_or_else(|| {
        MachineError::Files(format!("{}: these are no blocks of an inference", path.display()))
    })?;
    let mut runs: Vec<&Run> = Vec::new();
    let mut places: HashMap<&Run, usize> = HashMap::new();
    for (run, _) in parts.iter().flatten() {
        places.entry(run).or_insert_with(|| {
            runs.push(run);
            runs.len() - 1
        });
    }
    let costs = mca::costs(target, &runs, folder)?;
    let cost = |run: &Run| costs[places[run]];
    let mut all = Cycles::default();
    for (k, part) in parts.iter().enumerate() {
        let mut cycles = 0.0;
        for (run, times) in part {
            let Cost { cycles: each, unmodelled } = cost(run);
            cycles += each * *times as f64;
            let executed = |count: u64| count.saturating_mul(*times);
            all.instructions = all.instructions.saturating_add(executed(run.instructions.len() as u64));
            all.unmodelled = all.unmodelled.saturating_add(executed(unmodelled));
        }
        all.total += cycles;
        // The first part is what comes before the first kernel.
        if k > 0 {
            all.kernels.push(cycles);
        }
    }
    Ok(all)
}
