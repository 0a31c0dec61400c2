//! The pipeline in order, and the command line around it.
//!
//! [`compile`] is the one boundary: a model, a target and options in, an [`Artifact`] out. All else serves the
//! command; [`main`] is it.

mod audit;
mod cli;
mod commands;
mod compare;
mod compile;
mod cost;
mod data;
mod diagnostic;
mod engine;
mod example;
mod execute;
mod explain;
mod header;
mod identifier;
mod interface;
mod io_layout;
pub mod lower;
mod macs;
mod metadata;
mod output;
mod picture;
mod price;
mod problems;
mod random;
mod records;
mod rewriting;
mod roofline;
mod support;
mod table;
mod tensor_file;
mod terminal;
mod timing;
mod watch;
mod written;

pub use compare::{Comparison, Tolerance, compare};
pub use compile::{Artifact, Options, compile, compile_graph};
pub use cost::TargetCost;
pub use diagnostic::{Diagnostic, Diagnostics, Finding, Kind, code};
pub use execute::{Execution, as_program, in_process};
pub use interface::Port;
pub use io_layout::{IoLayout, Wish};
pub use metadata::{Metadata, Model};
pub use output::write;
pub use support::{Support, SupportedOperator, UnsupportedOperator};
pub use watch::{Dump, Watch};

use std::process::ExitCode;

use clap::Parser;

/// Deeply nested models and expressions are walked by recursion.
const STACK_BYTES: usize = 256 << 20;

/// The command `onnxc`.
pub fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let format = cli.format;
    let work = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || commands::dispatch(&cli));
    let panicked = |_| Diagnostic::bug("the compiler stopped unexpectedly; what it last said stands above");
    let result = match work {
        Ok(thread) => thread.join().map_err(panicked),
        Err(error) => {
            Err(Diagnostic::usage(code::CANNOT_RUN, format!("no thread could be started: {error}")))
        }
    };
    ExitCode::from(result.unwrap_or_else(|diagnostic| terminal::fail(&diagnostic.into(), format)))
}
