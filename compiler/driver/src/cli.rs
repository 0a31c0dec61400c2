//! The command line: what can be said, and how it is read.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use targets::Target;

use crate::commands::tune::duration;
use crate::diagnostic::{Diagnostic, code};
use crate::io_layout::Wish;
use crate::picture::Form;
use crate::watch::Dump;

/// Compiles ONNX models ahead of time into static libraries for x86, ARM Cortex-A and Cortex-M, and RISC-V.
///
/// Exit codes: 0 ok, 1 a bug of onnxc, 2 usage, 3 invalid model, 4 unsupported, 5 over budget, 6 verification failed.
#[derive(Debug, Parser)]
#[command(name = "onnxc", version, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// How results and problems are printed.
    #[arg(long, global = true, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    pub format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Human,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Says what a model is and whether it can be compiled; writes nothing.
    #[command(visible_alias = "inspect")]
    Check(Check),
    /// Compiles a model into a static library, its header and its description.
    Compile(Compile),
    /// Says what became of a model's nodes: which kernels they are in, what those cost, and what was not done and why.
    Explain(Explain),
    /// Runs a model, or a library that `compile` wrote for this machine.
    Run(Run),
    /// Compares a model's compiled code with the reference evaluator, or with expected outputs.
    ///
    /// A float output passes if its largest error is within --tolerance of the expected output's range (its largest
    /// magnitude or its spread, whichever is more) or within --absolute; integers and booleans must be equal. The last
    /// line is PASS or FAIL.
    Verify(Verify),
    /// Times a model, or a library that `compile` wrote for this machine, on one core or --threads of them; under QEMU
    /// counts instructions.
    ///
    /// Runs in this process on random inputs, again and again for --seconds; prints the median, the 99th percentile and the
    /// least. With --per-node every kernel is measured as it runs in the model; on this machine its time is held against what
    /// this machine can do at most: the multiply-adds and the bytes from each cache that small loops measure here (the
    /// roofline model).
    Bench(Bench),
    /// Finds better schedules for a model's kernels by measuring, and writes them as records that `compile` takes.
    ///
    /// Kernels that the file has already are done; a run that was interrupted goes on where it was.
    Tune(Tune),
    /// Measures some schedules of one kernel: JSON in, JSON out. What `tune` runs, here or elsewhere.
    Trial(Trial),
    /// Looks into files of tuning records, and puts them together.
    Records(Records),
    /// Lists the targets.
    Targets,
    /// Lists the ONNX operators that can be compiled.
    Ops,
}

/// The model, and what makes it static.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// The model: an .onnx file.
    pub model: PathBuf,
    #[command(flatten)]
    pub pins: Pins,
}

#[derive(Debug, Args)]
pub struct Pins {
    /// Pins a named dimension of the inputs: batch=1.
    #[arg(long = "dim", value_name = "NAME=N", value_parser = dim)]
    pub dims: Vec<(String, usize)>,
    /// Pins the whole shape of an input: x:1x3x224x224 or x[1,3,224,224].
    #[arg(long = "shape", value_name = "INPUT:AxB", value_parser = shape)]
    pub shapes: Vec<(String, Vec<usize>)>,
    /// Makes an input of one element a constant: sr=16000.
    #[arg(long = "set", value_name = "INPUT=VALUE", value_parser = assignment)]
    pub scalars: Vec<(String, String)>,
}

impl Pins {
    pub fn options(&self) -> onnx::Options {
        onnx::Options {
            dims: self.dims.clone(),
            shapes: self.shapes.clone(),
            scalars: self.scalars.clone(),
            constants: vec![],
        }
    }

    /// The same pins as words of a command line.
    pub fn words(&self) -> Vec<String> {
        let joined = |extents: &[usize]| extents.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
        let dims = self.dims.iter().map(|(name, extent)| ["--dim".to_owned(), format!("{name}={extent}")]);
        let shapes = self
            .shapes
            .iter()
            .map(|(name, shape)| ["--shape".to_owned(), format!("{name}:{}", joined(shape))]);
        let scalars =
            self.scalars.iter().map(|(name, value)| ["--set".to_owned(), format!("{name}={value}")]);
        dims.chain(shapes).chain(scalars).flatten().collect()
    }
}

/// The machine to compile for.
#[derive(Debug, Args)]
pub struct TargetArgs {
    /// A preset (see `onnxc targets`) or a .toml file of your own [default: host].
    #[arg(long, value_name = "NAME|FILE", conflicts_with = "target_triple")]
    pub target: Option<String>,
    /// Any machine in LLVM's words: its triple.
    #[arg(long, value_name = "TRIPLE")]
    pub target_triple: Option<String>,
    /// LLVM's name of the CPU.
    #[arg(long, value_name = "CPU", requires = "target_triple")]
    pub target_cpu: Option<String>,
    /// LLVM's features: +a,-b.
    #[arg(long, value_name = "FEATURES", requires = "target_triple", allow_hyphen_values = true)]
    pub target_features: Option<String>,
    /// Makes a second function, NAME_run_threads, whose loops run on up to so many threads. The application brings the
    /// threads, or takes the pool of runtime/threads along.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub threads: u16,
}

impl TargetArgs {
    pub fn resolve(&self) -> Result<Target, Diagnostic> {
        let target = match (&self.target_triple, self.target.as_deref()) {
            (Some(triple), _) => Target::custom(
                triple,
                self.target_cpu.as_deref().unwrap_or_default(),
                self.target_features.as_deref().unwrap_or_default(),
            ),
            (None, Some(file)) if file.ends_with(".toml") => Target::from_toml_file(file.as_ref()),
            (None, name) => Target::preset(name.unwrap_or("host")),
        };
        let target = target.map_err(|error| {
            Diagnostic::usage(code::TARGET, error.to_string()).with_hint("`onnxc targets` lists the presets")
        })?;
        Ok(Target { threads: usize::from(self.threads), ..target })
    }
}

/// Schedules that were found by tuning.
#[derive(Debug, Args)]
pub struct RecordsArgs {
    /// Records that `onnxc tune` wrote: a file, or a directory of .jsonl files (may be repeated; later ones stand before
    /// earlier ones, and all before those that come with the compiler).
    #[arg(long, value_name = "FILE|DIR")]
    pub records: Vec<PathBuf>,
    /// The default schedules alone.
    #[arg(long, conflicts_with = "records")]
    pub no_records: bool,
}

#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub target: TargetArgs,
}

#[derive(Debug, Args)]
pub struct Compile {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub records: RecordsArgs,
    /// The directory to write. An earlier output is replaced when the new one is complete.
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
    /// Prefix of the library's symbols and files [default: the model's file name as a C identifier].
    #[arg(long, value_parser = name)]
    pub name: Option<String>,
    #[command(flatten)]
    pub rewriting: RewritingArgs,
    #[command(flatten)]
    pub io: IoArgs,
    /// Fails if the arena takes more: bytes, or 64K, 2M.
    #[arg(long, value_name = "BYTES", value_parser = memory)]
    pub max_ram: Option<usize>,
    /// Fails if code and weights take more: bytes, or 64K, 2M.
    #[arg(long, value_name = "BYTES", value_parser = memory)]
    pub max_flash: Option<usize>,
    /// Prints what a stage leaves (may be repeated).
    #[arg(long, value_enum, value_name = "STAGE")]
    pub dump: Vec<Dump>,
}

/// How the graph is rewritten.
#[derive(Debug, Args)]
pub struct RewritingArgs {
    /// Where convolutions, pools and their like keep their channels; one layout for all is for comparison.
    #[arg(long, value_enum, default_value_t = Layout::Chosen, value_name = "LAYOUT")]
    pub layout: Layout,
    /// Takes nothing for granted about the range of activations. Without it, inputs of the model and of its
    /// convolutions and matrix products are taken to be numbers within ±1e6: channels that are then constant zero are
    /// dropped, and outputs stay the same to the bit. Nor do convolutions go through Winograd's tiles, whose sums round
    /// otherwise.
    #[arg(long)]
    pub exact: bool,
    /// What convolutions and matrix products may read their operands in: where that is not much slower, and without
    /// caches (on microcontrollers), where it saves memory, everywhere. Inputs and outputs stay as they are, and so does
    /// what is summed; narrow weights take half the memory, and activations between kernels do.
    #[arg(long, value_enum, default_value_t = Precision::F32, value_name = "TYPE")]
    pub precision: Precision,
    /// What is done with the rules; all but the default is for comparison.
    #[arg(long = "rewrite", value_enum, default_value_t = Strategy::Saturate, value_name = "STRATEGY", hide_short_help = true)]
    pub strategy: Strategy,
}

impl RewritingArgs {
    /// The target, less what these arguments rule out.
    pub fn allowed(&self, target: Target) -> Target {
        Target { winograd: target.winograd && !self.exact, ..target }
    }

    /// Whether nothing was said.
    pub fn is_usual(&self) -> bool {
        let usual = (Layout::Chosen, false, Precision::F32, Strategy::Saturate);
        (self.layout, self.exact, self.precision, self.strategy) == usual
    }

    pub fn options(&self) -> rewrite::Options {
        let channels =
            if self.exact { rewrite::ConstantChannels::Exact } else { rewrite::ConstantChannels::default() };
        rewrite::Options {
            strategy: self.strategy.choice(),
            layout: self.layout.choice(),
            channels,
            precision: self.precision.choice(),
            ..rewrite::Options::default()
        }
    }
}

/// What the library's inputs and outputs look like.
#[derive(Debug, Args)]
pub struct IoArgs {
    /// The library's inputs and outputs of 3 and more axes in this layout, or the one of a name (may be repeated):
    /// nhwc puts axis 1 last; nchw is the model's own order. Files keep the model's order.
    #[arg(long, value_name = "[NAME=]nhwc|nchw")]
    pub io_layout: Vec<Wish>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Layout {
    /// Wherever it is cheapest, operator by operator.
    Chosen,
    /// Channels first, all of them.
    Nchw,
    /// Channels last, all of them.
    Nhwc,
}

impl Layout {
    fn choice(self) -> rewrite::LayoutChoice {
        match self {
            Layout::Chosen => rewrite::LayoutChoice::Chosen,
            Layout::Nchw => rewrite::LayoutChoice::Fixed(ops::shape::Layout::ChannelsFirst),
            Layout::Nhwc => rewrite::LayoutChoice::Fixed(ops::shape::Layout::ChannelsLast),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// 32-bit floats, as the model has them.
    F32,
    /// bfloat16, rounded to nearest: 8 significant bits. Twice as fast where the machine has instructions for it.
    Bf16,
    /// Half floats, rounded to nearest: 11 significant bits, but no numbers beyond 65504, which become infinite.
    F16,
}

impl Precision {
    fn choice(self) -> rewrite::Precision {
        match self {
            Precision::F32 => rewrite::Precision::F32,
            Precision::Bf16 => rewrite::Precision::Bf16,
            Precision::F16 => rewrite::Precision::F16,
        }
    }

    /// The error of an output, relative to its range, that `verify` takes for rounding.
    fn tolerance(self) -> f64 {
        match self {
            Precision::F32 => 1e-4,
            Precision::Bf16 => 3e-2,
            Precision::F16 => 4e-3,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Strategy {
    /// Nothing: the graph as it was imported.
    Off,
    /// The first rule that matches replaces what it matches.
    FirstMatch,
    /// All forms side by side, and the cheapest taken.
    Saturate,
}

impl Strategy {
    fn choice(self) -> rewrite::Strategy {
        match self {
            Strategy::Off => rewrite::Strategy::Off,
            Strategy::FirstMatch => rewrite::Strategy::FirstMatch,
            Strategy::Saturate => rewrite::Strategy::Saturate,
        }
    }
}

#[derive(Debug, Args)]
pub struct Explain {
    #[command(flatten)]
    pub model: ModelArgs,
    /// A node of the ONNX model, by its name (without one: all kernels, and all that was declined).
    pub node: Option<String>,
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub records: RecordsArgs,
    #[command(flatten)]
    pub rewriting: RewritingArgs,
    /// Draws the kernels and what they hand on: an .svg file, or an .html page with a table.
    #[arg(long, value_name = "FILE", value_parser = picture)]
    pub picture: Option<(PathBuf, Form)>,
}

#[derive(Debug, Args)]
pub struct Tune {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub rewriting: RewritingArgs,
    /// The file of records to write, or to go on with.
    #[arg(short, long, value_name = "FILE.jsonl")]
    pub output: PathBuf,
    /// Of the random numbers: the same seed and --trials give the same records where measuring does (in QEMU).
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// How long it may take, about: 90s, 15m, 2h. Shared out by what the kernels take by the cost
    /// model.
    #[arg(long, default_value = "15m", value_parser = duration, conflicts_with = "trials")]
    pub budget: Duration,
    /// How many trials, of 8 schedules each, instead of a time.
    #[arg(long, value_name = "N")]
    pub trials: Option<usize>,
    /// What is to become less [default: ns where time is measured, else instructions].
    #[arg(long, value_enum)]
    pub unit: Option<Unit>,
    /// Only kernels that have this in their name, as the table shows it (may be repeated).
    #[arg(long, value_name = "PART")]
    pub kernels: Vec<String>,
    /// A command that runs a trial, instead of this program here: `ssh board onnxc trial`. It gets the trial on standard
    /// input, or in the file whose name stands in the place of {trial}, and prints the answer. No shell reads it.
    #[arg(long, value_name = "COMMAND")]
    pub runner: Option<String>,
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// Where trials run, and how many at once.
#[derive(Debug, Args)]
pub struct EngineArgs {
    /// What spreads trials: processes of this machine, a Ray cluster (RAY_ADDRESS), a HyperQueue server (HQ_SERVER_DIR).
    /// A cluster must be running, with this program or what --runner says under the same path on all of its machines.
    #[arg(long, value_enum, default_value_t = Engine::Local)]
    pub engine: Engine,
    /// Trials that are under way at once, each of another kernel [default: 1 here, the cores of a Ray cluster; HyperQueue
    /// needs it].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: Option<u16>,
    /// How long to wait for the answer to one trial.
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = duration)]
    pub trial_limit: Duration,
    /// The Python that speaks to a cluster; it has the package `ray` or `hyperqueue`.
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    pub python: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    Local,
    Ray,
    Hq,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Unit {
    /// Time on this machine, or on a board (--runner).
    Ns,
    /// Executed under QEMU.
    Instructions,
    /// What these take by LLVM's scheduling model of the target's processor.
    Cycles,
}

#[derive(Debug, Args)]
pub struct Trial {
    /// The trial: a .json file [default: standard input].
    pub trial: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Records {
    #[command(subcommand)]
    pub what: RecordsCommand,
}

#[derive(Debug, Subcommand)]
pub enum RecordsCommand {
    /// Lists a file's records: kernels, targets, what tuning gained.
    List {
        /// A .jsonl file, or a directory of such files.
        file: PathBuf,
    },
    /// Puts the best of several files into one. Of records that were not measured in the same place the first stands.
    Merge {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The file to write; it may be one of those that are read.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
}

#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub records: RecordsArgs,
    /// Input tensors: INPUT=FILE (.npy or .pb), an .npz file, or a directory of such files (may be repeated).
    #[arg(long, value_name = "DIR|INPUT=FILE")]
    pub inputs: Vec<String>,
    /// Where to write the outputs: a directory, or an .npz file. Without it they are summarised.
    #[arg(long, value_name = "DIR")]
    pub outputs: Option<PathBuf>,
    /// The kind of files in the --outputs directory.
    #[arg(long, value_enum, default_value_t = TensorFormat::Npy, value_name = "KIND")]
    pub outputs_as: TensorFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TensorFormat {
    /// <output>.npy
    Npy,
    /// output_<k>.pb, as in ONNX's test data
    Pb,
}

#[derive(Debug, Args)]
pub struct Verify {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub records: RecordsArgs,
    #[command(flatten)]
    pub rewriting: RewritingArgs,
    #[command(flatten)]
    pub io: IoArgs,
    /// Where the compiled code runs [default: host if the target is this machine's, else qemu].
    #[arg(long, value_enum)]
    pub on: Option<On>,
    /// Given inputs and expected outputs: an .npz with in_* and out_*, a test data set, or a directory of those.
    #[arg(long, value_name = "DIR|FILE")]
    pub data: Option<PathBuf>,
    /// Of the random inputs, when there is no --data.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Largest error of a float output, relative to its range [default: 1e-4, with --precision bf16 3e-2, with f16 4e-3].
    #[arg(long)]
    pub tolerance: Option<f64>,
    /// An error that is small enough whatever the range.
    #[arg(long, default_value_t = 5e-7)]
    pub absolute: f64,
}

#[derive(Debug, Args)]
pub struct Bench {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub records: RecordsArgs,
    #[command(flatten)]
    pub rewriting: RewritingArgs,
    /// Where the compiled code runs [default: host if the target is this machine, else qemu].
    #[arg(long, value_enum)]
    pub on: Option<On>,
    /// How long to measure; once for the whole and, with --per-node, once for the kernels.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub seconds: Duration,
    /// Times every kernel, and says how near it comes to what this machine can do; under QEMU counts its instructions.
    #[arg(long)]
    pub per_node: bool,
    /// Writes a page with the kernels as a table and as dots under the machine's roofline; implies --per-node.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Under QEMU: also how many cycles the executed instructions take by LLVM's scheduling model of the processor,
    /// without caches, branches that were not foreseen, and memory.
    #[arg(long)]
    pub cycles: bool,
    /// Of the random inputs.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

impl Verify {
    /// The largest error of a float output relative to its range.
    pub fn tolerance(&self) -> f64 {
        self.tolerance.unwrap_or_else(|| self.rewriting.precision.tolerance())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum On {
    /// In this process.
    Host,
    /// In the emulator that the target names.
    Qemu,
}

fn picture(text: &str) -> Result<(PathBuf, Form), String> {
    let path = PathBuf::from(text);
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("svg") => Ok((path, Form::Svg)),
        Some("html") => Ok((path, Form::Html)),
        _ => Err("write FILE.svg or FILE.html".to_owned()),
    }
}

/// Up to an hour.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|&seconds: &f64| seconds > 0.0 && seconds <= 3600.0);
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "write a number of seconds, up to 3600".to_owned())
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.rsplit_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

fn dim(text: &str) -> Result<(String, usize), String> {
    let (name, value) = assignment(text).map_err(|_| "write NAME=N".to_owned())?;
    Ok((name, extent(&value)?))
}

fn extent(text: &str) -> Result<usize, String> {
    text.trim().parse().map_err(|_| format!("`{text}` is not a number of elements"))
}

/// `x:1x3x224x224` or `x[1,3,224,224]`; a scalar is `x:` or `x[]`. Names may hold colons and brackets themselves.
fn shape(text: &str) -> Result<(String, Vec<usize>), String> {
    let bracketed = text.strip_suffix(']').and_then(|rest| rest.rsplit_once('[')).map(|parts| (parts, ','));
    let Some(((name, extents), separator)) = bracketed.or(text.rsplit_once(':').map(|parts| (parts, 'x')))
    else {
        return Err("write INPUT:1x3x224x224 or INPUT[1,3,224,224]".to_owned());
    };
    if name.is_empty() {
        return Err("the input's name is missing".to_owned());
    }
    let extents =
        extents.split(separator).filter(|_| !extents.is_empty()).map(extent).collect::<Result<_, _>>()?;
    Ok((name.to_owned(), extents))
}

/// A number of bytes, with `K` or `M` for binary multiples.
fn memory(text: &str) -> Result<usize, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    let number: Option<usize> = digits.parse().ok();
    number
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| "write a number of bytes, or 64K, 2M".to_owned())
}

fn name(text: &str) -> Result<String, String> {
    match crate::identifier::is_identifier(text) {
        true => Ok(text.to_owned()),
        false => {
            Err(format!("not a C identifier; `{}` would be", crate::identifier::identifier(text, "model")))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn shapes_are_read_in_both_spellings() {
        let expected = Ok(("x".to_owned(), vec![1, 3, 224, 224]));
        assert_eq!(shape("x:1x3x224x224"), expected);
        assert_eq!(shape("x[1,3,224,224]"), expected);
        assert_eq!(shape("x[1, 3, 224, 224]"), expected);
        assert_eq!(shape("in_1:0:2x3"), Ok(("in_1:0".to_owned(), vec![2, 3])));
        assert_eq!(shape("s:"), Ok(("s".to_owned(), vec![])));
        assert_eq!(shape("s[]"), Ok(("s".to_owned(), vec![])));
        for wrong in ["x", "x:1x-3", "x[1,,2]", ":1x2", "x:ax2"] {
            assert!(shape(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn memory_has_units() {
        assert_eq!((memory("512"), memory("64K"), memory("2m")), (Ok(512), Ok(65_536), Ok(2 << 20)));
        assert!(memory("K").is_err() && memory("").is_err() && memory("99999999999999999999M").is_err());
    }

    #[test]
    fn measuring_has_an_end() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert!(["0", "-1", "inf", "nan", "1e9", "soon"].into_iter().all(|text| seconds(text).is_err()));
    }

    #[test]
    fn pins_are_assignments() {
        assert_eq!(dim("batch=1"), Ok(("batch".to_owned(), 1)));
        assert_eq!(dim("a=b=2"), Ok(("a=b".to_owned(), 2)));
        assert!(dim("batch").is_err() && dim("batch=-1").is_err() && dim("=1").is_err());
    }
}
