//! What a developer or a fresh machine runs: `cargo xtask demo` and `cargo xtask test`. Needs Rust and nothing else;
//! what the rest needs is installed here, by package name.

mod check;
mod command;
mod demo;
mod setup;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  demo          sets this machine up, builds onnxc, compiles a real model for this machine and for a
                Cortex-M4F, runs both and prints their answers
  test [--all]  sets this machine up, then runs every test, the formatter's check and the linter;
                --all adds the slow sweeps
  setup         only sets this machine up
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["demo"] => setup::all(&[]).and_then(|python| demo::run(&python)),
        ["test"] => test(false),
        ["test", "--all"] => test(true),
        ["setup"] => setup::all(&[]).map(|_| ()),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("xtask: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn test(all: bool) -> Result<(), String> {
    let packages: Vec<&str> = check::engines(all).into_iter().map(|(_, package)| package).collect();
    check::run(&setup::all(&packages)?, all)
}
