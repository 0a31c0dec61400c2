//! Linking a library into the runner's program with the target's own compiler.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use object::read::archive::ArchiveFile;
use object::{Object, ObjectSymbol};
use targets::{Runner, Target};

use crate::{Library, MachineError, process, sources};

/// Which linker makes the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linker {
    /// The compiler's own: GNU ld.
    Gnu,
    /// LLVM's.
    Lld,
}

/// Links `library` into a whole program for `target`, warnings being errors.
pub fn check_link(target: &Target, library: &Library, linker: Linker) -> Result<(), MachineError> {
    let folder = tempfile::tempdir().map_err(|error| MachineError::files("a temporary folder", error))?;
    program(target, library, linker, folder.path()).map(|_| ())
}

/// Symbols that no member of the archive defines, sorted.
pub fn undefined_symbols(archive: &Path) -> Result<Vec<String>, MachineError> {
    let failed = |error: &dyn std::fmt::Display| MachineError::files(archive.display(), error);
    let data = std::fs::read(archive).map_err(|error| failed(&error))?;
    let file = ArchiveFile::parse(&*data).map_err(|error| failed(&error))?;
    let mut defined = std::collections::BTreeSet::new();
    let mut wanted = std::collections::BTreeSet::new();
    for member in file.members() {
        let bytes = member.and_then(|member| member.data(&*data)).map_err(|error| failed(&error))?;
        let object = object::File::parse(bytes).map_err(|error| failed(&error))?;
        for symbol in object.symbols() {
            let name = symbol.name().map_err(|error| failed(&error))?;
            match (symbol.is_undefined() && !name.is_empty(), symbol.is_global()) {
                (true, _) => wanted.insert(name.to_string()),
                (false, true) => defined.insert(name.to_string()),
                (false, false) => false,
            };
        }
    }
    Ok(wanted.difference(&defined).cloned().collect())
}

/// The runner's program around `library`, built in `folder`.
pub(crate) fn program(
    target: &Target,
    library: &Library,
    linker: Linker,
    folder: &Path,
) -> Result<PathBuf, MachineError> {
    sources::write(folder, library)?;
    let archive = std::path::absolute(library.archive)
        .map_err(|error| MachineError::files(library.archive.display(), error))?;
    let (compiler, flags, environment) = toolchain(target)?;
    let mut command = Command::new(compiler);
    command.args(flags).args(["-std=gnu11", "-O1", "-I.", "-Wall", "-Werror", "-o", "program"]);
    command.args(["main.c", "call.S"]).args(environment).arg(archive).arg("-Wl,--fatal-warnings");
    if linker == Linker::Lld {
        command.arg("-fuse-ld=lld").arg(format!("-B{}", llvm_programs().display()));
    }
    if bare_metal(target) {
        command.arg("-lgcc");
    }
    let ended = process::run(&mut command, folder, Duration::from_secs(120))?;
    if ended.status.success() {
        Ok(folder.join("program"))
    } else {
        Err(MachineError::Build { command: format!("{command:?}"), output: ended.output })
    }
}

fn bare_metal(target: &Target) -> bool {
    matches!(target.runner, Some(Runner::QemuSystem { .. }))
}

/// The compiler, its flags for the target, and what makes a program of the runner: a C library or our own start-up.
fn toolchain(target: &Target) -> Result<(&str, &[String], Vec<String>), MachineError> {
    let words = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<String>>();
    match &target.runner {
        None => Err(MachineError::NoRunner { target: target.name.clone() }),
        Some(Runner::Native) => Ok(("cc", &[], words(&["stdio.c"]))),
        Some(Runner::QemuUser { compiler, flags, .. }) => {
            Ok((compiler, flags, words(&["-static", "stdio.c"])))
        }
        Some(Runner::QemuSystem { memory, compiler, flags, .. }) => {
            let start = if target.triple.starts_with("riscv") { "riscv.S" } else { "cortex_m.c" };
            // Without -fno-tree-loop-distribute-patterns GCC would make memcpy call itself.
            let mut environment =
                words(&["-ffreestanding", "-fno-tree-loop-distribute-patterns", "-nostdlib", "-static"]);
            environment.extend(words(&[
                "-Wl,--build-id=none,-z,noexecstack",
                "semihosting.c",
                "memory.c",
                start,
            ]));
            environment.push(format!("-Wl,-T,{memory}"));
            Ok((compiler, flags, environment))
        }
    }
}

/// Where the programs of the LLVM that this compiler is built with lie under their plain names.
pub(crate) fn llvm_programs() -> PathBuf {
    let prefix = std::env::var_os("LLVM_SYS_221_PREFIX").unwrap_or_else(|| "/usr/lib/llvm-22".into());
    Path::new(&prefix).join("bin")
}
