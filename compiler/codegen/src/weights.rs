//! Weights go into the finished object: compile time must not grow with their bytes.

use object::{Object as _, ObjectSection, ObjectSymbol};

use crate::CodegenError;

/// Writes `weights` over the zeros of symbol `name`.
pub(crate) fn patch(object: &mut [u8], name: &str, weights: &[u8]) -> Result<(), CodegenError> {
    if weights.is_empty() {
        return Ok(());
    }
    let from = file_offset(object, name, weights.len())
        .ok_or_else(|| CodegenError::Internal(format!("the object has no room for {name}")))?;
    object[from..from + weights.len()].copy_from_slice(weights);
    Ok(())
}

/// Where `bytes` bytes of the symbol lie in the file; nothing where the section has none or is too short.
fn file_offset(bytes: &[u8], name: &str, len: usize) -> Option<usize> {
    let file = object::File::parse(bytes).ok()?;
    let symbol = file.symbols().find(|symbol| symbol.name() == Ok(name))?;
    let section = file.section_by_index(symbol.section_index()?).ok()?;
    let (start, size) = section.file_range()?;
    let within = symbol.address() - section.address();
    (within + len as u64 <= size).then_some((start + within) as usize)
}
