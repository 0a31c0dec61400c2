//! Trials as processes of this machine.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::{Ended, Engine, Failure, Limits, PLACE, Runner, written};
use crate::trial::{Answer, Trial};

/// Starts a command for each trial, here.
#[derive(Debug, Clone)]
pub struct Local {
    pub runner: Runner,
    pub limits: Limits,
}

impl Engine for Local {
    fn run(&self, trial: &Trial) -> Result<Answer, Failure> {
        let no_files = |error: std::io::Error| Failure::Gone(format!("no temporary files: {error}"));
        let folder = tempfile::tempdir().map_err(no_files)?;
        let place = |name: &str| folder.path().join(name);
        fs::write(place("trial"), written(trial)?).map_err(no_files)?;
        let mut child = self.start(&place("trial"), &place("stdout"), &place("stderr"))?;
        let status = self.wait(&mut child)?;
        let read = |name: &str| fs::read(place(name)).map(|said| String::from_utf8_lossy(&said).into_owned());
        let (stdout, stderr) = (read("stdout").map_err(no_files)?, read("stderr").map_err(no_files)?);
        self.runner
            .answer(trial, &Ended { failed: (!status.success()).then(|| status.to_string()), stdout, stderr })
    }
}

impl Local {
    /// Files at both ends: neither side waits for the other to read.
    fn start(&self, trial: &Path, stdout: &Path, stderr: &Path) -> Result<Child, Failure> {
        let program = self.runner.program();
        let cannot = |error: std::io::Error| Failure::Gone(format!("`{program}` can't be started: {error}"));
        let named = self.runner.0.iter().any(|word| word.contains(PLACE));
        let words = self.runner.0.iter().skip(1).map(|word| word.replace(PLACE, &trial.to_string_lossy()));
        Command::new(program)
            .args(words)
            .stdin(if named { Stdio::null() } else { File::open(trial).map_err(cannot)?.into() })
            .stdout(File::create(stdout).map_err(cannot)?)
            .stderr(File::create(stderr).map_err(cannot)?)
            // Of its own, so that what it started ends with it.
            .process_group(0)
            .spawn()
            .map_err(cannot)
    }

    fn wait(&self, child: &mut Child) -> Result<ExitStatus, Failure> {
        let program = self.runner.program();
        let start = Instant::now();
        loop {
            let status = child.try_wait();
            if let Some(status) = status.map_err(|error| Failure::Lost(format!("`{program}`: {error}")))? {
                return Ok(status);
            }
            let stopped = self.limits.stop.is_asked();
            if stopped || start.elapsed() > self.limits.trial {
                end(child);
                return Err(if stopped { Failure::Stopped } else { self.limits.passed(program) });
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Ends a process that leads a group, and its group. One that has ended already is as good.
pub(super) fn end(child: &mut Child) {
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.wait();
}
