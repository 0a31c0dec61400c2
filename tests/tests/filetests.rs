//! Runs every `filetests/<room>/*.graph`. `INSTA_UPDATE=always cargo test -p tests --test filetests` blesses.

mod channels;
mod lowering;
mod rewriting;

use std::path::{Path, PathBuf};
use std::{fs, io};

use libtest_mimic::{Arguments, Trial};

fn main() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("filetests");
    let mut trials = rewriting::trials(&files(&root.join("rewrite"), "graph")?);
    trials.extend(channels::trials(&files(&root.join("channels"), "graph")?));
    trials.extend(lowering::trials(&files(&root.join("lower"), "graph")?, lowering::loops));
    trials.extend(lowering::trials(&files(&root.join("mlir"), "graph")?, lowering::mlir));
    trials.sort_by(|a: &Trial, b| a.name().cmp(b.name()));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// The files of a folder with that extension, by name.
fn files(folder: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let mut files = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files.sort();
    Ok(files)
}

/// Where a test is among the others: `rewrite/name.graph`.
fn name(path: &Path) -> String {
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
    format!("{}/{}", folder.display(), path.file_name().unwrap_or_default().display())
}

/// Compares `text` with the snapshot beside `path`.
fn snapshot(path: &Path, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(path.parent().unwrap_or(Path::new("")));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_input_file(path.file_name().unwrap_or_default());
    let stem = path.file_stem().unwrap_or_default().display().to_string();
    settings.bind(|| insta::assert_snapshot!(stem, text));
}
