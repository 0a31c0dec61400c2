//! `example.c`: the shortest program that calls the library.

use std::fmt::Write;

use ir::DType;

use crate::interface::Port;
use crate::metadata::Metadata;

/// The text of the example. Static memory only; the outputs are printed where there is a C library
/// (bare metal: compile with `-ffreestanding`, read them with a debugger).
pub fn example(metadata: &Metadata) -> String {
    let name = &metadata.name;
    let upper = name.to_ascii_uppercase();
    let mut buffers = String::new();
    for (ports, way) in [(&metadata.inputs, "INPUT"), (&metadata.outputs, "OUTPUT")] {
        for port in ports {
            let _ = writeln!(
                buffers,
                "static {} {}[{}];",
                port.c_type(),
                buffer(way, port),
                length(&upper, way, port)
            );
        }
    }
    let prints: String = metadata.outputs.iter().map(|port| print(&upper, port)).collect();
    format!(
        r#"/* Runs lib{name}.a once on zeros: put your data into the inputs. */
#include "{name}.h"

#if __STDC_HOSTED__
#include <stdio.h>
#endif

{buffers}static uint8_t arena[{upper}_ARENA_BYTES + {upper}_ARENA_ALIGN];

int main(void) {{
    const {name}_inputs in = {{{inputs}}};
    const {name}_outputs out = {{{outputs}}};
    uint8_t *aligned = arena + ({upper}_ARENA_ALIGN - (uintptr_t)arena % {upper}_ARENA_ALIGN) % {upper}_ARENA_ALIGN;

    int32_t status = {name}_run(&in, &out, aligned);
#if __STDC_HOSTED__
{prints}#endif
    return (int)status;
}}
"#,
        inputs = list(&metadata.inputs, "INPUT"),
        outputs = list(&metadata.outputs, "OUTPUT"),
    )
}

fn buffer(way: &str, port: &Port) -> String {
    format!("{}_{}", way.to_ascii_lowercase(), port.field)
}

/// An array of no elements is no C: an empty tensor gets one.
fn length(upper: &str, way: &str, port: &Port) -> String {
    match port.elements {
        0 => "1".to_owned(),
        _ => format!("{upper}_{way}_{}_ELEMENTS", port.field.to_ascii_uppercase()),
    }
}

fn list(ports: &[Port], way: &str) -> String {
    match ports {
        [] => "0".to_owned(),
        _ => ports.iter().map(|port| buffer(way, port)).collect::<Vec<_>>().join(", "),
    }
}

fn print(upper: &str, port: &Port) -> String {
    if port.elements == 0 {
        return format!("    printf(\"{} is empty\\n\");\n", port.field);
    }
    let array = buffer("OUTPUT", port);
    let (format, cast) = match port.ty.dtype {
        DType::F32 | DType::F64 => ("%g", "(double)"),
        DType::F16 | DType::BF16 => ("0x%04lx", "(unsigned long)"),
        DType::Bool | DType::U8 | DType::U16 | DType::U32 => ("%lu", "(unsigned long)"),
        DType::U64 => ("%llu", "(unsigned long long)"),
        DType::I8 | DType::I16 | DType::I32 => ("%ld", "(long)"),
        DType::I64 => ("%lld", "(long long)"),
    };
    let length = length(upper, "OUTPUT", port);
    format!(
        "    for (uint32_t i = 0; i < {length}; ++i) {{\n        printf(\"{}[%lu] = {format}\\n\", (unsigned long)i, {cast}{array}[i]);\n    }}\n",
        port.field
    )
}
