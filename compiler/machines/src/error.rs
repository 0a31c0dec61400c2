use std::fmt;

use targets::Target;

/// Why a library was not run, or why its run does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MachineError {
    /// The target's description says no way to run it here.
    NoRunner { target: String },
    /// A program is not installed.
    NotInstalled { program: String },
    /// The given tensors are not what the library takes.
    Inputs(String),
    /// The compiler or linker refused; its own words.
    Build { command: String, output: String },
    /// The program did not end as it should; `output` is what it or the emulator printed.
    Stopped { how: String, output: String },
    /// `<name>_run` returned this.
    Status(i32),
    /// The library broke its contract: wrote outside of its arena or to its inputs, or left outputs unwritten.
    Contract(String),
    /// The target's description names no scheduling model, by which cycles could be told.
    NoSchedulingModel { target: String },
    /// LLVM's tools made nothing of the executed instructions; their own words.
    Analysis { model: String, output: String },
    /// A file of ours could not be read or written.
    Files(String),
}

/// The Debian package that brings a program.
fn package(program: &str) -> Option<&'static str> {
    const PACKAGES: [(&str, &str); 12] = [
        ("arm-none-eabi-gcc", "gcc-arm-none-eabi"),
        ("riscv64-unknown-elf-gcc", "gcc-riscv64-unknown-elf"),
        ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
        ("arm-linux-gnueabihf-gcc", "gcc-arm-linux-gnueabihf"),
        ("riscv64-linux-gnu-gcc", "gcc-riscv64-linux-gnu"),
        ("cc", "gcc"),
        ("ld.lld", "lld-22"),
        ("llvm-mc", "llvm-22"),
        ("qemu-system-arm", "qemu-system-arm"),
        ("qemu-system-riscv32", "qemu-system-misc"),
        ("qemu-system-riscv64", "qemu-system-misc"),
        ("qemu-", "qemu-user"),
    ];
    let program = program.rsplit('/').next().unwrap_or(program);
    PACKAGES.into_iter().find(|(name, _)| program.starts_with(name)).map(|(_, package)| package)
}

impl fmt::Display for MachineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MachineError::NoRunner { target } => {
                write!(f, "target `{target}` has no `[runner]`, so nothing can be run for it here")
            }
            MachineError::NotInstalled { program } => {
                write!(f, "`{program}` is not installed")?;
                match package(program) {
                    Some(package) => write!(f, "; on Debian: apt-get install {package}"),
                    None => Ok(()),
                }
            }
            MachineError::NoSchedulingModel { target } => {
                let has = |target: &Target| !target.scheduling_model.is_empty();
                let names: Vec<String> = Target::list()
                    .unwrap_or_default()
                    .into_iter()
                    .filter(has)
                    .map(|target| target.name)
                    .collect();
                write!(
                    f,
                    "target `{target}` has no `scheduling_model`, so its cycles can't be told; {} have one, and a \
                     description of your own may name any processor that llvm-mca knows",
                    names.join(", ")
                )
            }
            MachineError::Analysis { model, output } => {
                write!(f, "cycles by LLVM's scheduling model `{model}` can't be told\n{}", output.trim_end())
            }
            MachineError::Inputs(problem) | MachineError::Files(problem) => f.write_str(problem),
            MachineError::Build { command, output } => write!(f, "{command}\n{}", output.trim_end()),
            MachineError::Stopped { how, output } => write!(f, "the program {how}\n{}", output.trim_end()),
            MachineError::Status(status) => write!(f, "the library's run function returned {status}"),
            MachineError::Contract(problem) => write!(f, "the library {problem}"),
        }
    }
}

impl std::error::Error for MachineError {}

impl MachineError {
    pub(crate) fn files(what: impl fmt::Display, error: impl fmt::Display) -> MachineError {
        MachineError::Files(format!("{what}: {error}"))
    }
}
