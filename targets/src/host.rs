//! The machine that the compiler runs on.

use crate::{Cache, Costs, FloatUnit, InstructionOrder, Runner, Target, TargetError, Vector};

impl Target {
    /// This machine: its vector unit, caches and features are asked of the CPU and the operating system.
    pub fn host() -> Result<Target, TargetError> {
        describe().map(|target| Target {
            name: "host".into(),
            caches: caches(),
            instruction_order: InstructionOrder::usual(&target.triple, &target.vector),
            runner: Some(Runner::Native),
            ..target
        })
    }
}

/// LLVM's names of the features that the standard library finds on this CPU; absent ones are named with a minus, so
/// that the CPU model's defaults do not bring them back.
macro_rules! features {
    ($detect:ident: $($std:tt => $llvm:literal),* $(,)?) => {
        [$(($llvm, std::arch::$detect!($std))),*]
    };
}

#[cfg(target_arch = "x86_64")]
fn describe() -> Result<Target, TargetError> {
    let features = features!(is_x86_feature_detected:
        "sse3" => "sse3", "ssse3" => "ssse3", "sse4.1" => "sse4.1", "sse4.2" => "sse4.2", "popcnt" => "popcnt",
        "avx" => "avx", "avx2" => "avx2", "fma" => "fma", "f16c" => "f16c", "bmi1" => "bmi", "bmi2" => "bmi2",
        "lzcnt" => "lzcnt", "movbe" => "movbe", "avxvnni" => "avxvnni",
        "avx512f" => "avx512f", "avx512bw" => "avx512bw", "avx512cd" => "avx512cd", "avx512dq" => "avx512dq",
        "avx512vl" => "avx512vl", "avx512ifma" => "avx512ifma", "avx512vbmi" => "avx512vbmi",
        "avx512vbmi2" => "avx512vbmi2", "avx512vnni" => "avx512vnni", "avx512bitalg" => "avx512bitalg",
        "avx512vpopcntdq" => "avx512vpopcntdq", "avx512bf16" => "avx512bf16", "avx512fp16" => "avx512fp16",
    );
    let has = |names: &[&str]| names.iter().all(|name| features.contains(&(*name, true)));
    let v3 = has(&["avx2", "fma", "f16c", "bmi", "bmi2", "lzcnt", "movbe"]);
    let v4 = v3 && has(&["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"]);
    let cpu = match () {
        () if v4 && has(&["avx512fp16", "avx512bf16", "avx512vnni"]) && !amd() => "sapphirerapids",
        () if v4 => zen(&[(25, "znver4"), (26, "znver5")]).unwrap_or("x86-64-v4"),
        () if v3 => zen(&[(23, "znver2"), (25, "znver3"), (26, "znver5")]).unwrap_or("x86-64-v3"),
        () if has(&["sse4.2", "popcnt"]) => "x86-64-v2",
        () => "x86-64",
    };
    // The kernel lists what it would give a process that asks for it.
    let listed = cpuinfo("flags").unwrap_or_default();
    let matrices = [("amx_tile", "amx-tile"), ("amx_int8", "amx-int8"), ("amx_bf16", "amx-bf16")]
        .map(|(flag, llvm)| (llvm, listed.split_whitespace().any(|word| word == flag)));
    let tuning = [("prefer-256-bit", false)];
    let (bits, registers) = match () {
        () if v4 => (512, 32),
        () if has(&["avx2"]) => (256, 16),
        () => (128, 16),
    };
    let mut target = Target {
        features: feature_list(features.into_iter().chain(matrices).chain(tuning)),
        instructions: Vec::new(),
        float: FloatUnit { bits: 64, fma: has(&["fma"]), round: has(&["sse4.1"]), registers },
        vector: Vector {
            bits,
            registers,
            masked: v4,
            broadcast_operand: v4,
            lane_operand: false,
            half: has(&["f16c"]),
        },
        ..blank("x86_64-unknown-linux-gnu", cpu)
    };
    if v4 && has(&["avx512vnni"]) {
        target.instructions.extend(["vpdpbusd".into(), "vpdpbusd256".into()]);
    }
    if v4 && has(&["avx512bf16"]) {
        target.instructions.extend(["vdpbf16ps".into(), "vcvtneps2bf16".into()]);
    }
    if v4 && has(&["avx512bf16"]) && matrices.iter().all(|(_, there)| *there) {
        target.instructions.push("tdpbf16ps".into());
    }
    // Zen 4 does 512 bits in two halves.
    let rate = if cpu == "znver4" && bits == 512 { 1.0 } else { 2.0 };
    target.costs = Costs {
        issue: 4.0,
        vector: rate,
        loads: rate,
        memory: 4.0,
        overlap: true,
        start: 200.0,
        ..target.costs
    };
    target.description = format!("this machine: x86-64, {bits}-bit vectors");
    Ok(target)
}

#[cfg(target_arch = "x86_64")]
fn amd() -> bool {
    cpuinfo("vendor_id").as_deref() == Some("AuthenticAMD")
}

/// LLVM's scheduling model of this CPU, if it is one of these families of AMD's.
#[cfg(target_arch = "x86_64")]
fn zen(families: &[(u32, &'static str)]) -> Option<&'static str> {
    let family: u32 = cpuinfo("cpu family").filter(|_| amd())?.parse().ok()?;
    families.iter().find(|(known, _)| *known == family).map(|(_, cpu)| *cpu)
}

/// The first CPU's `key` as Linux tells it.
#[cfg(target_arch = "x86_64")]
fn cpuinfo(key: &str) -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(found, _)| found.trim() == key).map(|(_, value)| value.trim().to_string())
}

#[cfg(target_arch = "aarch64")]
fn describe() -> Result<Target, TargetError> {
    let features = features!(is_aarch64_feature_detected:
        "neon" => "neon", "lse" => "lse", "rdm" => "rdm", "crc" => "crc", "fp16" => "fullfp16",
        "dotprod" => "dotprod", "i8mm" => "i8mm", "bf16" => "bf16",
    );
    let mut target = Target {
        features: feature_list(features),
        float: FloatUnit { bits: 64, fma: true, round: true, registers: 32 },
        vector: Vector {
            bits: 128,
            registers: 32,
            masked: false,
            broadcast_operand: false,
            lane_operand: true,
            half: true,
        },
        ..blank("aarch64-unknown-linux-gnu", "generic")
    };
    if features.contains(&("dotprod", true)) {
        target.instructions.push("sdot".into());
    }
    target.costs = Costs { issue: 3.0, vector: 2.0, loads: 2.0, memory: 6.0, overlap: true, ..target.costs };
    target.description = "this machine: aarch64, 128-bit vectors".into();
    Ok(target)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn describe() -> Result<Target, TargetError> {
    Err(TargetError("`host` is supported on x86-64 and aarch64; name another target".into()))
}

fn feature_list(features: impl IntoIterator<Item = (&'static str, bool)>) -> String {
    let signed: Vec<String> =
        features.into_iter().map(|(name, on)| format!("{}{name}", if on { '+' } else { '-' })).collect();
    signed.join(",")
}

/// A 64-bit Linux target without vectors, to be completed.
fn blank(triple: &str, cpu: &str) -> Target {
    Target {
        name: String::new(),
        description: String::new(),
        triple: triple.into(),
        cpu: cpu.into(),
        features: String::new(),
        scheduling_model: String::new(),
        abi: String::new(),
        pointer_bits: 64,
        float: FloatUnit { bits: 0, fma: false, round: false, registers: 0 },
        vector: Vector::NONE,
        caches: Vec::new(),
        costs: Costs::default(),
        instruction_order: InstructionOrder::default(),
        instructions: Vec::new(),
        runner: None,
        threads: 1,
        winograd: true,
    }
}

/// Data caches of the first CPU, nearest first, as Linux shows them; empty where it does not.
fn caches() -> Vec<Cache> {
    let mut caches: Vec<(usize, Cache)> = (0..8)
        .filter_map(|index| {
            let read = |file: &str| {
                std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{file}"))
                    .ok()
            };
            let data = read("type")?.trim() != "Instruction";
            let level: usize = read("level")?.trim().parse().ok()?;
            let size = read("size")?;
            let kib: usize = size.trim().strip_suffix('K')?.parse().ok()?;
            data.then_some((level, Cache { bytes: kib * 1024, bytes_per_cycle: bytes_per_cycle(level) }))
        })
        .collect();
    caches.sort_by_key(|(level, _)| *level);
    caches.into_iter().map(|(_, cache)| cache).collect()
}

/// What one core gets of a cache: of the nearest two nearly what it can load, of the shared one what its distance lets
/// through (28 GB/s at 3.7 GHz from the L3 of an Emerald Rapids, with and without huge pages).
fn bytes_per_cycle(level: usize) -> f64 {
    match level {
        0 | 1 => 64.0,
        2 => 32.0,
        _ => 8.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn the_host_is_described_from_its_cpu() {
        let host = Target::host().unwrap();
        assert_eq!(host.name, "host");
        assert_eq!(host.float.bits, 64);
        assert!(host.instructions.iter().all(|name| crate::instructions::find(name).is_some()));
        assert!(host.vector.bits >= 128 && host.vector.bits.is_power_of_two());
        assert!(host.caches.is_sorted_by_key(|cache| cache.bytes), "{:?}", host.caches);
        // The vector width is one that the kernel also lists among the CPU's flags.
        if let Ok(cpu) = std::fs::read_to_string("/proc/cpuinfo") {
            let flag = |name: &str| cpu.split_whitespace().any(|word| word == name);
            let widest = if flag("avx512bw") {
                512
            } else if flag("avx2") {
                256
            } else {
                128
            };
            assert_eq!(host.vector.bits, widest);
        }
    }
}
