//! Static cycles of what QEMU's plugin wrote of any program (`blocks=FILE`), by a target's scheduling model:
//!
//!     cargo run --release -p machines --example static_cycles -- TARGET BLOCKS
//!
//! prints the cycles, the instructions, and those of them that the model does not have.

use std::path::Path;
use std::process::ExitCode;

use targets::Target;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [target, blocks] = &arguments[..] else {
        eprintln!("static_cycles TARGET BLOCKS");
        return ExitCode::from(2);
    };
    let cycles = Target::preset(target)
        .map_err(|error| error.to_string())
        .and_then(|target| machines::cycles(&target, Path::new(blocks)).map_err(|error| error.to_string()));
    match cycles {
        Ok(cycles) => {
            println!("{:.0} {} {}", cycles.total, cycles.instructions, cycles.unmodelled);
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}
