//! A library that `compile` wrote to a directory, to be run.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use object::read::archive::ArchiveFile;
use targets::Target;

use crate::diagnostic::{Diagnostic, code};
use crate::metadata::{Metadata, TargetFacts};
use crate::output;

pub struct Written {
    pub metadata: Metadata,
    /// The target that it was compiled for.
    pub target: Target,
    /// `lib<name>.a`.
    pub archive: Vec<u8>,
    path: PathBuf,
}

impl Written {
    pub fn open(dir: &Path) -> Result<Written, Diagnostic> {
        let metadata = output::read(dir)?;
        let target = machine(&metadata.target).ok_or_else(|| unknown_machine(dir, &metadata))?;
        let [archive, ..] = output::file_names(&metadata.name);
        let path = dir.join(archive);
        let archive = fs::read(&path).map_err(|error| unreadable(&path, &error))?;
        Ok(Written { metadata, target, archive, path })
    }

    /// The archive's only member.
    pub fn object(&self) -> Result<Vec<u8>, Diagnostic> {
        let unreadable = |why: &dyn fmt::Display| unreadable(&self.path, why);
        let bytes = self.archive.as_slice();
        let archive = ArchiveFile::parse(bytes).map_err(|error| unreadable(&error))?;
        let member = archive.members().next().ok_or_else(|| unreadable(&"it is empty"))?;
        let member = member.map_err(|error| unreadable(&error))?;
        Ok(member.data(bytes).map_err(|error| unreadable(&error))?.to_vec())
    }
}

fn unreadable(path: &Path, why: &dyn fmt::Display) -> Diagnostic {
    Diagnostic::usage(code::CANNOT_READ, format!("cannot read `{}`: {why}", path.display()))
}

/// The target that a library was compiled for, if it is one of ours: its description says how its code is run.
fn machine(facts: &TargetFacts) -> Option<Target> {
    Target::list().ok()?.into_iter().find(|target| TargetFacts::from(target) == *facts)
}

fn unknown_machine(dir: &Path, metadata: &Metadata) -> Diagnostic {
    let message = format!(
        "`{}` was compiled for {}, which is neither this machine nor one of this compiler's targets",
        dir.display(),
        metadata.target.name
    );
    let hint =
        "`onnxc verify MODEL --target FILE.toml` runs code on a machine that a file of yours describes";
    Diagnostic::usage(code::CANNOT_RUN, message).with_hint(hint)
}
