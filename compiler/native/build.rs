//! Compiles the thread pool that applications link.

use std::path::Path;

fn main() {
    let runtime = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runtime");
    let (threads, include) = (runtime.join("threads"), runtime.join("include"));
    println!("cargo::rerun-if-changed=src/pool.c");
    for folder in [&threads, &include] {
        println!("cargo::rerun-if-changed={}", folder.display());
    }
    cc::Build::new()
        .files([threads.join("onnxc_pool.c"), "src/pool.c".into()])
        .includes([&threads, &include])
        .flag("-pthread")
        .opt_level(2)
        .compile("onnxc_pool");
}
