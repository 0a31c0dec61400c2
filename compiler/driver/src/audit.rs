//! What a finished object says of itself: nothing is promised of it that was not looked up in it.

use object::{Object, ObjectSection, ObjectSymbol, SectionKind};

use crate::diagnostic::Diagnostic;

/// Facts read from an ELF object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// Sorted names.
    pub undefined: Vec<String>,
    /// Writable sections that take space, by name.
    pub writable: Vec<String>,
    /// Exported names, sorted.
    pub exported: Vec<String>,
    /// Whether `<name>_run_threads` is among them.
    pub threads: bool,
}

/// Reads `object`; an error if it is not what docs/abi.md promises of a library called `name`.
pub fn audit(object: &[u8], name: &str) -> Result<Audit, Diagnostic> {
    let file =
        object::File::parse(object).map_err(|error| Diagnostic::bug(format!("the object file: {error}")))?;
    let mut audit = Audit { undefined: vec![], writable: vec![], exported: vec![], threads: false };
    for symbol in file.symbols() {
        let Ok(symbol_name) = symbol.name() else { continue };
        if symbol_name.is_empty() {
            continue;
        }
        if symbol.is_undefined() {
            audit.undefined.push(symbol_name.to_owned());
        } else if symbol.is_global() {
            audit.exported.push(symbol_name.to_owned());
        }
    }
    for section in file.sections().filter(|section| section.size() > 0) {
        let writable = matches!(
            section.kind(),
            SectionKind::Data
                | SectionKind::UninitializedData
                | SectionKind::Tls
                | SectionKind::UninitializedTls
        );
        if writable {
            audit.writable.push(section.name().unwrap_or("?").to_owned());
        }
    }
    audit.undefined.sort();
    audit.exported.sort();
    audit.threads = audit.exported.contains(&format!("{name}_run_threads"));
    let run = format!("{name}_run");
    if let Some(section) = audit.writable.first() {
        return Err(Diagnostic::bug(format!("the generated code has writable data in `{section}`")));
    }
    if !audit.exported.contains(&run) {
        return Err(Diagnostic::bug(format!("the object does not define `{run}`")));
    }
    Ok(audit)
}
