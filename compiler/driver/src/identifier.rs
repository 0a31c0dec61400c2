//! Model and tensor names as C identifiers.

use std::collections::HashSet;

/// Words that are no identifiers in C99 to C23 or in C++.
const KEYWORDS: &[&str] = &[
    "alignas",
    "alignof",
    "and",
    "and_eq",
    "asm",
    "auto",
    "bitand",
    "bitor",
    "bool",
    "break",
    "case",
    "catch",
    "char",
    "char16_t",
    "char32_t",
    "char8_t",
    "class",
    "co_await",
    "co_return",
    "co_yield",
    "compl",
    "concept",
    "const",
    "const_cast",
    "consteval",
    "constexpr",
    "constinit",
    "continue",
    "decltype",
    "default",
    "delete",
    "do",
    "double",
    "dynamic_cast",
    "else",
    "enum",
    "explicit",
    "export",
    "extern",
    "false",
    "float",
    "for",
    "friend",
    "goto",
    "if",
    "inline",
    "int",
    "long",
    "mutable",
    "namespace",
    "new",
    "noexcept",
    "not",
    "not_eq",
    "nullptr",
    "operator",
    "or",
    "or_eq",
    "private",
    "protected",
    "public",
    "register",
    "reinterpret_cast",
    "requires",
    "restrict",
    "return",
    "short",
    "signed",
    "sizeof",
    "static",
    "static_assert",
    "static_cast",
    "struct",
    "switch",
    "template",
    "this",
    "thread_local",
    "throw",
    "true",
    "try",
    "typedef",
    "typeid",
    "typename",
    "typeof",
    "typeof_unqual",
    "union",
    "unsigned",
    "using",
    "virtual",
    "void",
    "volatile",
    "wchar_t",
    "while",
    "xor",
    "xor_eq",
];

/// `text` as an identifier: what is no letter or digit becomes one `_`, a leading digit or nothing at all gets
/// `what` in front, a keyword gets it behind. No leading, trailing or double underscores: C and C++ keep those.
pub fn identifier(text: &str, what: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let joined = words.join("_");
    match joined.chars().next() {
        None => what.to_owned(),
        Some(first) if first.is_ascii_digit() => format!("{what}_{joined}"),
        Some(_) if KEYWORDS.contains(&joined.as_str()) => format!("{joined}_{what}"),
        Some(_) => joined,
    }
}

/// Whether `text` can be a model's name as it is.
pub fn is_identifier(text: &str) -> bool {
    !text.is_empty() && identifier(text, "model") == text
}

/// Identifiers for `names` that stay different even in capitals (the header's macros are).
pub fn unique<'a>(names: impl IntoIterator<Item = &'a str>, what: &str) -> Vec<String> {
    let mut taken = HashSet::new();
    let fresh = |name: &str| {
        let base = identifier(name, what);
        let mut candidate = base.clone();
        let mut number = 2;
        while !taken.insert(candidate.to_ascii_uppercase()) {
            candidate = format!("{base}_{number}");
            number += 1;
        }
        candidate
    };
    names.into_iter().map(fresh).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_identifiers() {
        let cases = [
            ("mobilenet-v2.1", "mobilenet_v2_1"),
            ("123net", "model_123net"),
            ("int", "int_model"),
            ("__x__y__", "x_y"),
            ("", "model"),
            ("///", "model"),
            ("größe", "gr_e"),
            ("serving_default_input_1:0", "serving_default_input_1_0"),
        ];
        for (name, expected) in cases {
            assert_eq!(identifier(name, "model"), expected, "{name}");
            assert!(is_identifier(expected));
        }
        assert!(!is_identifier("a-b") && !is_identifier("") && !is_identifier("class"));
    }

    #[test]
    fn clashes_are_numbered() {
        assert_eq!(unique(["a.b", "a/b", "A_B", "a_b_2"], "tensor"), ["a_b", "a_b_2", "A_B_3", "a_b_2_2"]);
    }
}
