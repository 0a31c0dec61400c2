//! `cargo xtask test`: tests, formatting, lints.

use std::ffi::OsString;
use std::path::Path;

use crate::command::{self, command, step};

/// Set for tests that have a slow, complete form beside their quick one.
const ALL: &str = "ONNXC_TEST_ALL";

/// Names the clusters whose Python packages are there, so that tests on them are not left out.
const ENGINES: &str = "ONNXC_TEST_ENGINES";

/// The clusters that tests run on, and the Python packages of each. HyperQueue's is for x86-64 alone; Ray's is large.
pub fn engines(all: bool) -> Vec<(&'static str, &'static str)> {
    let hq = cfg!(target_arch = "x86_64").then_some(("hq", "hyperqueue"));
    hq.into_iter().chain(all.then_some(("ray", "ray"))).collect()
}

/// Runs everything even if something fails, so that one run shows all there is to mend.
pub fn run(python: &Path, all: bool) -> Result<(), String> {
    let mut tests = command("cargo", &["test", "--workspace", "--no-fail-fast"]);
    let engines: Vec<&str> = engines(all).into_iter().map(|(engine, _)| engine).collect();
    tests.env("PATH", search_path(python)).env(ENGINES, engines.join(" "));
    if all {
        tests.env(ALL, "1");
    }
    let clippy = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"];
    let steps = [
        ("tests", tests),
        ("formatting", command("cargo", &["fmt", "--all", "--check"])),
        ("lints", command("cargo", &clippy)),
    ];
    let mut failures = Vec::new();
    for (name, mut command) in steps {
        step(name);
        failures.extend(command::run(&mut command).err());
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\nxtask: ")) }
}

/// `PATH` with `python`'s folder first, so that tests that call `python3` get the one that was set up.
fn search_path(python: &Path) -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folder = python.parent().filter(|folder| folder.is_absolute()).map(Path::to_path_buf);
    let folders = folder.into_iter().chain(std::env::split_paths(&path));
    std::env::join_paths(folders).unwrap_or(path)
}
