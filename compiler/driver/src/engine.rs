//! What runs the trials of `onnxc tune`, from the command line; and what Ctrl-C means to it.

use std::path::Path;

use tune::{Cluster, Engine, Failure, Limits, Local, Queue, Runner, Stop};

use crate::cli;
use crate::diagnostic::{Diagnostic, code};

/// The engine, and how many trials it shall have at once.
pub fn connect(arguments: &cli::Tune, stop: &Stop) -> Result<(Box<dyn Engine>, usize), Diagnostic> {
    let chosen = &arguments.engine;
    let runner = runner(arguments.runner.as_deref())?;
    let limits = Limits { trial: chosen.trial_limit, stop: stop.clone() };
    let workers = chosen.workers.map(usize::from);
    let queue = match chosen.engine {
        cli::Engine::Local => {
            // On the machine, trials would disturb one another; in an emulator, one takes all cores already.
            return Ok((Box::new(Local { runner, limits }), workers.unwrap_or(1)));
        }
        cli::Engine::Ray => Queue::Ray,
        cli::Engine::Hq if workers.is_none() => {
            let what = "--engine hq needs --workers N, how many trials are under way at once";
            return Err(Diagnostic::usage(code::COMMAND_LINE, what).with_hint(
                "HyperQueue does not tell how many cores its workers have; `hq worker list` does",
            ));
        }
        cli::Engine::Hq => Queue::HyperQueue,
    };
    // What all machines see is where the user keeps the results, if anything.
    let shared = arguments.output.parent().filter(|folder| !folder.as_os_str().is_empty());
    let shared = shared.unwrap_or(Path::new("."));
    let cluster = Cluster::connect(queue, &chosen.python, shared, runner, limits);
    let cluster = cluster.map_err(|failure| gone(&failure, None))?;
    let workers = workers.or(cluster.cores).unwrap_or(1);
    Ok((Box::new(cluster), workers))
}

/// No trial can be run. With the file of records where there is one to go on with.
pub fn gone(failure: &Failure, output: Option<&Path>) -> Diagnostic {
    let diagnostic = Diagnostic::usage(code::CANNOT_RUN, format!("no trial can be run: {failure}"));
    match output {
        Some(output) => diagnostic.with_hint(format!(
            "what was found is in `{}`; the same command goes on when this is mended",
            output.display()
        )),
        None => diagnostic.with_hint("docs/tuning.md says how a cluster is set up"),
    }
}

/// Ctrl-C asks to stop, and a second one does not ask.
pub fn on_interrupt(stop: &Stop) -> Result<(), Diagnostic> {
    let stop = stop.clone();
    let handler = move || {
        if stop.is_asked() {
            std::process::exit(130);
        }
        stop.ask();
    };
    ctrlc::set_handler(handler).map_err(|error| Diagnostic::bug(format!("Ctrl-C is not heard: {error}")))
}

/// The user's command, or this program itself.
fn runner(template: Option<&str>) -> Result<Runner, Diagnostic> {
    let Some(template) = template else {
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
