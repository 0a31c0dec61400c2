use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

use ir::Tensor;
use serde::Serialize;
use targets::Target;

use crate::cli::{self, On};
use crate::compile::{Artifact, Options};
use crate::diagnostic::{Diagnostic, Diagnostics, code};
use crate::execute::{self, Loaded};
use crate::metadata::{Kernel, Metadata};
use crate::picture;
use crate::random;
use crate::records;
use crate::roofline::{self, Ceilings, Timed};
use crate::table::{grouped, table, time};
use crate::terminal::{Progress, Report};
use crate::timing::{self, Times};
use crate::watch::Watch;
use crate::written::Written;

#[derive(Serialize)]
pub struct Benched {
    model: String,
    target: String,
    ran: &'static str,
    threads: usize,
    /// That a run on one thread was pinned to, where the system lets it.
    core: Option<usize>,
    /// Multiply-adds of one inference.
    macs: u64,
    /// Of one inference; none in an emulator, which does not tell the time.
    times: Option<Times>,
    /// At the median.
    gflops: Option<f64>,
    /// Executed by one inference, where the emulator counts them.
    instructions: Option<u64>,
    /// With --cycles: what they take by the target's scheduling model.
    cycles: Option<u64>,
    /// With --cycles: executed instructions that the model does not have, taken to cost a cycle each.
    unmodelled: Option<u64>,
    /// With --per-node: what this machine can do at most, and the kernels in the order in which they run.
    ceilings: Option<Ceilings>,
    kernels: Vec<Timed>,
    /// With --per-node in an emulator: the kernels in the order in which they run.
    counted: Vec<Counted>,
    page: Option<PathBuf>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Diagnostic>,
}

/// A kernel whose instructions were counted.
#[derive(Serialize)]
struct Counted {
    #[serde(flatten)]
    kernel: Kernel,
    instructions: u64,
    /// Of all instructions of the inference, with --cycles of all cycles.
    share: f64,
    cycles: Option<u64>,
}

/// A library to be measured.
struct Subject {
    metadata: Metadata,
    target: Target,
    object: Vec<u8>,
    archive: Vec<u8>,
    warnings: Vec<Diagnostic>,
}

/// `onnxc bench`: how long a model takes, and with `--per-node` each of its kernels.
pub fn bench(arguments: &cli::Bench) -> Result<Benched, Diagnostics> {
    let progress = Progress::start();
    let subject = match arguments.model.model.is_dir() {
        true => written(arguments)?,
        false => compiled(arguments, &progress)?,
    };
    let inputs = random::inputs(subject.metadata.inputs.iter().map(|port| &port.ty), arguments.seed);
    progress.say("measure");
    let benched = match place(arguments, &subject.target)? {
        On::Host => timed(arguments, &subject, &inputs)?,
        On::Qemu => counted(arguments, &subject, &inputs)?,
    };
    if let Some(path) = &arguments.html {
        write(path, &benched.page())?;
    }
    Ok(benched)
}

fn per_node(arguments: &cli::Bench) -> bool {
    arguments.per_node || arguments.html.is_some()
}

/// An output directory's library, as it is.
fn written(arguments: &cli::Bench) -> Result<Subject, Diagnostic> {
    let cli::TargetArgs { target, target_triple, threads, .. } = &arguments.target;
    let compiles = target.is_some()
        || target_triple.is_some()
        || *threads != 1
        || !arguments.records.records.is_empty()
        || arguments.records.no_records
        || !arguments.model.pins.words().is_empty()
        || !arguments.rewriting.is_usual();
    let dir = &arguments.model.model;
    let refused = |why: &str| {
        let message = format!("`{}` {why}", dir.display());
        Err(Diagnostic::usage(code::COMMAND_LINE, message)
            .with_hint("give the model instead of the directory"))
    };
    if compiles {
        return refused("is compiled already: how it is to be compiled can't be said any more");
    }
    let written = Written::open(dir)?;
    if per_node(arguments) && place(arguments, &written.target)? == On::Host {
        return refused("is a finished library, whose kernels can't be timed one by one");
    }
    let object = written.object()?;
    check_cycles(arguments, place(arguments, &written.target)?, &written.target)?;
    let Written { metadata, target, archive, .. } = written;
    Ok(Subject { metadata, target, object, archive, warnings: vec![] })
}

fn compiled(arguments: &cli::Bench, progress: &Progress) -> Result<Subject, Diagnostics> {
    let target = arguments.target.resolve()?;
    // Before the work, not after.
    let place = place(arguments, &target)?;
    if place == On::Qemu && target.threads != 1 {
        let message = "in QEMU `bench` counts the instructions of one thread; leave --threads out";
        return Err(Diagnostic::usage(code::COMMAND_LINE, message).into());
    }
    check_cycles(arguments, place, &target)?;
    let say = |stage| progress.say(stage);
    let (records, mut warnings) = records::load(&arguments.records, &target)?;
    let options = Options {
        pins: arguments.model.pins.options(),
        records,
        rewriting: arguments.rewriting.options(),
        steps: per_node(arguments) && place == On::Host,
        ..Options::default()
    };
    let artifact = crate::compile(&arguments.model.model, &target, &options, &mut Watch::new(&[], &say))?;
    warnings.extend(artifact.warnings);
    let Artifact { metadata, object, archive, .. } = artifact;
    Ok(Subject { metadata, target, object, archive, warnings })
}

fn check_cycles(arguments: &cli::Bench, place: On, target: &Target) -> Result<(), Diagnostic> {
    match place {
        _ if !arguments.cycles => Ok(()),
        On::Host => Err(Diagnostic::usage(
            code::CANNOT_RUN,
            "--cycles is for code that runs in an emulator; on this machine time is measured",
        )),
        On::Qemu => execute::check_cycles(target),
    }
}

/// In this process what is for exactly this machine, else in the emulator.
fn place(arguments: &cli::Bench, target: &Target) -> Result<On, Diagnostic> {
    let (here, native) = (execute::is_this_machine(target), execute::is_native(target));
    let wrong = |message: &str, hint: &str| {
        Err(Diagnostic::usage(code::CANNOT_RUN, message.replace("{}", &target.name)).with_hint(hint))
    };
    match arguments.on {
        None | Some(On::Host) if here => Ok(On::Host),
        _ if arguments.html.is_some() && !here => wrong(
            "the roofline is this machine's, and {} is another",
            "--per-node alone prints the instructions of each kernel",
        ),
        None | Some(On::Qemu) if !native && target.runner.is_some() => Ok(On::Qemu),
        Some(On::Host) => {
            wrong("only code for exactly this machine is timed, and {} is another", "use --target host")
        }
        _ if native => wrong("{} is of this machine's own family and has no emulator", "use --target host"),
        _ => wrong("{} does not say how its programs are run here", "give it a [runner] in a .toml file"),
    }
}

fn timed(arguments: &cli::Bench, subject: &Subject, inputs: &[Tensor]) -> Result<Benched, Diagnostic> {
    let Subject { metadata, target, object, .. } = subject;
    let mut loaded = Loaded::new(object, metadata, inputs)?;
    let threads = metadata.threads;
    // Only a thread that is alone: others are started by now, and stay where the system puts them.
    let core = if threads == 1 { timing::pin_to_core() } else { None };
    let run = loaded.entry("run")?;
    let whole = timing::repeat(arguments.seconds, threads, 1, |_| loaded.enter(run))?.remove(0);
    let (mut ceilings, mut kernels) = (None, vec![]);
    if per_node(arguments) {
        let steps: Vec<_> = (0..metadata.kernels.len())
            .map(|k| loaded.entry(&format!("step{k}")))
            .collect::<Result<_, _>>()?;
        let cores = Target { threads, ..target.clone() };
        let before = roofline::measure(&cores)?;
        let times = timing::repeat(arguments.seconds, threads, steps.len(), |k| loaded.enter(steps[k]))?;
        // A machine that others use as well is not always equally fast.
        let measured = before.best(roofline::measure(&cores)?);
        let touched = metadata.memory.arena_bytes + metadata.memory.weights_bytes;
        kernels = roofline::timed(&metadata.kernels, &times, &measured, touched);
        ceilings = Some(measured);
    }
    Ok(Benched {
        core,
        gflops: (metadata.macs > 0).then(|| 2e-9 * metadata.macs as f64 / whole.median.max(1e-9)),
        times: Some(whole),
        ceilings,
        kernels,
        page: arguments.html.clone(),
        ..Benched::of(subject, "in this process")
    })
}

fn counted(arguments: &cli::Bench, subject: &Subject, inputs: &[Tensor]) -> Result<Benched, Diagnostic> {
    let Subject { metadata, target, archive, .. } = subject;
    // Cycles are summed kernel by kernel in either case, so that both say the same.
    let (instructions, kernels, cycles) = match per_node(arguments) || arguments.cycles {
        true => {
            let run = execute::by_kernel(archive, metadata, target, inputs, arguments.cycles)?;
            (run.instructions, run.kernels, run.cycles)
        }
        false => (execute::as_program(archive, metadata, target, inputs)?.instructions, vec![], None),
    };
    let whole = |cycles: f64| cycles.round() as u64;
    let of_kernel = |k: usize| Some(whole(*cycles.as_ref()?.kernels.get(k)?));
    let all = cycles.as_ref().map(|cycles| cycles.total).or(instructions.map(|count| count as f64));
    let counted = |(k, (kernel, &instructions)): (usize, (&Kernel, &u64))| Counted {
        kernel: kernel.clone(),
        instructions,
        share: of_kernel(k).unwrap_or(instructions) as f64 / all.unwrap_or_default().max(1.0),
        cycles: of_kernel(k),
    };
    let counted = match per_node(arguments) {
        true => metadata.kernels.iter().zip(&kernels).enumerate().map(counted).collect(),
        false => vec![],
    };
    Ok(Benched {
        instructions,
        cycles: cycles.as_ref().map(|cycles| whole(cycles.total)),
        unmodelled: cycles.as_ref().map(|cycles| cycles.unmodelled),
        counted,
        ..Benched::of(subject, "in QEMU")
    })
}

fn write(path: &Path, text: &str) -> Result<(), Diagnostic> {
    let cannot = |error: &dyn fmt::Display| {
        Diagnostic::usage(code::CANNOT_WRITE, format!("cannot write `{}`: {error}", path.display()))
    };
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|error| cannot(&error))?;
    file.write_all(text.as_bytes()).map_err(|error| cannot(&error))?;
    file.persist(path).map_err(|error| cannot(&error))?;
    Ok(())
}

impl Benched {
    fn of(subject: &Subject, ran: &'static str) -> Benched {
        Benched {
            model: subject.metadata.name.clone(),
            target: subject.target.name.clone(),
            ran,
            threads: subject.metadata.threads,
            core: None,
            macs: subject.metadata.macs,
            times: None,
            gflops: None,
            instructions: None,
            cycles: None,
            unmodelled: None,
            ceilings: None,
            kernels: vec![],
            counted: vec![],
            page: None,
            warnings: subject.warnings.clone(),
        }
    }

    fn heading(&self) -> String {
        let place = match (self.threads, self.core) {
            (1, Some(core)) => format!(" on core {core}"),
            (1, None) => String::new(),
            (threads, _) => format!(" on {threads} threads"),
        };
        format!("{} for {}, {}{place}", self.model, self.target, self.ran)
    }

    /// How many instructions a cycle, and how many of them the model does not have.
    fn cycles_note(&self, cycles: u64) -> String {
        let instructions = self.instructions.unwrap_or_default() as f64;
        let rate = format!("{:.2} instructions a cycle", instructions / cycles.max(1) as f64);
        match self.unmodelled.unwrap_or_default() {
            0 => rate,
            some => format!(
                "{rate}; {:.1} % of them are not in the model, and taken for a cycle each",
                100.0 * some as f64 / instructions.max(1.0)
            ),
        }
    }

    fn page(&self) -> String {
        let median = self.times.map(|times| format!(": {}", time(times.median))).unwrap_or_default();
        let heading = self.heading() + &median;
        self.ceilings
            .as_ref()
            .map_or(String::new(), |ceilings| picture::roofline::page(&heading, ceilings, &self.kernels))
    }
}

impl Report for Benched {
    fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }
}

impl fmt::Display for Benched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.heading())?;
        let mut rows = Vec::new();
        let mut row = |what: &str, value: String, note: String| rows.push(vec![what.to_owned(), value, note]);
        if let Some(times) = self.times {
            row("median", time(times.median), format!("of {} runs", grouped(times.runs as u128)));
            row("p99", time(times.p99), String::new());
            row("least", time(times.least), String::new());
        }
        if let Some(instructions) = self.instructions {
            row("instructions", grouped(instructions), String::new());
        }
        if let Some(cycles) = self.cycles {
            row("static cycles", grouped(cycles), self.cycles_note(cycles));
        }
        let speed =
            self.gflops.map(|gflops| format!("{gflops:.1} GFLOP/s at the median")).unwrap_or_default();
        row("MACs", grouped(self.macs), speed);
        f.write_str(&table(&["", ">", ""], &rows))?;
        if let Some(ceilings) = &self.ceilings {
            writeln!(f, "\n{}\n", in_words(ceilings))?;
            let rows: Vec<Vec<String>> = self.kernels.iter().map(kernel_row).collect();
            let heading = ["kernel", ">time", ">%", ">GFLOP/s", ">GB/s", ">of roof", "roof", "nodes"];
            f.write_str(&table(&heading, &rows))?;
        }
        if !self.counted.is_empty() {
            let rows: Vec<Vec<String>> = self.counted.iter().map(counted_row).collect();
            writeln!(f)?;
            let heading: &[&str] = match self.cycles {
                Some(_) => &["kernel", ">instructions", ">cycles", ">%", ">per MAC", "nodes"],
                None => &["kernel", ">instructions", ">%", ">per MAC", "nodes"],
            };
            f.write_str(&table(heading, &rows))?;
        }
        match &self.page {
            Some(page) => writeln!(f, "\n  {}", page.display()),
            None => Ok(()),
        }
    }
}

fn in_words(Ceilings { cores, flops, levels }: &Ceilings) -> String {
    let levels: Vec<String> =
        levels.iter().map(|level| format!("{} {:.0} GB/s", level.name, 1e-9 * level.rate)).collect();
    let cores = if *cores == 1 { "one core".to_owned() } else { format!("{cores} cores together") };
    format!("{cores}: {:.0} GFLOP/s of multiply-adds; reads: {}", 1e-9 * flops, levels.join(", "))
}

fn kernel_row(timed: &Timed) -> Vec<String> {
    vec![
        timed.kernel.symbol.clone(),
        time(timed.times.median),
        format!("{:.1}", 100.0 * timed.share),
        timed.gflops.map(|gflops| format!("{gflops:.1}")).unwrap_or_default(),
        format!("{:.1}", timed.gigabytes_per_second),
        format!("{:.0} %", 100.0 * timed.of_roof),
        timed.bound.roof.clone(),
        nodes(&timed.kernel),
    ]
}

/// As far as a terminal has room; `--format json` has them all.
fn nodes(kernel: &Kernel) -> String {
    picture::shortened(&kernel.nodes.join(" + "), 72)
}

fn counted_row(counted: &Counted) -> Vec<String> {
    let Counted { kernel, instructions, share, cycles } = counted;
    let per_mac = cycles.unwrap_or(*instructions) as f64 / kernel.macs.max(1) as f64;
    let mut row = vec![kernel.symbol.clone(), grouped(*instructions)];
    row.extend(cycles.map(grouped));
    row.push(format!("{:.1}", 100.0 * share));
    row.push(if kernel.macs > 0 { format!("{per_mac:.2}") } else { String::new() });
    row.push(nodes(kernel));
    row
}
