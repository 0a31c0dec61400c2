//! Starting programs and waiting for them, with a limit.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::MachineError;

pub(crate) struct Ended {
    pub status: ExitStatus,
    /// What it printed, standard output and error together.
    pub output: String,
}

/// Runs `command` in `folder` without standard input; it is killed after `limit`.
pub(crate) fn run(command: &mut Command, folder: &Path, limit: Duration) -> Result<Ended, MachineError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let log = folder.join("output.log");
    let file = std::fs::File::create(&log).map_err(|error| MachineError::files(log.display(), error))?;
    let both = file.try_clone().map_err(|error| MachineError::files(log.display(), error))?;
    let child = command.current_dir(folder).stdin(Stdio::null()).stdout(file).stderr(both).spawn();
    let mut child = child.map_err(|error| match error.kind() {
        ErrorKind::NotFound => MachineError::NotInstalled { program: program.clone() },
        _ => MachineError::files(&program, error),
    })?;
    let status = wait(&mut child, limit).map_err(|error| MachineError::files(&program, error))?;
    let output = std::fs::read(&log).map_err(|error| MachineError::files(log.display(), error))?;
    let output = String::from_utf8_lossy(&output).into_owned();
    match status {
        Some(status) => Ok(Ended { status, output }),
        None => Err(MachineError::Stopped { how: format!("ran longer than {} s", limit.as_secs()), output }),
    }
}

/// `None` if the limit passed and the child was killed.
fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
