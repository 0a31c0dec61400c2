//! Targets that no file describes: `--target-triple`, `--target-cpu`, `--target-features`.

use crate::description::Arch;
use crate::presets::PRESETS;
use crate::{Costs, FloatUnit, InstructionOrder, Target, TargetError, Vector};

impl Target {
    /// A target from LLVM's words alone. A CPU that a preset knows is described by that preset; else the description
    /// is what the triple and the features promise, and no more.
    pub fn custom(triple: &str, cpu: &str, features: &str) -> Result<Target, TargetError> {
        let arch = Arch::of(triple).ok_or_else(|| {
            TargetError(format!("no code is generated for `{triple}`; supported are {}", Arch::SUPPORTED))
        })?;
        let given = Features::parse(features)?;
        let known = PRESETS
            .iter()
            .filter_map(|(name, _)| Target::preset(name).ok())
            .find(|preset| !cpu.is_empty() && preset.cpu == cpu && Arch::of(&preset.triple) == Some(arch));
        // Features can take away from a preset, too: they are judged from the arch's words then.
        let costs = known.as_ref().map_or_else(Costs::default, |preset| preset.costs.clone());
        let scheduling_model =
            known.as_ref().map_or_else(String::new, |preset| preset.scheduling_model.clone());
        let (float, vector, caches) = match known {
            Some(preset) if given.0.is_empty() => (preset.float, preset.vector, preset.caches),
            preset => {
                let base = preset.as_ref().map_or("", |preset| implied(&preset.cpu));
                let all = Features::parse(&format!("{base},{features}"))?;
                let (float, vector) = describe(arch, triple, &all);
                (float, vector, preset.map_or(Vec::new(), |preset| preset.caches))
            }
        };
        Ok(Target {
            name: if cpu.is_empty() { triple.to_string() } else { cpu.to_string() },
            description: format!("{triple} {cpu} {features}").trim().to_string(),
            triple: triple.into(),
            cpu: if cpu.is_empty() { default_cpu(arch).into() } else { cpu.into() },
            features: features.into(),
            scheduling_model,
            abi: abi(arch, &given),
            pointer_bits: arch.pointer_bits(),
            instruction_order: InstructionOrder::usual(triple, &vector),
            float,
            vector,
            caches,
            costs,
            instructions: Vec::new(),
            runner: None,
            threads: 1,
            winograd: true,
        })
    }
}

/// `+a,-b` in order; the last word on a feature counts.
struct Features(Vec<(String, bool)>);

impl Features {
    fn parse(text: &str) -> Result<Features, TargetError> {
        text.split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .map(|word| match word.split_at_checked(1) {
                Some(("+", name)) if !name.is_empty() => Ok((name.to_string(), true)),
                Some(("-", name)) if !name.is_empty() => Ok((name.to_string(), false)),
                _ => Err(TargetError(format!(
                    "feature `{word}`: write `+{word}` or `-{word}`, separated by commas"
                ))),
            })
            .collect::<Result<_, _>>()
            .map(Features)
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().rev().find(|(feature, _)| feature == name).is_some_and(|(_, on)| *on)
    }

    fn any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.has(name))
    }
}

/// The features of a preset's CPU that [`describe`] asks about.
fn implied(cpu: &str) -> &'static str {
    match cpu {
        "x86-64-v2" => "+sse4.1",
        "x86-64-v3" => "+sse4.1,+avx2,+fma,+f16c",
        "x86-64-v4" | "sapphirerapids" => "+sse4.1,+avx2,+fma,+f16c,+avx512f,+avx512vl",
        "cortex-a7" => "+neon,+vfp4",
        "cortex-m4" => "+vfp4d16sp",
        "cortex-m7" => "+fp-armv8d16",
        "cortex-m33" => "+fp-armv8d16sp",
        "cortex-m55" => "+fp-armv8d16,+mve.fp",
        _ => "",
    }
}

fn default_cpu(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "x86-64",
        Arch::Aarch64 | Arch::Arm => "generic",
        Arch::Riscv32 => "generic-rv32",
        Arch::Riscv64 => "generic-rv64",
    }
}

/// RISC-V's ABI follows its widest float registers; elsewhere the triple says it.
fn abi(arch: Arch, features: &Features) -> String {
    let base = match arch {
        Arch::Riscv32 => "ilp32",
        Arch::Riscv64 => "lp64",
        _ => return String::new(),
    };
    let float = match () {
        () if features.any(&["d", "v"]) => "d",
        () if features.has("f") => "f",
        () => "",
    };
    format!("{base}{float}")
}

fn describe(arch: Arch, triple: &str, features: &Features) -> (FloatUnit, Vector) {
    match arch {
        Arch::X86_64 => x86(features),
        Arch::Aarch64 => (
            FloatUnit { bits: 64, fma: true, round: true, registers: 32 },
            Vector { bits: 128, registers: 32, lane_operand: true, half: true, ..Vector::NONE },
        ),
        Arch::Arm => arm(triple, features),
        Arch::Riscv32 | Arch::Riscv64 => riscv(features),
    }
}

fn x86(features: &Features) -> (FloatUnit, Vector) {
    let avx512 = features.has("avx512f") && features.has("avx512vl");
    let (bits, registers) = match () {
        () if avx512 => (512, 32),
        () if features.any(&["avx", "avx2"]) => (256, 16),
        () => (128, 16),
    };
    let fma = avx512 || features.has("fma");
    let round = bits > 128 || features.any(&["sse4.1", "sse4.2"]);
    (
        FloatUnit { bits: 64, fma, round, registers },
        Vector {
            bits,
            registers,
            masked: avx512,
            broadcast_operand: avx512,
            lane_operand: false,
            half: features.has("f16c"),
        },
    )
}

fn arm(triple: &str, features: &Features) -> (FloatUnit, Vector) {
    let mve = features.has("mve.fp");
    let application =
        triple.starts_with("armv7-") || triple.starts_with("armv7a-") || triple.starts_with("armv8");
    let neon = features.has("neon") || (application && triple.ends_with("hf"));
    let round = mve || features.any(&["fp-armv8", "fp-armv8d16", "fp-armv8d16sp", "fp-armv8sp"]);
    let double =
        neon || mve || features.any(&["fp-armv8", "fp-armv8d16", "vfp4", "vfp4d16", "vfp3", "vfp3d16"]);
    let single = features.any(&["vfp4d16sp", "vfp4sp", "fp-armv8d16sp", "fp-armv8sp", "vfp3d16sp", "vfp2sp"]);
    let fma = round || features.any(&["vfp4", "vfp4d16", "vfp4sp", "vfp4d16sp"]);
    // A hard-float triple promises single precision at least.
    let bits = match () {
        () if double => 64,
        () if single || triple.ends_with("hf") => 32,
        () => 0,
    };
    let float = FloatUnit { bits, fma, round, registers: if bits > 0 { 32 } else { 0 } };
    let vector = match () {
        () if mve => Vector { bits: 128, registers: 8, masked: true, ..Vector::NONE },
        () if neon => Vector { bits: 128, registers: 16, ..Vector::NONE },
        () => Vector::NONE,
    };
    (float, vector)
}

fn riscv(features: &Features) -> (FloatUnit, Vector) {
    let vectors = features.has("v");
    let bits = match () {
        () if vectors || features.has("d") => 64,
        () if features.has("f") => 32,
        () => 0,
    };
    let float = FloatUnit {
        bits,
        fma: bits > 0,
        round: features.has("zfa"),
        registers: if bits > 0 { 32 } else { 0 },
    };
    // The vector extension itself promises 128 bits; `zvl*b` may promise more.
    let length = [1024, 512, 256, 128].into_iter().find(|bits| features.has(&format!("zvl{bits}b")));
    // Four registers as one, as in the presets.
    let bits = 4 * length.unwrap_or(128);
    let vector = if vectors {
        Vector { bits: bits.min(2048), registers: 8, masked: true, ..Vector::NONE }
    } else {
        Vector::NONE
    };
    (float, vector)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A preset's own triple, CPU and features, given by hand, say the same of the machine as the file does.
    #[test]
    fn words_and_files_agree() {
        for (name, _) in PRESETS {
            let preset = Target::preset(name).unwrap();
            let custom = Target::custom(&preset.triple, &preset.cpu, &preset.features).unwrap();
            assert_eq!((&custom.float, &custom.vector), (&preset.float, &preset.vector), "{name}");
            assert_eq!((&custom.abi, custom.pointer_bits), (&preset.abi, preset.pointer_bits), "{name}");
            assert_eq!(custom.instruction_order, preset.instruction_order, "{name}");
        }
    }

    #[test]
    fn features_widen_and_narrow_the_vectors() {
        let bits =
            |features| Target::custom("x86_64-unknown-linux-gnu", "x86-64-v3", features).unwrap().vector.bits;
        assert_eq!([bits(""), bits("+avx512f,+avx512vl"), bits("-avx2")], [256, 512, 128]);
        let riscv = Target::custom("riscv64-unknown-linux-gnu", "", "+m,+f,+d,+v,+zvl256b").unwrap();
        assert_eq!((riscv.vector.bits, riscv.abi.as_str()), (1024, "lp64d"));
        assert_eq!(Target::custom("riscv32-unknown-elf", "", "+m,+f").unwrap().abi, "ilp32f");
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let TargetError(triple) = Target::custom("mips-linux-gnu", "", "").unwrap_err();
        assert!(triple.contains("`mips-linux-gnu`") && triple.contains("riscv64"), "{triple}");
        let TargetError(feature) = Target::custom("x86_64-linux-gnu", "", "avx2").unwrap_err();
        assert!(feature.contains("`+avx2`"), "{feature}");
    }
}
