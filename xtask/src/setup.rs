//! Bringing what is missing to a Debian machine. Each step asks first whether there is anything to do.

use std::path::PathBuf;

use crate::command::{answer, command, run, step, target};

/// LLVM and MLIR and what they link; emulators; the targets' compilers; Python.
const DEBIAN_PACKAGES: [&str; 29] = [
    "build-essential",
    "pkg-config",
    "llvm-22",
    "llvm-22-dev",
    "libmlir-22-dev",
    "mlir-22-tools",
    "libpolly-22-dev",
    "clang-22",
    "lld-22",
    "libclang-22-dev",
    "libzstd-dev",
    "libz3-dev",
    "zlib1g-dev",
    "libxml2-dev",
    "libcurl4-openssl-dev",
    "qemu-system-arm",
    "qemu-system-misc",
    "qemu-user",
    "gcc-arm-none-eabi",
    "gcc-riscv64-unknown-elf",
    "gcc-aarch64-linux-gnu",
    "libc6-dev-arm64-cross",
    "gcc-arm-linux-gnueabihf",
    "libc6-dev-armhf-cross",
    "gcc-riscv64-linux-gnu",
    "libc6-dev-riscv64-cross",
    "python3",
    "python3-venv",
    "python3-pip",
];

/// `onnx` 1.22 is the last release whose wheel carries the official operator tests.
const PYTHON_PACKAGES: [&str; 3] = ["numpy", "onnx==1.22.0", "onnxruntime"];

/// Fails unless the packages that it is given are installed, at their versions.
const PYTHON_CHECK: &str = "\
from importlib.metadata import version
import sys
for package in sys.argv[1:]:
    name, _, wanted = package.partition('==')
    assert version(name) == wanted or not wanted
";

/// Everything, and `more` packages of Python; returns the Python to use.
pub fn all(more: &[&str]) -> Result<PathBuf, String> {
    debian_packages()?;
    rust_components()?;
    python(&[&PYTHON_PACKAGES, more].concat())
}

fn debian_packages() -> Result<(), String> {
    step("Debian packages");
    let query = ["-W", "-f", "${Package} ${db:Status-Status}\n"];
    // dpkg-query fails when one package is unknown to it, and still prints the others.
    let Ok(output) = command("dpkg-query", &query).args(DEBIAN_PACKAGES).output() else {
        println!("   this is no Debian: install yourself what these packages bring:");
        println!("   {}", DEBIAN_PACKAGES.join(" "));
        return Ok(());
    };
    let known = String::from_utf8_lossy(&output.stdout).into_owned();
    let missing: Vec<&str> = DEBIAN_PACKAGES
        .into_iter()
        .filter(|package| !known.lines().any(|line| line == format!("{package} installed")))
        .collect();
    if missing.is_empty() {
        println!("   all there");
        return Ok(());
    }
    println!("   missing: {}", missing.join(" "));
    let install = ["install", "--yes", "--no-install-recommends"];
    if answer(&mut command("id", &["-u"])).as_deref() != Some("0") {
        return Err(format!(
            "installing packages takes root; run\n  sudo apt-get update && sudo apt-get {} {}\nand then this again",
            install.join(" "),
            missing.join(" ")
        ));
    }
    run(&mut command("apt-get", &["update"]))?;
    let mut command = command("apt-get", &install);
    run(command.args(&missing).env("DEBIAN_FRONTEND", "noninteractive")).map_err(|problem| {
        format!("{problem}\nLLVM 22 for releases of Debian that do not carry it: https://apt.llvm.org")
    })
}

fn rust_components() -> Result<(), String> {
    step("rustfmt and clippy");
    let there = |subcommand| answer(&mut command("cargo", &[subcommand, "--version"])).is_some();
    if there("fmt") && there("clippy") {
        println!("   all there");
        return Ok(());
    }
    run(&mut command("rustup", &["component", "add", "rustfmt", "clippy"]))
}

/// The system's Python if it has the packages, else one in a virtual environment in the build folder: Debian's own does
/// not let pip install beside it.
fn python(packages: &[&str]) -> Result<PathBuf, String> {
    step("Python packages");
    let environment = target().join("python");
    let own = environment.join("bin/python3");
    let complete = |python: &PathBuf| answer(command(python, &["-c", PYTHON_CHECK]).args(packages)).is_some();
    if let Some(python) = [PathBuf::from("python3"), own.clone()].into_iter().find(complete) {
        println!("   all there");
        return Ok(python);
    }
    run(command("python3", &["-m", "venv"]).arg(&environment))?;
    run(command(&own, &["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages))?;
    if complete(&own) { Ok(own) } else { Err(format!("{} lacks one of {packages:?}", own.display())) }
}
