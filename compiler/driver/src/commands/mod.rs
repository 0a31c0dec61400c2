//! One file per command: what it does, and how it says so.

pub mod bench;
pub mod check;
pub mod compile;
pub mod explain;
pub mod operators;
pub mod records;
pub mod run;
pub mod targets;
pub mod trial;
pub mod tune;
pub mod verify;

use crate::cli::{Cli, Command};
use crate::terminal::finish;

/// Runs the command and gives the exit code.
pub fn dispatch(cli: &Cli) -> u8 {
    match &cli.command {
        Command::Bench(arguments) => finish(bench::bench(arguments), cli.format),
        Command::Check(arguments) => finish(check::check(arguments), cli.format),
        Command::Compile(arguments) => finish(compile::compile(arguments), cli.format),
        Command::Explain(arguments) => finish(explain::explain(arguments), cli.format),
        Command::Run(arguments) => finish(run::run(arguments), cli.format),
        Command::Verify(arguments) => finish(verify::verify(arguments), cli.format),
        Command::Targets => finish(targets::targets(), cli.format),
        Command::Tune(arguments) => finish(tune::tune(arguments), cli.format),
        Command::Trial(arguments) => finish(trial::trial(arguments), cli.format),
        Command::Records(arguments) => finish(records::records(arguments), cli.format),
        Command::Ops => finish(operators::operators(), cli.format),
    }
}
