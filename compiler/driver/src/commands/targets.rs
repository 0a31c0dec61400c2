use std::fmt;

use serde::Serialize;
use targets::{Runner, Target};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::table::table;
use crate::terminal::Report;

#[derive(Serialize)]
#[serde(transparent)]
pub struct Targets(Vec<Target>);

/// `onnxc targets`: every target that comes with the compiler.
pub fn targets() -> Result<Targets, Diagnostics> {
    // The presets are part of this program: one that cannot be read is our fault.
    Ok(Targets(Target::list().map_err(|error| Diagnostic::bug(error.to_string()))?))
}

impl Report for Targets {}

impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |target: &Target| {
            let runs = match &target.runner {
                Some(Runner::Native) => "here",
                Some(Runner::QemuUser { .. } | Runner::QemuSystem { .. }) => "QEMU",
                None => "-",
            };
            vec![
                target.name.clone(),
                target.triple.clone(),
                target.cpu.clone(),
                runs.to_owned(),
                target.description.clone(),
            ]
        };
        let rows: Vec<Vec<String>> = self.0.iter().map(row).collect();
        f.write_str(&table(&["target", "triple", "cpu", "runs in", "description"], &rows))?;
        writeln!(
            f,
            "\n--target also takes a .toml file; --target-triple, --target-cpu and --target-features anything that LLVM knows."
        )
    }
}
