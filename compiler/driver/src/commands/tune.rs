use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use schedule::{Record, TargetKey, VERSION, Workload};
use serde::Serialize;
use targets::Target;
use tune::{Budget, Event, Failure, Found, Session, Stop, Task};

use crate::cli;
use crate::compile::{self, Options};
use crate::cost::TargetCost;
use crate::diagnostic::{Diagnostic, Diagnostics, code};
use crate::engine;
use crate::execute;
use crate::lower;
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
    /// Other kernels of it, for which nothing was tried.
    left_out: usize,
    /// What all kernels take by the default schedules and by those of the file, as often as the model runs them.
    default: f64,
    best: f64,
    seconds: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Diagnostic>,
    #[serde(skip)]
    stopped: bool,
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
    check_threads(&target, arguments)?;
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
    let stop = Stop::default();
    engine::on_interrupt(&stop)?;
    say("connect");
    let (engine, workers) = engine::connect(arguments, &stop)?;
    drop(progress);
    let own = TargetKey::of(&target);
    let held = |known: &[Record], kernel: &Kernel| {
        let same = |record: &&Record| {
            (&record.kernel, &record.target.hash, record.threads) == (&kernel.key, &own.hash, target.threads)
        };
        known.iter().find(same).cloned()
    };
    let tasks = kernels.iter().map(|kernel| {
        let done = held(&known, kernel).is_some();
        Task { workload: &kernel.workload, cost: kernel.cost(), done }
    });
    let tasks: Vec<Task> = tasks.collect();
    let session = Session {
        target: &target,
        engine: &*engine,
        workers,
        seed: arguments.seed,
        budget: arguments.trials.map_or(Budget::Until(start + arguments.budget), Budget::Trials),
        unit: wanted,
        stop: stop.clone(),
    };
    let mut warnings = Vec::new();
    let mut tried = vec![0; kernels.len()];
    let mut left_out = 0;
    let bar = Bar::start(tasks.iter().filter(|task| !task.done).count());
    session.run(&tasks, &mut |place, event| {
        let kernel = &kernels[place];
        let heading = || format!("{} x{}", kernel.workload.about(), kernel.times);
        match event {
            Event::Begun => bar.say(&heading()),
            Event::Tried(schedules, share) => {
                bar.say(&format!("{}: {:.2}x after {schedules} schedules", heading(), 1.0 / share));
            }
            Event::Ended(found) => {
                bar.advance();
                match found {
                    Ok(None) => left_out += 1,
                    Err(Failure::Stopped) => (),
                    Ok(Some(found)) => {
                        tried[place] = found.tried;
                        known.push(record(kernel, *found, &own, target.threads));
                        records::write(&arguments.output, &known)?;
                    }
                    Err(error @ Failure::Gone(_)) => {
                        return Err(engine::gone(&error, Some(&arguments.output)));
                    }
                    Err(error) => warnings.push(not_tuned(&kernel.workload, &error)),
                }
            }
        }
        Ok::<_, Diagnostic>(())
    })?;
    drop(bar);
    let stopped = stop.is_asked();
    if stopped {
        let message =
            format!("stopped before its end; what was found is in `{}`", arguments.output.display());
        warnings.push(Diagnostic::warning(code::STOPPED, message).with_hint("the same command goes on"));
    }
    let mut unit = String::new();
    let mut rows: Vec<Row> = Vec::new();
    for (kernel, tried) in kernels.iter().zip(tried) {
        let Some(record) = held(&known, kernel) else { continue };
        unit = record.cost.unit;
        let (default, best) = (record.cost.default, record.cost.best);
        let about = kernel.workload.about();
        rows.push(Row { about, key: kernel.key.clone(), times: kernel.times, default, best, tried });
    }
    let sum = |cost: fn(&Row) -> f64| rows.iter().fold(0.0, |sum, row| sum + row.times as f64 * cost(row));
    Ok(Tuned {
        output: arguments.output.clone(),
        unit,
        default: sum(|row| row.default),
        best: sum(|row| row.best),
        seconds: start.elapsed().as_secs_f64(),
        kernels: rows,
        left_out,
        warnings,
        stopped,
    })
}

/// Several threads take a machine to themselves, and a clock.
fn check_threads(target: &Target, arguments: &cli::Tune) -> Result<(), Diagnostic> {
    let refused =
        |why: &str| Err(Diagnostic::usage(code::COMMAND_LINE, format!("{why}; leave --threads out")));
    match target.threads {
        1 => Ok(()),
        _ if arguments.engine.engine != cli::Engine::Local => {
            refused("on a cluster each trial has one core, for one thread")
        }
        _ if arguments.runner.is_none() && !execute::is_native(target) => {
            refused("an emulator does not tell what threads do at the same time")
        }
        _ => Ok(()),
    }
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

fn record(kernel: &Kernel, found: Found, target: &TargetKey, threads: usize) -> Record {
    Record {
        kernel: kernel.key.clone(),
        about: kernel.workload.about(),
        target: target.clone(),
        version: VERSION,
        threads,
        schedule: found.schedule,
        cost: found.cost,
        measured: found.measured,
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
    for workload in lowered.kernels.into_iter().flat_map(|kernel| kernel.workloads) {
        let wanted = |part: &String| workload.about().contains(part.as_str());
        if !arguments.kernels.is_empty() && !arguments.kernels.iter().any(wanted) {
            continue;
        }
        let key = workload.key();
        let kernel = found.entry(key.clone()).or_insert_with(|| {
            let cycles = workload.modelled_cycles(target);
            Kernel { key, workload, times: 0, cycles }
        });
        kernel.times += 1;
    }
    if found.is_empty() {
        let message = match arguments.kernels.is_empty() {
            true => "the model has no kernel that a schedule could be found for".to_owned(),
            false => format!("no kernel of the model has {} in its name", arguments.kernels.join(" or ")),
        };
        let hint = "`onnxc explain MODEL` lists the kernels";
        return Err(Diagnostic::usage(code::COMMAND_LINE, message).with_hint(hint).into());
    }
    let mut kernels: Vec<Kernel> = found.into_values().collect();
    kernels.sort_by(|a, b| b.cost().total_cmp(&a.cost()).then_with(|| a.key.cmp(&b.key)));
    Ok(kernels)
}

fn not_tuned(workload: &Workload, error: &Failure) -> Diagnostic {
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
    /// As shells say of what an interrupt ended.
    fn exit_code(&self) -> u8 {
        if self.stopped { 130 } else { 0 }
    }

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
        if self.left_out > 0 {
            let which =
                if self.left_out == 1 { "kernel keeps its default" } else { "kernels keep their defaults" };
            writeln!(
                f,
                "{} {which}: no trial was left; a longer --budget, or more --trials, reaches more",
                self.left_out
            )?;
        }
        if self.kernels.is_empty() {
            return writeln!(f, "no kernel was tuned");
        }
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
