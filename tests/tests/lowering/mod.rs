//! `filetests/lower/*.graph`: the loops that a graph becomes, and the arena they share; `filetests/mlir/*.graph`: the
//! same as MLIR. A comment `// target: NAME` says for which machine.

use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};
use onnxc::lower::{Lowered, lower};
use targets::Target;

/// One test per file.
pub fn trials(files: &[PathBuf], print: fn(&Lowered) -> String) -> Vec<Trial> {
    let trial = |path: &PathBuf| {
        let own = path.clone();
        Trial::test(crate::name(path), move || run(&own, print))
    };
    files.iter().map(trial).collect()
}

fn run(path: &Path, print: fn(&Lowered) -> String) -> Result<(), Failed> {
    let source = fs::read_to_string(path)?;
    let target = source.lines().find_map(|line| line.strip_prefix("// target: ")).unwrap_or("cortex-m4f");
    let target = Target::preset(target)?;
    let graph = ir::parse::<ops::AnyOp>(&source)?;
    let lowered = lower(&graph, &target, "net")?;
    crate::snapshot(path, &print(&lowered));
    Ok(())
}

/// Nests, then calls with the places of their buffers.
pub fn loops(lowered: &Lowered) -> String {
    let module = &lowered.module;
    let mut text = String::new();
    for (k, nest) in module.kernels.iter().enumerate() {
        text += &format!("{nest}\n");
        if let Some(nest) = module.without_matrices.get(&k) {
            text += &format!("without matrix registers:\n{nest}\n");
        }
    }
    for call in &module.calls {
        let places: Vec<String> = call.arguments.iter().map(|place| format!("{place:?}")).collect();
        text += &format!("call {}: {}\n", module.kernels[call.kernel].name, places.join(", "));
    }
    text + &format!("arena {} bytes, weights {} bytes\n", lowered.arena_bytes, module.weights.len())
}

/// What code generation makes of each nest, before any of LLVM's passes.
pub fn mlir(lowered: &Lowered) -> String {
    let module = &lowered.module;
    let text = |nest| codegen::mlir_text(nest, module.target).unwrap_or_else(|error| error.to_string());
    module.kernels.iter().map(text).collect::<Vec<_>>().join("\n")
}
