//! Where trials run: a command that takes one as JSON and gives the answer as JSON.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::trial::{Answer, Trial, TrialError};

/// The word of a command that stands for the file that the trial is written to.
const PLACE: &str = "{trial}";

/// Words of a command that runs a trial. No shell reads them. Where one of them holds `{trial}`, the name of a file with
/// the trial is put in its place; else the trial comes on standard input. The answer is expected on standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runner(pub Vec<String>);

impl Runner {
    /// Runs a trial in a process of its own: what goes wrong there ends that process alone.
    pub fn run(&self, trial: &Trial) -> Result<Answer, TrialError> {
        let wrong = |what: &str, error: &dyn std::fmt::Display| TrialError(format!("{what}: {error}"));
        let text = serde_json::to_string(trial).map_err(|error| wrong("the trial is not written", &error))?;
        let file = tempfile::NamedTempFile::new().map_err(|error| wrong("no temporary file", &error))?;
        let named = self.0.iter().any(|word| word.contains(PLACE));
        if named {
            std::fs::write(file.path(), &text).map_err(|error| wrong("no temporary file", &error))?;
        }
        let mut words = self.0.iter().map(|word| word.replace(PLACE, &file.path().to_string_lossy()));
        let program =
            words.next().ok_or_else(|| TrialError("the command of the runner is empty".to_owned()))?;
        let mut child = Command::new(&program)
            .args(words)
            .stdin(if named { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| wrong(&format!("`{program}` can't be started"), &error))?;
        if let Some(mut input) = child.stdin.take() {
            // A child that ends early says why itself.
            let _ = input.write_all(text.as_bytes());
        }
        let ended = child.wait_with_output().map_err(|error| wrong(&program, &error))?;
        let said = String::from_utf8_lossy(&ended.stderr);
        if !ended.status.success() {
            let said = if said.trim().is_empty() { String::from_utf8_lossy(&ended.stdout) } else { said };
            return Err(TrialError(format!("`{program}` ended with {}: {}", ended.status, said.trim())));
        }
        let answer: Answer = serde_json::from_slice(&ended.stdout)
            .map_err(|error| wrong(&format!("`{program}` gave no answer"), &error))?;
        if answer.schedules.len() != trial.schedules.len() {
            let (given, asked) = (answer.schedules.len(), trial.schedules.len());
            return Err(TrialError(format!("`{program}` answered for {given} schedules of {asked}")));
        }
        match trial.unit {
            Some(unit) if answer.unit != unit.name() => Err(TrialError(format!(
                "`{program}` measured {}, not {}, which was asked for",
                answer.unit,
                unit.name()
            ))),
            _ => Ok(answer),
        }
    }
}
