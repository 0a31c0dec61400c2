//! What happens between the stages: time is taken, invariants are checked, text is kept.

use std::time::{Duration, Instant};

use rewrite::Optimized;

use crate::diagnostic::Diagnostic;
use crate::rewriting;

/// A stage whose result `--dump` can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Dump {
    /// The graph as it came out of the model.
    Import,
    /// The graphs before and after rewriting, and which rules fired.
    Rewrite,
    /// The kernels as loop nests.
    Loops,
    /// The kernels as MLIR.
    Mlir,
}

/// Looks on while a model is compiled.
#[derive(Default)]
pub struct Watch<'a> {
    /// The stages whose text is wanted.
    dumps: Vec<Dump>,
    /// Told when a stage begins.
    progress: Option<&'a dyn Fn(&'static str)>,
    pub texts: Vec<(Dump, String)>,
    pub times: Vec<(&'static str, Duration)>,
}

impl<'a> Watch<'a> {
    pub fn new(dumps: &[Dump], progress: &'a dyn Fn(&'static str)) -> Watch<'a> {
        Watch { dumps: dumps.to_vec(), progress: Some(progress), ..Watch::default() }
    }

    /// Runs one stage.
    pub fn stage<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> T {
        if let Some(progress) = self.progress {
            progress(name);
        }
        let start = Instant::now();
        let result = work();
        self.times.push((name, start.elapsed()));
        result
    }

    /// Keeps a stage's text, if it is wanted; it is made only then.
    pub fn keep(&mut self, dump: Dump, text: impl FnOnce() -> String) {
        if self.dumps.contains(&dump) {
            self.texts.push((dump, text()));
        }
    }

    /// Between two stages over graphs.
    pub fn graph(&mut self, dump: Dump, graph: &ops::Graph) -> Result<(), Diagnostic> {
        verified(dump, graph)?;
        self.keep(dump, || ir::print_elided(graph));
        Ok(())
    }

    /// After rewriting: both graphs, each a text of its own.
    pub fn rewriting(&mut self, before: &ops::Graph, optimized: &Optimized) -> Result<(), Diagnostic> {
        verified(Dump::Rewrite, &optimized.graph)?;
        self.keep(Dump::Rewrite, || rewriting::before(before, optimized));
        self.keep(Dump::Rewrite, || rewriting::after(optimized));
        Ok(())
    }
}

/// In debug builds every invariant is checked.
fn verified(dump: Dump, graph: &ops::Graph) -> Result<(), Diagnostic> {
    match cfg!(debug_assertions) {
        true => ir::verify(graph).map_err(|error| Diagnostic::bug(format!("after {dump:?}: {error}"))),
        false => Ok(()),
    }
}
