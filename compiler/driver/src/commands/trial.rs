use std::fmt;
use std::io::Read;

use serde::Serialize;
use tune::{Answer, Trial};

use crate::cli;
use crate::diagnostic::{Diagnostic, Diagnostics, code};
use crate::terminal::Report;

/// What was measured; JSON in every format.
#[derive(Serialize)]
#[serde(transparent)]
pub struct Tried(Answer);

/// `onnxc trial`: measures some schedules of one workload.
pub fn trial(arguments: &cli::Trial) -> Result<Tried, Diagnostics> {
    let named = arguments.trial.as_ref().filter(|file| file.as_os_str() != "-");
    let source = named.map_or_else(|| "standard input".to_owned(), |file| format!("`{}`", file.display()));
    let mut text = String::new();
    match named {
        Some(file) => std::fs::read_to_string(file).map(|read| text = read),
        None => std::io::stdin().read_to_string(&mut text).map(|_| ()),
    }
    .map_err(|error| Diagnostic::usage(code::CANNOT_READ, format!("cannot read {source}: {error}")))?;
    let trial: Trial = serde_json::from_str(&text).map_err(|error| {
        Diagnostic::usage(code::RECORDS, format!("{source} holds no trial: {error}"))
            .with_hint("docs/tuning.md says what one is")
    })?;
    let answer = trial.run().map_err(|error| Diagnostic::usage(code::CANNOT_RUN, error.to_string()))?;
    Ok(Tried(answer))
}

impl Report for Tried {}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Plain data always serialises.
        writeln!(f, "{}", serde_json::to_string(&self.0).unwrap_or_default())
    }
}
