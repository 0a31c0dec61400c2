use std::fmt;
use std::path::PathBuf;

use serde::Serialize;
use targets::{Runner, Target};

use crate::cli;
use crate::compile::Options;
use crate::diagnostic::{Diagnostic, Diagnostics, Kind, code};
use crate::metadata::{Memory, Metadata};
use crate::table::{bytes, grouped, table};
use crate::terminal::{Progress, Report};
use crate::watch::{Dump, Watch};
use crate::{output, records};

#[derive(Serialize)]
pub struct Compiled {
    directory: PathBuf,
    files: Vec<PathBuf>,
    metadata: Metadata,
    stages: Vec<Stage>,
    dumps: Vec<Dumped>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Diagnostic>,
    /// What to type now.
    next: String,
}

#[derive(Serialize)]
struct Stage {
    stage: &'static str,
    seconds: f64,
}

#[derive(Serialize)]
struct Dumped {
    stage: Dump,
    text: String,
}

/// `onnxc compile`: a model becomes an output directory.
pub fn compile(arguments: &cli::Compile) -> Result<Compiled, Diagnostics> {
    let target = arguments.rewriting.allowed(arguments.target.resolve()?);
    // Before minutes of work, not after.
    output::foreign(&arguments.output)?;
    let (records, mut warnings) = records::load(&arguments.records, &target)?;
    let progress = Progress::start();
    let say = |stage| progress.say(stage);
    let mut watch = Watch::new(&arguments.dump, &say);
    let options = Options {
        name: arguments.name.clone(),
        pins: arguments.model.pins.options(),
        rewriting: arguments.rewriting.options(),
        io_layout: arguments.io.io_layout.clone(),
        records,
        ..Options::default()
    };
    let artifact = crate::compile(&arguments.model.model, &target, &options, &mut watch)?;
    within(&artifact.metadata.memory, arguments)?;
    let files = output::write(&artifact, &arguments.output)?;
    warnings.extend(artifact.warnings);
    Ok(Compiled {
        directory: arguments.output.clone(),
        files,
        next: next_command(&target, arguments, &artifact.metadata),
        metadata: artifact.metadata,
        stages: watch
            .times
            .iter()
            .map(|(stage, time)| Stage { stage, seconds: time.as_secs_f64() })
            .collect(),
        warnings,
        dumps: watch.texts.into_iter().map(|(stage, text)| Dumped { stage, text }).collect(),
    })
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

/// What to type now: build and run the example where it runs here, else prove the numbers in the emulator.
fn next_command(target: &Target, arguments: &cli::Compile, metadata: &Metadata) -> String {
    let (dir, name) = (&arguments.output, &metadata.name);
    let file = |file: String| quoted(&dir.join(file).to_string_lossy());
    let library = file(format!("lib{name}.a"));
    match target.runner {
        Some(Runner::Native) => {
            format!("cc {} {library} -o example && ./example", file("example.c".to_owned()))
        }
        Some(_) => {
            let pins = arguments
                .model
                .pins
                .words()
                .iter()
                .map(|word| format!(" {}", quoted(word)))
                .collect::<String>();
            let target = arguments.target.target.as_deref().unwrap_or_default();
            let model = quoted(&arguments.model.model.to_string_lossy());
            format!("onnxc verify {model}{pins} --target {}", quoted(target))
        }
        None => format!("link {library} and include {}", file(format!("{name}.h"))),
    }
}

/// `word` as a POSIX shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:+,@".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

impl Report for Compiled {
    fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }
}

impl fmt::Display for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Dumped { text, .. } in &self.dumps {
            writeln!(f, "{}", text.trim_end())?;
        }
        let Metadata { name, target, memory, macs, macs_saved, dropped, rewriting, kernels, .. } =
            &self.metadata;
        let total: f64 = self.stages.iter().map(|stage| stage.seconds).sum();
        writeln!(
            f,
            "{name} for {} in {total:.2} s: {} kernels, {} MACs, {} modelled cycles",
            target.name,
            kernels.len(),
            grouped(*macs),
            grouped(rewriting.modelled_cycles)
        )?;
        if !dropped.is_empty() {
            let channels: usize = dropped.iter().map(|node| node.channels).sum();
            let (channels, saved) = (grouped(channels as u64), grouped(*macs_saved));
            writeln!(f, "left out: {channels} channels without effect, {saved} MACs")?;
        }
        writeln!(f)?;
        let row = |what: &str, count: usize, where_: &str| {
            vec![what.to_owned(), grouped(count as u128), where_.to_owned()]
        };
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
