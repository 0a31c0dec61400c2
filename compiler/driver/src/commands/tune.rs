use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use schedule::{Record, TargetKey, VERSION, Workload};
use serde::Serialize;
use targets::Target;
use tune::{Runner, Search};

use crate::cli;
use crate::compile::{self, Options};
use crate::cost::TargetCost;
use crate::diagnostic::{Diagnostic, Diagnostics, code};
use crate::execute;
use crate::lower::{self, KernelReport};
use crate::problems;
use crate::records;
use crate::table::{grouped, table};
use crate::terminal::{Bar, Progress, Report};

#[derive(Serialize)]
pub struct Tuned {
    output: PathBuf,
    unit: String,
    /// Those of the model, the dearest first.
    kernels: Vec<Row>,
    /// What all kernels take by the default schedules and by those of the file, as often as the model runs them.
    default: f64,
    best: f64,
    seconds: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Diagnostic>,
}

#[derive(Serialize)]
struct Row {
    about: String,
    key: String,
    /// How often the model runs it.
    times: usize,
    default: f64,
    best: f64,
    /// Schedules that were measured now; none where the file had the kernel already.
    tried: usize,
}

/// A kernel that the model runs one or several times.
struct Kernel {
    key: String,
    workload: Workload,
    times: usize,
    /// Modelled, of one run by the default schedule.
    cycles: f64,
}

impl Kernel {
    /// In the whole model.
    fn cost(&self) -> f64 {
        self.times as f64 * self.cycles
    }
}

/// `onnxc tune`: better schedules for a model's kernels, as a file of records.
pub fn tune(arguments: &cli::Tune) -> Result<Tuned, Diagnostics> {
    let start = Instant::now();
    let target = arguments.target.resolve()?;
    if target.threads > 1 {
        return Err(
            Diagnostic::usage(code::COMMAND_LINE, "tuning is for one thread; leave --threads out").into()
        );
    }
    let runner = runner(arguments)?;
    let mut known = match arguments.output.exists() {
        true => records::read(&arguments.output)?.0,
        false => vec![],
    };
    let wanted = arguments.unit.map(|unit| match unit {
        cli::Unit::Ns => tune::Unit::Ns,
        cli::Unit::Instructions => tune::Unit::Instructions,
        cli::Unit::Cycles => tune::Unit::Cycles,
    });
    check_unit(wanted, &target, &known, arguments)?;
    // Before minutes of work, not after.
    records::write(&arguments.output, &known)?;
    let progress = Progress::start();
    let say = |stage| progress.say(stage);
    let kernels = kernels(arguments, &target, &say)?;
    drop(progress);
    let mut warnings = Vec::new();
    let own = TargetKey::of(&target);
    let held = |known: &[Record], kernel: &Kernel| {
        known.iter().find(|record| record.kernel == kernel.key && record.target.hash == own.hash).cloned()
    };
    let costs: Vec<f64> = kernels.iter().map(Kernel::cost).collect();
    let trials = arguments.trials.map(|trials| tune::budget(trials as f64, &costs));
    let bar = Bar::start(kernels.len());
    let mut rows: Vec<Row> = Vec::new();
    let mut unit = String::new();
    for (place, kernel) in kernels.iter().enumerate() {
        let mut tried = 0;
        if held(&known, kernel).is_none() {
            let open = |(at, kernel): (usize, &Kernel)| {
                if held(&known, kernel).is_none() { costs[at] } else { 0.0 }
            };
            let left: f64 = kernels.iter().enumerate().skip(place).map(open).sum();
            let rest = arguments.budget.saturating_sub(start.elapsed());
            let search = Search {
                seed: arguments.seed,
                time: trials.is_none().then(|| rest.mul_f64(costs[place] / left.max(costs[place]))),
                trials: trials.as_ref().map(|trials| trials[place].round() as usize),
                unit: wanted,
            };
            let heading = format!("{} x{}", kernel.workload.about(), kernel.times);
            bar.say(&heading);
            let told = |tried: usize, share: f64| {
                bar.say(&format!("{heading}: {:.2}x after {tried} schedules", 1.0 / share));
            };
            match search.run(&kernel.workload, &target, &runner, &told) {
                Ok(None) => (),
                Ok(Some(found)) => {
                    tried = found.tried;
                    known.push(Record {
                        kernel: kernel.key.clone(),
                        about: kernel.workload.about(),
                        target: own.clone(),
                        version: VERSION,
                        threads: target.threads,
                        schedule: found.schedule,
                        cost: found.cost,
                        measured: found.measured,
                    });
                    records::write(&arguments.output, &known)?;
                }
                Err(error) => warnings.push(not_tuned(&kernel.workload, &error)),
            }
        }
        if let Some(record) = held(&known, kernel) {
            unit = record.cost.unit;
            let (default, best) = (record.cost.default, record.cost.best);
            let about = kernel.workload.about();
            rows.push(Row { about, key: kernel.key.clone(), times: kernel.times, default, best, tried });
        }
        bar.advance();
    }
    let sum = |cost: fn(&Row) -> f64| rows.iter().map(|row| row.times as f64 * cost(row)).sum();
    Ok(Tuned {
        output: arguments.output.clone(),
        unit,
        default: sum(|row| row.default),
        best: sum(|row| row.best),
        seconds: start.elapsed().as_secs_f64(),
        kernels: rows,
        warnings,
    })
}

/// A file holds costs in one unit, and cycles take a model.
fn check_unit(
    unit: Option<tune::Unit>,
    target: &Target,
    known: &[Record],
    arguments: &cli::Tune,
) -> Result<(), Diagnostic> {
    if unit == Some(tune::Unit::Cycles) && arguments.runner.is_none() {
        execute::check_cycles(target)?;
    }
    let Some(unit) = unit else { return Ok(()) };
    let own = TargetKey::of(target).hash;
    let other = |record: &&Record| record.target.hash == own && record.cost.unit != unit.name();
    match known.iter().find(other) {
        None => Ok(()),
        Some(record) => Err(Diagnostic::usage(
            code::RECORDS,
            format!("`{}` has costs in {}", arguments.output.display(), record.cost.unit),
        )
        .with_hint(format!("tune by {} into another file", unit.name()))),
    }
}

/// The user's command, or this program itself.
fn runner(arguments: &cli::Tune) -> Result<Runner, Diagnostic> {
    let Some(template) = &arguments.runner else {
        let own = std::env::current_exe().map_err(|error| {
            Diagnostic::usage(code::CANNOT_RUN, format!("cannot find this program itself: {error}"))
        })?;
        return Ok(Runner(vec![own.to_string_lossy().into_owned(), "trial".to_owned()]));
    };
    match shlex::split(template).filter(|words| !words.is_empty()) {
        Some(words) => Ok(Runner(words)),
        None => Err(Diagnostic::usage(
            code::COMMAND_LINE,
            format!("`{template}` is no command: a quotation mark is open, or there is nothing"),
        )),
    }
}

/// The kernels of the model that a schedule can be found for, each once, the dearest first.
fn kernels(
    arguments: &cli::Tune,
    target: &Target,
    say: &dyn Fn(&'static str),
) -> Result<Vec<Kernel>, Diagnostics> {
    let path = &arguments.model.model;
    let pins = arguments.model.pins.options();
    say("import");
    let imported = onnx::import(path, &pins).map_err(problems::diagnostics)?.graph;
    say("rewrite");
    let optimized = compile::rewrite(&imported, &TargetCost::new(target), &arguments.rewriting.options())?;
    say("lower");
    let name = compile::library_name(path, &Options { pins, ..Options::default() })?;
    let lowered =
        lower::lower(&optimized.graph, target, &name).map_err(|error| compile::declined(&error, target))?;
    let mut found: BTreeMap<String, Kernel> = BTreeMap::new();
    for KernelReport { workload, modelled_cycles, .. } in lowered.kernels {
        let Some(workload) = workload else { continue };
        let wanted = |part: &String| workload.about().contains(part.as_str());
        if !arguments.kernels.is_empty() && !arguments.kernels.iter().any(wanted) {
            continue;
        }
        let key = workload.key();
        let new = Kernel { key: key.clone(), workload, times: 0, cycles: modelled_cycles as f64 };
        found.entry(key).or_insert(new).times += 1;
    }
    if found.is_empty() {
        let message = match arguments.kernels.is_empty() {
            true => "the model has no kernel of one stage, which a schedule could be found for".to_owned(),
            false => format!("no kernel of the model has {} in its name", arguments.kernels.join(" or ")),
        };
        let hint = "`onnxc explain MODEL` lists the kernels";
        return Err(Diagnostic::usage(code::COMMAND_LINE, message).with_hint(hint).into());
    }
    let mut kernels: Vec<Kernel> = found.into_values().collect();
    kernels.sort_by(|a, b| b.cost().total_cmp(&a.cost()).then_with(|| a.key.cmp(&b.key)));
    Ok(kernels)
}

fn not_tuned(workload: &Workload, error: &tune::TrialError) -> Diagnostic {
    Diagnostic::warning(
        code::NOT_TUNED,
        format!("`{}` keeps its default schedule: {error}", workload.about()),
    )
}

/// `90`, `90s`, `15m` or `2h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a time: 90s, 15m, 2h".to_owned();
    let (digits, unit) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 3600),
        _ => (text, 1),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(unit).filter(|&seconds| seconds > 0).map(Duration::from_secs).ok_or_else(wrong)
}

impl Report for Tuned {
    fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }
}

impl fmt::Display for Tuned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |row: &Row| {
            vec![
                row.about.clone(),
                row.times.to_string(),
                grouped(row.default.round() as u128),
                grouped(row.best.round() as u128),
                format!("{:.2}x", row.default / row.best),
                row.tried.to_string(),
            ]
        };
        let rows: Vec<Vec<String>> = self.kernels.iter().map(row).collect();
        f.write_str(&table(&["kernel", ">times", ">default", ">best", ">gain", ">tried"], &rows))?;
        let (default, best) = (self.default.round() as u128, self.best.round() as u128);
        writeln!(
            f,
            "\n{} to {} {} ({:.2}x) in {:.0} s\n\nnext:  onnxc compile MODEL --records {} ...",
            grouped(default),
            grouped(best),
            self.unit,
            self.default / self.best.max(f64::MIN_POSITIVE),
            self.seconds,
            self.output.display()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(
            (duration("90"), duration("2m")),
            (Ok(Duration::from_secs(90)), Ok(Duration::from_secs(120)))
        );
        assert!(
            ["", "m", "0s", "-1s", "1d", "99999999999999999999h", "6000000000000000h"]
                .into_iter()
                .all(|text| duration(text).is_err())
        );
    }
}
