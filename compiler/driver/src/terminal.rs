//! Printing: results and problems, for people or as JSON.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::cli::Format;
use crate::diagnostic::{Diagnostic, Diagnostics};

/// What a command found: its text is [`std::fmt::Display`], its JSON twin the same data.
pub trait Report: std::fmt::Display + Serialize {
    /// 0, unless what was found is bad news.
    fn exit_code(&self) -> u8 {
        0
    }

    /// What was asked for and not done.
    fn warnings(&self) -> &[Diagnostic] {
        &[]
    }
}

/// Prints a command's result and gives the exit code.
pub fn finish<R: Report>(result: Result<R, Diagnostics>, format: Format) -> u8 {
    match (result, format) {
        (Ok(report), Format::Human) => {
            complain(&Diagnostics(report.warnings().to_vec()));
            print(&report.to_string());
            report.exit_code()
        }
        (Ok(report), Format::Json) => {
            print_json(&report);
            report.exit_code()
        }
        (Err(diagnostics), _) => fail(&diagnostics, format),
    }
}

/// Prints what went wrong and gives the exit code.
pub fn fail(diagnostics: &Diagnostics, format: Format) -> u8 {
    #[derive(Serialize)]
    struct Failure<'a> {
        exit_code: u8,
        diagnostics: &'a Diagnostics,
    }
    match format {
        Format::Json => print_json(&Failure { exit_code: diagnostics.exit_code(), diagnostics }),
        Format::Human => complain(diagnostics),
    }
    diagnostics.exit_code()
}

fn complain(diagnostics: &Diagnostics) {
    match stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        true => eprint!("{}", diagnostics.painted()),
        false => eprint!("{diagnostics}"),
    }
}

fn print_json(value: &impl Serialize) {
    // Plain data always serialises.
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    print(&(text + "\n"));
}

/// A reader that went away (`onnxc ops | head`) is no error.
fn print(text: &str) {
    let _ = stdout().write_all(text.as_bytes());
}

/// A spinner that says what is being done; silent where nobody watches.
pub struct Progress(ProgressBar);

impl Progress {
    pub fn start() -> Progress {
        if !stderr().is_terminal() {
            return Progress(ProgressBar::hidden());
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Progress(bar)
    }

    pub fn say(&self, what: &'static str) {
        self.0.set_message(what);
    }
}

/// How far a long work is, and what it has found; silent where nobody watches.
pub struct Bar(ProgressBar);

impl Bar {
    pub fn start(steps: usize) -> Bar {
        if !stderr().is_terminal() {
            return Bar(ProgressBar::hidden());
        }
        let bar = ProgressBar::new(steps as u64);
        if let Ok(style) = ProgressStyle::with_template("{bar:20} {pos}/{len} ({elapsed})  {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Bar(bar)
    }

    pub fn say(&self, what: &str) {
        self.0.set_message(what.to_owned());
    }

    pub fn advance(&self) {
        self.0.inc(1);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
