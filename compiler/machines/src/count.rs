//! The instruction counter: a QEMU plugin, built once per user and kept.
//!
//! A plugin rather than `-icount`: it counts exactly one call, the same way on boards and in user mode, where there
//! is no virtual clock, and needs no timer of the board.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::image::Symbols;
use crate::{Library, MachineError, process};

const SOURCE: &str = include_str!("../plugin/count.c");

/// The file, in the program's folder, to which the plugin writes one number per inference.
pub(crate) const COUNTS: &str = "instructions";

/// QEMU's `-plugin` argument that counts `library`'s run function in a program with these symbols.
pub(crate) fn plugin_argument(symbols: &Symbols, library: &Library) -> Result<String, MachineError> {
    let begin = symbols.address(&format!("{}_run", library.name))?;
    let end = symbols.address("model_returned")?;
    Ok(format!("{},begin={begin:#x},end={end:#x},out={COUNTS}", plugin()?.display()))
}

/// The instructions of the last inference.
pub(crate) fn read(folder: &Path) -> Result<u64, MachineError> {
    let path = folder.join(COUNTS);
    let text = std::fs::read_to_string(&path).map_err(|error| MachineError::files(path.display(), error))?;
    let last = text.lines().last().and_then(|line| line.parse().ok());
    last.ok_or_else(|| MachineError::Files(format!("QEMU's plugin counted no inference: {text:?}")))
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
