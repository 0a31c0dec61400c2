//! The C sources of the program around a library, and the header that fits them to it.

use std::fmt::Write as _;
use std::path::Path;

use ir::TensorType;

use crate::{Library, MachineError};

macro_rules! sources {
    ($($path:literal),* $(,)?) => {
        [$(($path, include_str!(concat!("../../../runtime/", $path)))),*]
    };
}

const SOURCES: [(&str, &str); 16] = sources!(
    "runner/main.c",
    "runner/call.h",
    "runner/call.S",
    "runner/host.h",
    "runner/stdio.c",
    "runner/semihosting.h",
    "runner/semihosting.c",
    "baremetal/cortex_m.c",
    "baremetal/riscv.S",
    "baremetal/memory.c",
    "baremetal/sections.ld",
    "baremetal/mps2.ld",
    "baremetal/mps2-an500.ld",
    "baremetal/mps2-an505.ld",
    "baremetal/mps3-an547.ld",
    "baremetal/riscv-virt.ld",
);

/// How far below the caller the stack is painted, in bytes: more than any library uses, less than any start-up gives.
pub(crate) const STACK_BYTES: usize = 256 * 1024;

/// Writes all sources and `model.h` into `folder`, flat.
pub(crate) fn write(folder: &Path, library: &Library) -> Result<(), MachineError> {
    let put = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| MachineError::files(path.display(), error))
    };
    for (path, text) in SOURCES {
        put(path.split_once('/').map_or(path, |(_, name)| name), text)?;
    }
    put("model.h", &header(library))
}

fn header(library: &Library) -> String {
    let mut text = format!(
        "#define MODEL_RUN {}_run\n#define MODEL_ARENA_BYTES {}\n#define MODEL_ARENA_ALIGN {}\n\
         #define MODEL_STACK_BYTES {STACK_BYTES}\n",
        library.name,
        library.arena_bytes,
        library.arena_align.max(1),
    );
    for (list, tensors) in [("INPUTS", library.inputs), ("OUTPUTS", library.outputs)] {
        let entries: Vec<String> =
            tensors.iter().enumerate().map(|(index, (_, ty))| entry(index, ty)).collect();
        // Writing to a String does not fail.
        let _ = writeln!(text, "#define MODEL_{list}(X) {}", entries.join(" "));
    }
    text
}

fn entry(index: usize, ty: &TensorType) -> String {
    format!("X({index}, {}, {})", ty.bytes(), ty.dtype.bytes())
}
