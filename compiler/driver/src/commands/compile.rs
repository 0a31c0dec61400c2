use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use targets::Runner;

use crate::cli;
use crate::compile::Options;
use crate::diagnostic::{Diagnostic, Diagnostics, Kind, code};
use crate::metadata::{Memory, Metadata};
use crate::output;
use crate::table::{bytes, grouped, table};
use crate::terminal::{Progress, Report};
use crate::watch::{Dump, Watch};

#[derive(Serialize)]
pub struct Compiled {
    directory: PathBuf,
    files: Vec<PathBuf>,
    metadata: Metadata,
    seconds: Vec<(&'static str, f64)>,
    dumps: Vec<(Dump, String)>,
    #[serde(skip)]
    next: String,
}

/// `onnxc compile`: a model becomes an output directory.
pub fn compile(arguments: &cli::Compile) -> Result<Compiled, Diagnostics> {
    let target = arguments.target.resolve()?;
    // Before minutes of work, not after.
    output::foreign(&arguments.output)?;
    let progress = Progress::start();
    let say = |stage| progress.say(stage);
    let mut watch = Watch::new(&arguments.dump, &say);
    let options = Options { name: arguments.name.clone(), pins: arguments.model.pins.options() };
    let artifact = crate::compile(&arguments.model.model, &target, &options, &mut watch)?;
    within(&artifact.metadata.memory, arguments)?;
    let files = output::write(&artifact, &arguments.output)?;
    let seconds = watch.times.iter().map(|(stage, time)| (*stage, seconds(*time))).collect();
    let next = next_command(target.runner.as_ref(), &arguments.output, &artifact.metadata);
    let directory = arguments.output.clone();
    Ok(Compiled { directory, files, metadata: artifact.metadata, seconds, dumps: watch.texts, next })
}

fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e3).round() / 1e3
}

/// Holds the library against the user's budgets.
fn within(memory: &Memory, arguments: &cli::Compile) -> Result<(), Diagnostics> {
    let flash = memory.code_bytes + memory.weights_bytes;
    let budgets = [
        ("RAM for the arena", "--max-ram", memory.arena_bytes, arguments.max_ram),
        ("read-only memory for code and weights", "--max-flash", flash, arguments.max_flash),
    ];
    let over = |(what, flag, needed, budget): (&str, &str, usize, Option<usize>)| {
        let budget = budget.filter(|&budget| needed > budget)?;
        let (needed, lacking) = (grouped(needed as u128), grouped((needed - budget) as u128));
        Some(Diagnostic::new(
            Kind::OverBudget,
            code::OVER_BUDGET,
            format!("the library needs {needed} bytes of {what}, {lacking} more than {flag} allows"),
        ))
    };
    let over: Vec<Diagnostic> = budgets.into_iter().filter_map(over).collect();
    if over.is_empty() { Ok(()) } else { Err(Diagnostics(over)) }
}

/// What to type now: build and run the example where that is possible, else prove the numbers in the emulator.
fn next_command(runner: Option<&Runner>, dir: &Path, metadata: &Metadata) -> String {
    let (dir, name) = (dir.display(), &metadata.name);
    let build = |compiler: &str, flags: &[String]| {
        let flags: String = flags.iter().map(|flag| format!(" {flag}")).collect();
        format!("{compiler}{flags} -O2 {dir}/example.c {dir}/lib{name}.a -o example")
    };
    match runner {
        Some(Runner::Native) => format!("{} && ./example", build("cc", &[])),
        Some(Runner::QemuUser { emulator, cpu, compiler, flags }) => {
            format!("{} -static && {emulator} -cpu {cpu} ./example", build(compiler, flags))
        }
        Some(Runner::QemuSystem { compiler, flags, .. }) => {
            let flags: String = flags.iter().map(|flag| format!(" {flag}")).collect();
            format!("{compiler}{flags} -O2 -ffreestanding -c {dir}/example.c -o example.o   # then link lib{name}.a")
        }
        None => format!("link {dir}/lib{name}.a and include {dir}/{name}.h"),
    }
}

impl Report for Compiled {}

impl fmt::Display for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (_, text) in &self.dumps {
            writeln!(f, "{}", text.trim_end())?;
        }
        let Metadata { name, target, memory, macs, kernels, .. } = &self.metadata;
        let total: f64 = self.seconds.iter().map(|(_, seconds)| seconds).sum();
        writeln!(f, "{name} for {} in {total:.2} s: {} kernels, {} MACs\n", target.name, kernels.len(), grouped(*macs))?;
        let row = |what: &str, count: usize, where_: &str| vec![what.to_owned(), grouped(count as u128), where_.to_owned()];
        let rows = [
            row("arena", memory.arena_bytes, "bytes of RAM, lent by the caller"),
            row("weights", memory.weights_bytes, "bytes of read-only memory"),
            row("code", memory.code_bytes, "bytes of read-only memory"),
        ];
        f.write_str(&table(&["", ">", ""], &rows))?;
        writeln!(f)?;
        for file in &self.files {
            let size = std::fs::metadata(file).map_or(0, |file| file.len() as usize);
            writeln!(f, "  {}  {}", file.display(), bytes(size))?;
        }
        writeln!(f, "\nnext:  {}", self.next)
    }
}
