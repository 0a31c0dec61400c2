//! What a finished object holds and asks for.

use object::{Object as _, ObjectSection, ObjectSymbol, SectionFlags};

use crate::CodegenError;

/// Bytes that a linker puts into read-only memory beside the weights: code, constants, Arm's unwinding index.
pub(crate) fn code_bytes(bytes: &[u8], weights: &str) -> Result<usize, CodegenError> {
    let file =
        object::File::parse(bytes).map_err(|e| CodegenError::Internal(format!("reading the object: {e}")))?;
    let weights = format!(".rodata.{weights}");
    let loaded = |section: &object::Section| match section.flags() {
        SectionFlags::Elf { sh_flags, .. } => (sh_flags & object::elf::SHF_ALLOC).0 != 0,
        _ => false,
    };
    let counted = file.sections().filter(|s| loaded(s) && s.name().is_ok_and(|name| name != weights));
    Ok(counted.map(|s| s.size() as usize).sum())
}

/// Names that the object expects from elsewhere.
pub(crate) fn undefined_symbols(bytes: &[u8]) -> Result<Vec<String>, CodegenError> {
    let file =
        object::File::parse(bytes).map_err(|e| CodegenError::Internal(format!("reading the object: {e}")))?;
    let undefined =
        file.symbols().filter(|s| s.is_undefined()).filter_map(|s| s.name().ok().map(str::to_string));
    let mut names: Vec<_> = undefined.filter(|name| !name.is_empty()).collect();
    names.sort();
    Ok(names)
}

/// Whether `name` is arithmetic that compilers expect of their own runtime: the Arm run-time ABI's `__aeabi_*` (but its
/// memory functions), or GCC's names, which end in the modes of operands and result and their count (`__divdi3`:
/// division, double-word integers, three of them).
pub(crate) fn is_arithmetic_helper(name: &str) -> bool {
    if let Some(rest) = name.strip_prefix("__aeabi_") {
        return !rest.starts_with("mem") && !rest.starts_with("unwind");
    }
    let Some(rest) = name.strip_prefix("__") else { return false };
    let rest = rest.trim_end_matches(['2', '3']);
    ["sf", "df", "si", "di"].iter().any(|mode| rest.ends_with(mode))
}

#[cfg(test)]
mod tests {
    use super::is_arithmetic_helper;

    #[test]
    fn helpers_are_told_from_library_functions() {
        let helpers = [
            "__aeabi_fadd",
            "__aeabi_ldivmod",
            "__mulsf3",
            "__divdi3",
            "__fixsfsi",
            "__floatunsidf",
            "__nesf2",
        ];
        assert!(helpers.iter().all(|name| is_arithmetic_helper(name)));
        let others = [
            "memcpy",
            "expf",
            "__aeabi_memcpy4",
            "__aeabi_unwind_cpp_pr0",
            "__errno",
            "fmodf",
            "__stack_chk_fail",
        ];
        assert!(!others.iter().any(|name| is_arithmetic_helper(name)));
    }
}
