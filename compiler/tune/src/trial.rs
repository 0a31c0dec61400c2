//! One trial: some schedules of one workload, measured beside the default.

use std::fmt;

use ir::{DType, Tensor};
use rayon::prelude::*;
use schedule::{Schedule, Space, Workload};
use serde::{Deserialize, Serialize};
use targets::{Runner, Target};

use crate::host;
use crate::program::Program;

/// What is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    pub workload: Workload,
    pub target: Machine,
    /// In which costs are wanted; left out, what the runner measures by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// That share out the kernel's loops: 1 to 64.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub threads: usize,
    pub schedules: Vec<Schedule>,
}

fn one() -> usize {
    1
}

fn is_one(threads: &usize) -> bool {
    *threads == 1
}

/// What costs are told in, of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Nanoseconds.
    Ns,
    Instructions,
    /// Static cycles, by the target's scheduling model in LLVM.
    Cycles,
}

impl Unit {
    /// As answers and records call it.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Ns => "ns",
            Unit::Instructions => "instructions",
            Unit::Cycles => "cycles",
        }
    }
}

/// A target by its name, or in full.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Machine {
    Name(String),
    Description(Box<Target>),
}

impl Machine {
    /// For libraries that may use so many threads.
    pub fn target(&self, threads: usize) -> Result<Target, TrialError> {
        let target = match self {
            Machine::Name(name) => Target::preset(name).map_err(|error| TrialError(error.to_string()))?,
            Machine::Description(target) => (**target).clone(),
        };
        Ok(Target { threads, ..target })
    }
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// [`Unit::name`], or what another runner measures; of one run.
    pub unit: String,
    /// The machine, emulator or model.
    pub measured: String,
    /// By the default schedule, in the same process and interleaved with the others.
    pub default: Measured,
    /// One per schedule: what it takes, or why it does not count.
    pub schedules: Vec<Result<Measured, String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// The median, in the answer's unit.
    pub cost: f64,
    /// Between the quartiles, as a share of the median; 0 where nothing varies.
    pub spread: f64,
}

/// Why a trial could not be made at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialError(pub String);

impl fmt::Display for TrialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TrialError {}

impl Trial {
    /// Compiles all schedules at the same time, then measures: on this machine one run after the other, in an emulator
    /// all at once.
    pub fn run(&self) -> Result<Answer, TrialError> {
        self.workload.check().map_err(|wrong| TrialError(format!("the workload is malformed: {wrong}")))?;
        if !(1..=64).contains(&self.threads) {
            return Err(TrialError(format!("{} threads: from 1 to 64 are possible", self.threads)));
        }
        let target = self.target.target(self.threads)?;
        let unit = self.unit(&target)?;
        let space = Space::new(&self.workload, &target);
        let default = Program::new(&self.workload, space.default_schedule(), &target)
            .map_err(|error| TrialError(format!("the default schedule is not compiled: {error}")))?;
        let compiled: Vec<Result<Program, String>> = self
            .schedules
            .par_iter()
            .map(|schedule| {
                Program::new(&self.workload, schedule, &target).map_err(|error| error.to_string())
            })
            .collect();
        if unit == Unit::Ns {
            return host::measure(&target, &default, compiled);
        }
        let wrong = |error: TrialError| TrialError(format!("the default schedule is not run: {error}"));
        let (cost, outputs) = default.count(&target, unit).map_err(wrong)?;
        let schedules = compiled
            .into_par_iter()
            .map(|program| {
                let (cost, got) = program?.count(&target, unit).map_err(|error| error.to_string())?;
                agree(&got, &outputs)?;
                Ok(Measured { cost, spread: 0.0 })
            })
            .collect();
        let measured = match (unit, &target.runner) {
            (Unit::Cycles, _) => format!("LLVM's model of {}", target.scheduling_model),
            (_, Some(Runner::QemuUser { emulator, .. } | Runner::QemuSystem { emulator, .. })) => {
                emulator.clone()
            }
            (_, Some(Runner::Native) | None) => String::new(),
        };
        let default = Measured { cost, spread: 0.0 };
        Ok(Answer { unit: unit.name().to_owned(), measured, default, schedules })
    }

    /// What is measured where `target`'s programs are run.
    fn unit(&self, target: &Target) -> Result<Unit, TrialError> {
        let refused = |unit: Unit, why: &str| {
            TrialError(format!("{} can't be told for target `{}`: {why}", unit.name(), target.name))
        };
        match (&target.runner, self.unit) {
            (None, _) => {
                Err(TrialError(format!("{} does not say how its programs are run here", target.name)))
            }
            (Some(Runner::Native), None | Some(Unit::Ns)) => Ok(Unit::Ns),
            (Some(Runner::Native), Some(unit)) => {
                Err(refused(unit, "its programs run on this machine, where ns are measured"))
            }
            (Some(_), Some(Unit::Ns)) => Err(refused(
                Unit::Ns,
                "an emulator does not tell the time; instructions and cycles can be told",
            )),
            (Some(_), unit) if target.threads > 1 => Err(refused(
                unit.unwrap_or(Unit::Instructions),
                "an emulator does not tell what threads do at the same time",
            )),
            (Some(_), unit) => Ok(unit.unwrap_or(Unit::Instructions)),
        }
    }
}

/// How far floats of two schedules may be apart, relative to the largest: sums in another order, and Winograd's tiles.
const ROUNDING: f64 = 1e-3;

/// Whether a schedule gives what the default gives.
pub(crate) fn agree(got: &[Tensor], wanted: &[Tensor]) -> Result<(), String> {
    for (got, wanted) in got.iter().zip(wanted) {
        let largest = |values: &[f64]| values.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
        let (a, b) = (got.to_f64s(), wanted.to_f64s());
        let within = match wanted.ty.dtype {
            DType::F16 | DType::BF16 => 20.0 * ROUNDING * largest(&b),
            dtype if dtype.is_float() => ROUNDING * largest(&b),
            _ => 0.0,
        };
        let same = |(a, b): (&f64, &f64)| a == b || (a - b).abs() <= within || (a.is_nan() && b.is_nan());
        if !a.iter().zip(&b).all(same) {
            return Err("it gives other results than the default schedule".to_owned());
        }
    }
    Ok(())
}
