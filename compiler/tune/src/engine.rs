//! Where trials run. An engine takes a trial and gives its answer, many of them at once; the search does not know which
//! engine it is.

mod cluster;
mod local;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use cluster::{Cluster, Queue};
pub use local::Local;

use crate::trial::{Answer, Trial, TrialError};

/// Runs trials, each in a process of its own: what goes wrong there ends that process alone.
pub trait Engine: Sync {
    /// Runs one and waits for its answer. Called by as many threads as there shall be trials under way.
    fn run(&self, trial: &Trial) -> Result<Answer, Failure>;
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The trial ran and failed, and would again.
    Trial(TrialError),
    /// Nothing came back, which says nothing about the trial's schedules.
    Lost(String),
    /// Neither this trial nor any other can be run.
    Gone(String),
    /// The user asked to stop.
    Stopped,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Trial(error) => error.fmt(f),
            Failure::Lost(why) | Failure::Gone(why) => f.write_str(why),
            Failure::Stopped => f.write_str("it was stopped"),
        }
    }
}

impl std::error::Error for Failure {}

/// What ends the wait for a trial.
#[derive(Debug, Clone)]
pub struct Limits {
    /// From when it is handed over to its answer.
    pub trial: Duration,
    pub stop: Stop,
}

impl Limits {
    fn passed(&self, program: &str) -> Failure {
        let seconds = self.trial.as_secs();
        Failure::Lost(format!("`{program}` gave no answer within {seconds} s; --trial-limit allows more"))
    }
}

/// Says to all that hold a clone of it that they should end.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The word of a command that stands for the file that the trial is written to.
const PLACE: &str = "{trial}";

/// Words of a command that runs a trial. No shell reads them. Where one of them holds `{trial}`, the name of a file with
/// the trial is put in its place; else the trial comes on standard input. The answer is expected on standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runner(pub Vec<String>);

impl Runner {
    fn program(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    /// The answer to `trial` in what the command printed.
    fn answer(&self, trial: &Trial, ended: &Ended) -> Result<Answer, Failure> {
        let program = self.program();
        let wrong = |what: String| Failure::Trial(TrialError(what));
        if let Some(how) = &ended.failed {
            let said = [&ended.stderr, &ended.stdout].into_iter().find(|said| !said.trim().is_empty());
            return Err(wrong(format!(
                "`{program}` ended with {how}: {}",
                said.map_or("", |said| said.trim())
            )));
        }
        let answer: Answer = serde_json::from_str(&ended.stdout)
            .map_err(|error| wrong(format!("`{program}` gave no answer: {error}")))?;
        match (answer.schedules.len(), trial.schedules.len()) {
            (given, asked) if given == asked => (),
            (given, asked) => {
                return Err(wrong(format!("`{program}` answered for {given} schedules of {asked}")));
            }
        }
        match trial.unit {
            Some(unit) if answer.unit != unit.name() => Err(wrong(format!(
                "`{program}` measured {}, not {}, which was asked for",
                answer.unit,
                unit.name()
            ))),
            _ => Ok(answer),
        }
    }
}

/// How a command ended.
struct Ended {
    /// Its status, unless that says that all went well.
    failed: Option<String>,
    stdout: String,
    stderr: String,
}

fn written(trial: &Trial) -> Result<String, Failure> {
    serde_json::to_string(trial)
        .map_err(|error| Failure::Trial(TrialError(format!("the trial is not written: {error}"))))
}
