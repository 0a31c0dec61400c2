//! The counter of instructions and of executed blocks: a QEMU plugin, built once per user and kept.
//!
//! A plugin rather than `-icount`: it counts exactly one call, the same way on boards and in user mode, where there
//! is no virtual clock, and needs no timer of the board.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::image::Symbols;
use crate::{Library, MachineError, Measure, process};

const SOURCE: &str = include_str!("../plugin/count.c");

/// The file, in the program's folder, to which the plugin writes one number per inference.
pub(crate) const COUNTS: &str = "instructions";

/// The file to which it writes the executed blocks, where they are asked for.
pub(crate) const BLOCKS: &str = "blocks";

/// QEMU's `-plugin` argument that counts `library`'s run function in a program with these symbols, and apart from it
/// its calls of kernels.
pub(crate) fn plugin_argument(
    symbols: &Symbols,
    library: &Library,
    measure: &Measure,
) -> Result<String, MachineError> {
    let begin = symbols.find(&format!("{}_run", library.name))?;
    let end = symbols.find("model_returned")?.address;
    let plugin = plugin()?;
    let mut argument = format!("{},begin={:#x},end={end:#x},out={COUNTS}", plugin.display(), begin.address);
    if measure.cycles {
        argument += &format!(",blocks={BLOCKS}");
    }
    if !measure.kernels.is_empty() {
        argument += &format!(",size={}", begin.size);
    }
    for kernel in measure.kernels {
        argument += &format!(",kernel={:#x}", symbols.find(kernel)?.address);
    }
    Ok(argument)
}

/// Instructions of one inference.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub total: u64,
    /// Of each call of a kernel, to the next.
    pub kernels: Vec<u64>,
}

/// Those of the last inference.
pub(crate) fn read(folder: &Path) -> Result<Counts, MachineError> {
    let path = folder.join(COUNTS);
    let text = std::fs::read_to_string(&path).map_err(|error| MachineError::files(path.display(), error))?;
    let counts = text.lines().last().and_then(counts);
    counts.ok_or_else(|| MachineError::Files(format!("QEMU's plugin counted no inference: {text:?}")))
}

/// From the plugin's line: how many came before each kernel, and how many in all.
fn counts(line: &str) -> Option<Counts> {
    let before: Vec<u64> = line.split(' ').map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let kernels = before.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
    Some(Counts { total: *before.last()?, kernels })
}

fn plugin() -> Result<PathBuf, MachineError> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
        .join("onnxc");
    let mut hasher = DefaultHasher::new();
    SOURCE.hash(&mut hasher);
    let path = cache.join(format!("count-{:016x}.so", hasher.finish()));
    if !path.exists() {
        std::fs::create_dir_all(&cache).map_err(|error| MachineError::files(cache.display(), error))?;
        build(&cache, &path)?;
    }
    Ok(path)
}

/// Builds beside `path` and renames, so that others see either nothing or the whole plugin.
fn build(cache: &Path, path: &Path) -> Result<(), MachineError> {
    let folder = tempfile::tempdir_in(cache).map_err(|error| MachineError::files(cache.display(), error))?;
    let source = folder.path().join("count.c");
    std::fs::write(&source, SOURCE).map_err(|error| MachineError::files(source.display(), error))?;
    let mut command = Command::new("cc");
    command.args(["-O2", "-Wall", "-shared", "-fPIC", "count.c", "-o", "count.so"]);
    let ended = process::run(&mut command, folder.path(), Duration::from_secs(60))?;
    if !ended.status.success() {
        return Err(MachineError::Build { command: format!("{command:?}"), output: ended.output });
    }
    std::fs::rename(folder.path().join("count.so"), path)
        .map_err(|error| MachineError::files(path.display(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_last_from_one_call_to_the_next() {
        assert_eq!(counts("202"), Some(Counts { total: 202, kernels: vec![] }));
        assert_eq!(counts("3 10 50"), Some(Counts { total: 50, kernels: vec![7, 40] }));
        assert_eq!((counts(""), counts("3 ")), (None, None));
    }
}
