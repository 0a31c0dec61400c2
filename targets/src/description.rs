//! Reading a target from its TOML text, from whichever source.

use std::fmt;
use std::path::Path;

use crate::instructions::{INSTRUCTIONS, Meaning, find};
use crate::presets::PRESETS;
use crate::{Runner, Target};

/// Why there is no such target: a sentence that names the source, the key and what is supported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetError(pub String);

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TargetError {}

/// The first component of a triple, by what code can be generated for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arch {
    X86_64,
    Aarch64,
    Arm,
    Riscv32,
    Riscv64,
}

impl Arch {
    pub(crate) fn of(triple: &str) -> Option<Arch> {
        match triple.split('-').next()? {
            "x86_64" => Some(Arch::X86_64),
            "aarch64" | "arm64" => Some(Arch::Aarch64),
            "riscv32" => Some(Arch::Riscv32),
            "riscv64" => Some(Arch::Riscv64),
            arch if arch.starts_with("thumb") || arch.starts_with("arm") => Some(Arch::Arm),
            _ => None,
        }
    }

    pub(crate) const SUPPORTED: &str = "x86_64, aarch64, arm*, thumb*, riscv32 and riscv64";

    pub(crate) fn pointer_bits(self) -> u32 {
        match self {
            Arch::X86_64 | Arch::Aarch64 | Arch::Riscv64 => 64,
            Arch::Arm | Arch::Riscv32 => 32,
        }
    }
}

impl Target {
    /// The target that `--target NAME` means: `host` or a description that comes with the compiler.
    pub fn preset(name: &str) -> Result<Target, TargetError> {
        if name == "host" {
            return Target::host();
        }
        match PRESETS.iter().find(|(preset, _)| *preset == name) {
            Some((_, text)) => parse(&format!("targets/presets/{name}.toml"), text),
            None => Err(TargetError(format!(
                "no target is called `{name}`; there are {}, or a TOML file of your own",
                Target::names().join(", ")
            ))),
        }
    }

    /// Names that [`Target::preset`] takes, `host` first.
    pub fn names() -> Vec<&'static str> {
        std::iter::once("host").chain(PRESETS.iter().map(|(name, _)| *name)).collect()
    }

    /// All targets that come with the compiler, this machine first (if code can be generated for it).
    pub fn list() -> Result<Vec<Target>, TargetError> {
        let presets = PRESETS.iter().map(|(name, _)| Target::preset(name));
        Target::host().ok().map(Ok).into_iter().chain(presets).collect()
    }

    /// A user's own description.
    pub fn from_toml_file(path: &Path) -> Result<Target, TargetError> {
        let source = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| TargetError(format!("cannot read {source}: {error}")))?;
        parse(&source, &text)
    }
}

fn parse(source: &str, text: &str) -> Result<Target, TargetError> {
    let target: Target = toml::from_str(text).map_err(|error| TargetError(format!("{source}: {error}")))?;
    check(&target).map_err(|problem| TargetError(format!("{source}: {problem}")))?;
    Ok(target)
}

/// What the types alone do not say.
fn check(target: &Target) -> Result<(), String> {
    let arch = Arch::of(&target.triple)
        .ok_or_else(|| format!("`triple` is `{}`; supported are {}", target.triple, Arch::SUPPORTED))?;
    let vector = &target.vector;
    let vector_ok = vector.bits == 0 || (vector.bits.is_power_of_two() && (64..=2048).contains(&vector.bits));
    let script_ok = match &target.runner {
        Some(Runner::QemuSystem { memory, .. }) => !memory.is_empty(),
        _ => true,
    };
    let unknown = target.instructions.iter().find(|name| find(name).is_none());
    let of_target = target.instructions.iter().filter_map(|name| find(name));
    let matrix =
        of_target.into_iter().find(|instruction| matches!(instruction.meaning, Meaning::Matrix { .. }));
    let instructions: Vec<&str> = INSTRUCTIONS.iter().map(|instruction| instruction.name).collect();
    let rules = [
        (
            unknown.is_none(),
            format!(
                "`instructions` names `{}`; there are {}",
                unknown.map_or("", String::as_str),
                instructions.join(", ")
            ),
        ),
        (
            matrix.is_none() || target.triple.starts_with("x86_64") && target.triple.contains("linux"),
            format!(
                "`instructions` names `{}`, and `triple` is `{}`; matrix registers are asked of Linux on x86_64",
                matrix.map_or("", |instruction| instruction.name),
                target.triple
            ),
        ),
        (!target.name.is_empty(), "`name` is empty".to_string()),
        (
            target.pointer_bits == arch.pointer_bits(),
            format!(
                "`pointer_bits` is {}; `{}` has {}",
                target.pointer_bits,
                target.triple,
                arch.pointer_bits()
            ),
        ),
        (
            [0, 32, 64].contains(&target.float.bits),
            format!("`float.bits` is {}; supported are 0 (no FPU), 32 and 64", target.float.bits),
        ),
        (
            target.float.bits == 0 || target.float.registers > 0,
            "`float.registers` is 0 on a machine with an FPU".to_string(),
        ),
        (
            vector_ok,
            format!(
                "`vector.bits` is {}; supported are 0 (none) and powers of two from 64 to 2048",
                vector.bits
            ),
        ),
        (
            (vector.bits == 0) == (vector.registers == 0),
            format!("`vector.registers` is {} with `vector.bits` {}", vector.registers, vector.bits),
        ),
        (script_ok, "`runner.memory` is empty; it names a linker script of runtime/baremetal".to_string()),
    ];
    rules.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, problem)| Err(problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(edit: impl Fn(&str) -> String) -> String {
        let (_, text) = PRESETS.iter().find(|(name, _)| *name == "cortex-m4f").unwrap();
        parse("mine.toml", &edit(text)).unwrap_err().0
    }

    #[test]
    fn every_preset_is_a_valid_target_of_its_own_name() {
        for (name, _) in PRESETS {
            assert_eq!(Target::preset(name).unwrap().name, *name);
        }
    }

    #[test]
    fn what_prints_parses() {
        for target in Target::list().unwrap() {
            let text = toml::to_string(&target).unwrap();
            assert_eq!(parse("printed", &text).unwrap(), target, "{text}");
        }
    }

    #[test]
    fn the_documented_file_is_valid_and_says_every_key() {
        let document = include_str!("../../docs/adding-a-target.md");
        let (_, rest) = document.split_once("```toml\n").unwrap();
        let (text, _) = rest.split_once("```").unwrap();
        let target = parse("docs/adding-a-target.md", text).unwrap();
        // Every key that a description with nothing left out prints is written in the example.
        let printed: toml::Table = toml::from_str(&toml::to_string(&target).unwrap()).unwrap();
        let written: toml::Table = toml::from_str(text).unwrap();
        assert_eq!(printed, written);
    }

    #[test]
    fn an_unknown_preset_is_answered_with_the_known_ones() {
        let TargetError(message) = Target::preset("cortex-m9").unwrap_err();
        assert!(message.contains("`cortex-m9`") && message.contains("host, cortex-a53"), "{message}");
    }

    #[test]
    fn a_wrong_description_names_file_key_and_what_is_supported() {
        let cases: [(&str, &str, &[&str]); 8] = [
            ("\"smlad\"", "\"tdpbf16ps\"", &["`tdpbf16ps`", "`triple` is `thumbv7em-none-eabihf`", "Linux"]),
            ("\"smlad\"", "\"smlod\"", &["`smlod`", "sxtb16_ror8"]),
            ("\nbits = 32", "\nbits = 16", &["mine.toml", "`float.bits` is 16", "0 (no FPU), 32 and 64"]),
            ("thumbv7em-none-eabihf", "mips-elf", &["`triple` is `mips-elf`", "riscv32"]),
            ("pointer_bits = 32", "pointer_bits = 64", &["`pointer_bits` is 64", "has 32"]),
            ("round = false", "rounds = false", &["mine.toml", "rounds", "`round`"]),
            ("\nregisters = 32", "\nregisters = 0", &["`float.registers`"]),
            ("qemu_system", "board", &["mine.toml", "board", "`qemu_user`"]),
        ];
        for (from, to, expected) in cases {
            let message = refused(|text| text.replacen(from, to, 1));
            for part in expected {
                assert!(message.contains(part), "{from} -> {to}: no {part:?} in {message}");
            }
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let TargetError(message) = Target::from_toml_file(Path::new("/no/such.toml")).unwrap_err();
        assert!(message.contains("/no/such.toml"), "{message}");
    }
}
