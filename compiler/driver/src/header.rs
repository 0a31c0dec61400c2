//! `<name>.h`: the contract with the firmware, in C99 that C++ takes, too.

use std::fmt::Write;

use crate::interface::Port;
use crate::metadata::{Metadata, Precision};

/// The text of the header; see docs/abi.md for what it promises.
pub fn header(metadata: &Metadata) -> String {
    let name = &metadata.name;
    let upper = name.to_ascii_uppercase();
    let target = &metadata.target;
    let memory = &metadata.memory;
    let defines = [
        ("ABI_VERSION", metadata.abi_version.to_string()),
        ("MODEL_SHA256", format!("\"{}\"", metadata.model.sha256)),
        ("ARENA_BYTES", format!("{}u", memory.arena_bytes)),
        ("ARENA_ALIGN", format!("{}u", memory.arena_align)),
    ];
    let counts = |ports: &[Port], way: &str| -> Vec<(String, String)> {
        let count = |port: &Port| {
            (format!("{way}_{}_ELEMENTS", port.field.to_ascii_uppercase()), format!("{}u", port.elements))
        };
        ports.iter().map(count).collect()
    };
    let mut macros: Vec<(String, String)> =
        defines.into_iter().map(|(define, value)| (define.to_owned(), value)).collect();
    macros.extend(counts(&metadata.inputs, "INPUT"));
    macros.extend(counts(&metadata.outputs, "OUTPUT"));
    let mut defined = String::new();
    for (define, value) in macros {
        let _ = writeln!(defined, "#define {upper}_{define} {value}");
    }
    let inputs = fields(&metadata.inputs, "const ");
    let outputs = fields(&metadata.outputs, "");
    let needs = match metadata.undefined_symbols.as_slice() {
        [] => "It calls nothing outside of itself".to_owned(),
        symbols => format!("It calls {} and nothing else outside of itself", symbols.join(", ")),
    };
    format!(
        r#"/*
 * lib{name}.a: a neural network compiled ahead of time by {tool} {version}
 * for {target} ({triple}).
 *
 * {needs}, keeps no state, never allocates.
 * Code and constants take {code} + {weights} bytes of read-only memory.
{precision} */
#ifndef {upper}_H
#define {upper}_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

{defined}
/* Tensors are dense and row-major: the last axis is contiguous. Each pointer is aligned to its element. */
typedef struct {name}_inputs {{
{inputs}}} {name}_inputs;

typedef struct {name}_outputs {{
{outputs}}} {name}_outputs;

/*
 * Computes the outputs from the inputs; returns 0.
 *
 * `arena` is scratch memory of {upper}_ARENA_BYTES bytes, aligned to {upper}_ARENA_ALIGN; its contents do not
 * matter before and mean nothing after. Inputs, outputs and arena must not overlap. Calls with different arenas
 * and outputs may run at the same time.
 */
int32_t {name}_run(const {name}_inputs *in, const {name}_outputs *out, void *arena);
{threads}
#ifdef __cplusplus
}}
#endif

#endif
"#,
        tool = metadata.tool.name,
        version = metadata.tool.version,
        target = target.name,
        triple = target.triple,
        code = memory.code_bytes,
        weights = memory.weights_bytes,
        precision = precision(metadata.flags.precision),
        threads = on_threads(metadata),
    )
}

/// What the comment at the top says where numbers are not what the model has them in.
fn precision(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => "",
        Precision::Bf16 => {
            " * Weights and what convolutions and matrix products read are rounded to bfloat16; sums are in float.\n"
        }
        Precision::F16 => {
            " * Weights and what convolutions and matrix products read are rounded to half floats; sums are in float.\n"
        }
    }
}

/// The declaration of the function that takes threads, if there is one.
fn on_threads(metadata: &Metadata) -> String {
    let (name, upper) = (&metadata.name, metadata.name.to_ascii_uppercase());
    match metadata.threads {
        1 => String::new(),
        threads => format!(
            r#"
/*
 * The same on up to {upper}_THREADS threads, to the bit: parallel loops go through `threads`, see onnxc_threads.h.
 */
#define {upper}_THREADS {threads}
struct onnxc_threads;
int32_t {name}_run_threads(const {name}_inputs *in, const {name}_outputs *out, void *arena,
                           const struct onnxc_threads *threads);
"#
        ),
    }
}

fn fields(ports: &[Port], qualifier: &str) -> String {
    if ports.is_empty() {
        return "    const void *none; /* the model has none; may be null */\n".to_owned();
    }
    let field = |port: &Port| {
        let (c_type, field) = (port.c_type(), &port.field);
        let order = if port.layout.is_some() { ", channels last" } else { "" };
        let ty = comment_safe(&port.ty.to_string()) + order;
        format!("    {qualifier}{c_type} *{field}; /* \"{}\": {ty} */\n", comment_safe(&port.name))
    };
    ports.iter().map(field).collect()
}

/// A model's name must not end the comment it stands in, start another, or break the line.
fn comment_safe(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() || c == '\\' { '?' } else { c }).collect();
    plain.replace("*/", "*?").replace("/*", "?*")
}
