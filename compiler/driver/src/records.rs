//! Files of tuning records: those that come with the compiler, and the user's.

use std::fs;
use std::path::{Path, PathBuf};

use schedule::{Chosen, Record, Records};
use targets::Target;

use crate::cli::RecordsArgs;
use crate::diagnostic::{Diagnostic, code};
use crate::lower::KernelReport;

/// The schedules that are known for `target`, and what was found that is not for it.
pub fn load(arguments: &RecordsArgs, target: &Target) -> Result<(Records, Vec<Diagnostic>), Diagnostic> {
    if arguments.no_records {
        return Ok((Records::NONE, vec![]));
    }
    // What came with another version of the compiler is gone with it: only a mistake of ours could be stale here.
    let (shipped, _) = schedule::parse(target.records())
        .map_err(|error| Diagnostic::bug(format!("targets/records/{}.jsonl: {error}", target.name)))?;
    let mut records = Records::for_target(shipped, target);
    let mut warnings = Vec::new();
    for path in &arguments.records {
        for file in files(path)? {
            let (held, stale) = read(&file)?;
            let shown = file.display();
            if stale > 0 {
                warnings.push(Diagnostic::warning(
                    code::STALE_RECORDS,
                    format!(
                        "{stale} records of `{shown}` are of another version of the compiler and not used"
                    ),
                ));
            }
            let own = Records::for_target(held, target);
            // A directory is for many targets.
            if own.foreign > 0 && *path == file {
                let warning = format!(
                    "{} records of `{shown}` are for other targets than {} and not used",
                    own.foreign, target.name
                );
                warnings.push(
                    Diagnostic::warning(code::FOREIGN_RECORDS, warning)
                        .with_hint(format!("`onnxc records list {shown}` says for which")),
                );
            }
            records.extend(own);
        }
    }
    Ok((records, warnings))
}

/// A file of records, and how many of another version it holds.
pub fn read(file: &Path) -> Result<(Vec<Record>, usize), Diagnostic> {
    let text = fs::read_to_string(file).map_err(|error| cannot_read(file, &error))?;
    schedule::parse(&text).map_err(|error| {
        Diagnostic::usage(code::RECORDS, format!("`{}`: {error}", file.display()))
            .with_hint("`onnxc tune` writes files of records")
    })
}

/// The file itself, or a directory's files of records by their names.
pub fn files(path: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path).map_err(|error| cannot_read(path, &error))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    Ok(files)
}

fn cannot_read(path: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic::usage(code::CANNOT_READ, format!("cannot read `{}`: {error}", path.display()))
}

/// Writes a file of records, whole or not at all.
pub fn write(file: &Path, records: &[Record]) -> Result<(), Diagnostic> {
    let cannot = |error: std::io::Error| {
        Diagnostic::usage(code::CANNOT_WRITE, format!("cannot write `{}`: {error}", file.display()))
    };
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let beside = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).map_err(cannot)?;
    fs::write(beside.path(), schedule::print(records)).map_err(cannot)?;
    beside.persist(file).map_err(|error| cannot(error.error))?;
    Ok(())
}

/// The kernels for which a record was found that is not legal there.
pub fn refused(kernels: &[KernelReport]) -> Vec<Diagnostic> {
    let refused = |kernel: &KernelReport| {
        let Chosen::Refused(why) = &kernel.chosen else { return None };
        let message = format!(
            "the record for kernel `{}` is not used, the default schedule stands: {why}",
            kernel.symbol
        );
        let mut warning = Diagnostic::warning(code::REFUSED_RECORD, message);
        warning.nodes = kernel.nodes.split('+').filter(|node| !node.is_empty()).map(str::to_owned).collect();
        Some(warning)
    };
    kernels.iter().filter_map(refused).collect()
}
