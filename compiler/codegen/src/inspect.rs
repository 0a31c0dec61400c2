//! What a finished object holds and asks for.

use object::{Object as _, ObjectSection, ObjectSymbol};

use crate::CodegenError;

/// Bytes of code and of read-only data other than the weights.
pub(crate) fn code_bytes(bytes: &[u8], weights: &str) -> Result<usize, CodegenError> {
    let file =
        object::File::parse(bytes).map_err(|e| CodegenError::Internal(format!("reading the object: {e}")))?;
    let counted = |name: &str| {
        name.starts_with(".text") || (name.starts_with(".rodata") && name != format!(".rodata.{weights}"))
    };
    Ok(file.sections().filter(|s| s.name().is_ok_and(counted)).map(|s| s.size() as usize).sum())
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
