//! The output directory: complete or not there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::Artifact;
use crate::diagnostic::{Diagnostic, code};
use crate::metadata::{Metadata, Tool};

/// Writes `artifact` as the directory `dir`, in place of an earlier one of ours.
///
/// Everything is written to a sibling first, so that `dir` is at no time half written. A directory that this compiler
/// did not write is refused; files that somebody put beside ours stay. Returns the files, in reading order.
pub fn write(artifact: &Artifact, dir: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    let foreign = foreign(dir)?;
    let files = artifact.files();
    if let Some((name, _)) = files.iter().find(|(name, _)| foreign.contains(name)) {
        return Err(refused(dir, &format!("holds `{name}`, which onnxc did not write; it is left as it is")));
    }
    let parent = match dir.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(|error| cannot("create", parent, &error))?;
    let beside = || {
        let builder = tempfile::Builder::new().prefix(".onnxc-").tempdir_in(parent);
        builder.map_err(|error| cannot("create a directory in", parent, &error))
    };
    let fresh = beside()?;
    for (name, bytes) in &files {
        let path = fresh.path().join(name);
        fs::write(&path, bytes).map_err(|error| cannot("write", &path, &error))?;
    }
    readable_by_all(fresh.path()).map_err(|error| cannot("open up", fresh.path(), &error))?;
    replace(dir, fresh, beside()?, &foreign)?;
    Ok(files.iter().map(|(name, _)| dir.join(name)).collect())
}

/// Puts `fresh` where `dir` is, and what is `foreign` in `dir` into it.
///
/// A directory cannot be renamed over a full one: the old one steps aside first, and back if the new one fails.
fn replace(dir: &Path, fresh: TempDir, aside: TempDir, foreign: &[String]) -> Result<(), Diagnostic> {
    let old = aside.path().join("old");
    let had_old = dir.exists();
    if had_old {
        fs::rename(dir, &old).map_err(|error| cannot("replace", dir, &error))?;
    }
    if let Err(error) = fs::rename(fresh.path(), dir) {
        if had_old && let Err(lost) = fs::rename(&old, dir) {
            return Err(cannot("put back", &aside.keep(), &lost));
        }
        return Err(cannot("write", dir, &error));
    }
    // It is no longer at its temporary place, so that there is nothing to remove.
    let _ = fresh.keep();
    for name in foreign {
        if let Err(error) = fs::rename(old.join(name), dir.join(name)) {
            return Err(cannot("move files out of", &aside.keep(), &error));
        }
    }
    Ok(())
}

/// Refuses a place that cannot become the output directory: only a new one, an empty one or an earlier output can.
/// Gives the names in it that are not ours.
pub fn foreign(dir: &Path) -> Result<Vec<String>, Diagnostic> {
    // The last component must be a name: `.`, `..` and `/` cannot be replaced.
    if dir.file_name().is_none() {
        return Err(refused(dir, "cannot be replaced by a new directory"));
    }
    let Ok(kind) = fs::symlink_metadata(dir) else { return Ok(vec![]) };
    if !kind.is_dir() {
        return Err(refused(dir, "exists and is no directory"));
    }
    let entries = fs::read_dir(dir).map_err(|error| cannot_read(dir, &error))?;
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    if names.is_empty() {
        return Ok(names);
    }
    let Ok(metadata) = read(dir) else {
        return Err(refused(dir, "holds files that onnxc did not write; it is left as it is"));
    };
    let ours = file_names(&metadata.name);
    names.retain(|name| !ours.contains(name));
    names.sort();
    Ok(names)
}

fn refused(dir: &Path, why: &str) -> Diagnostic {
    Diagnostic::usage(code::NOT_OUR_DIRECTORY, format!("`{}` {why}", dir.display())).with_hint(
        "give -o a directory that does not exist yet, or one that an earlier `onnxc compile` wrote",
    )
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Diagnostic {
    Diagnostic::usage(code::CANNOT_WRITE, format!("cannot {what} `{}`: {error}", path.display()))
}

fn cannot_read(path: &Path, error: &dyn std::fmt::Display) -> Diagnostic {
    Diagnostic::usage(code::CANNOT_READ, format!("cannot read `{}`: {error}", path.display()))
}

/// The files of an output directory, in reading order.
pub fn file_names(name: &str) -> [String; 4] {
    [format!("lib{name}.a"), format!("{name}.h"), format!("{name}.json"), "example.c".to_owned()]
}

/// The description in an output directory: its one `.json` that is ours.
pub fn read(dir: &Path) -> Result<Metadata, Diagnostic> {
    let entries = fs::read_dir(dir).map_err(|error| cannot_read(dir, &error))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let ours = |path: &PathBuf| -> Option<Metadata> {
        let metadata: Metadata = serde_json::from_str(&fs::read_to_string(path).ok()?).ok()?;
        let named = path.file_stem().is_some_and(|stem| *stem == *metadata.name);
        (named && metadata.tool.name == Tool::this().name).then_some(metadata)
    };
    paths.iter().find_map(ours).ok_or_else(|| {
        Diagnostic::usage(code::CANNOT_READ, format!("`{}` is no output directory of onnxc", dir.display()))
            .with_hint("an output directory holds lib<name>.a, <name>.h, <name>.json and example.c")
    })
}

/// A temporary directory is its owner's alone; an output directory is as any new one.
#[cfg(unix)]
fn readable_by_all(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn readable_by_all(_dir: &Path) -> io::Result<()> {
    Ok(())
}
