//! What the compiler knows about machines: targets are TOML files beside this crate (or the user's own), read into
//! [`Target`]; instructions are defined once in Rust with their meaning.
//!
//! Data only: adding a target edits no other room.

mod custom;
mod description;
mod host;
pub mod instructions;
mod meaning;
mod presets;
mod records;

pub use description::TargetError;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// A machine to compile for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// What `--target` takes.
    pub name: String,
    /// One line for `onnxc targets`.
    pub description: String,
    /// LLVM's triple, CPU and features (`+a,+b`).
    pub triple: String,
    pub cpu: String,
    #[serde(default)]
    pub features: String,
    /// The CPU, by LLVM's name, whose scheduling model tells how many cycles this one takes; empty where LLVM has none
    /// that is near.
    #[serde(default)]
    pub scheduling_model: String,
    /// LLVM's ABI name where the triple alone does not say it (`ilp32f`, `lp64d`).
    #[serde(default)]
    pub abi: String,
    /// Bits of a pointer: 32 or 64.
    pub pointer_bits: u32,
    pub float: FloatUnit,
    pub vector: Vector,
    #[serde(default)]
    pub caches: Vec<Cache>,
    #[serde(default)]
    pub costs: Costs,
    #[serde(default)]
    pub instruction_order: InstructionOrder,
    /// Names of instructions from the instruction table that this machine has.
    #[serde(default)]
    pub instructions: Vec<String>,
    /// How a program for it is run here; absent: it cannot be.
    #[serde(default)]
    pub runner: Option<Runner>,
    /// Threads that a library may use: what its user asks for, not a fact of the machine.
    #[serde(skip, default = "one")]
    pub threads: usize,
    /// Convolutions may go through Winograd's tiles, which round otherwise: as the user wishes, too.
    #[serde(skip, default = "yes")]
    pub winograd: bool,
}

fn one() -> usize {
    1
}

fn yes() -> bool {
    true
}

/// In which order LLVM puts a block's instructions before it gives them registers. What pays is measured: an order that
/// has more values live at once than there are registers costs more than any latency that it hides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstructionOrder {
    /// As the kernel's loops have them: each operand right before its use.
    AsWritten,
    /// From a block's first instruction on, whichever is ready.
    TopDown,
    /// From a block's last instruction back, which keeps few values live.
    #[default]
    BottomUp,
}

/// What the scalar float hardware can do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FloatUnit {
    /// Widest float type in hardware, in bits: 0 (none), 32 or 64.
    pub bits: u32,
    /// A fused multiply-add instruction.
    pub fma: bool,
    /// Instructions that round a float to an integral float.
    pub round: bool,
    /// Scalar float registers (those that vectors share, too).
    pub registers: usize,
}

/// The vector unit; `bits = 0` where there is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    /// Bits of the widest register that pays.
    pub bits: u32,
    pub registers: usize,
    /// Loads and stores can mask lanes at no cost.
    #[serde(default)]
    pub masked: bool,
    /// Multiply-add takes one operand as a broadcast from memory at no cost (AVX-512).
    #[serde(default)]
    pub broadcast_operand: bool,
    /// Multiply-add takes one operand as a lane of a vector at no cost (AArch64): what several steps of a reduction read
    /// side by side comes in one load.
    #[serde(default)]
    pub lane_operand: bool,
    /// Whole vectors of half floats are widened and rounded by instructions (F16C, AArch64).
    #[serde(default)]
    pub half: bool,
}

impl Vector {
    /// Of a machine that has none.
    pub const NONE: Vector = Vector {
        bits: 0,
        registers: 0,
        masked: false,
        broadcast_operand: false,
        lane_operand: false,
        half: false,
    };
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    pub bytes: usize,
    /// What it delivers.
    #[serde(default = "cache_rate")]
    pub bytes_per_cycle: f64,
}

fn cache_rate() -> f64 {
    16.0
}

/// What things take, in cycles: for comparing one form of a computation with another, not for telling the time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Costs {
    /// Scalar instructions that one cycle begins.
    pub issue: f64,
    /// A scalar float multiply-add; a machine without an FPU calls a function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub float: Option<f64>,
    /// Multiply-adds of the widest vector that one cycle begins.
    pub vector: f64,
    /// Loads or stores of the widest vector that one cycle begins.
    pub loads: f64,
    /// Cycles until the next multiply-add can use a vector one's result.
    pub latency: f64,
    /// More cycles of a load from read-only memory (the wait states of a flash without a cache).
    pub constant_wait: f64,
    /// Bytes per cycle from behind the last cache.
    pub memory: f64,
    /// Waiting for memory goes on beside computing: out of order, or with hardware that fetches ahead.
    pub overlap: bool,
    /// Of starting a kernel: the call, the addresses, first misses.
    pub start: f64,
}

impl Default for Costs {
    fn default() -> Costs {
        Costs {
            issue: 1.0,
            float: None,
            vector: 1.0,
            loads: 1.0,
            latency: 4.0,
            constant_wait: 0.0,
            memory: 4.0,
            overlap: false,
            start: 100.0,
        }
    }
}

impl InstructionOrder {
    /// What was measured to be best on machines of this kind: many registers and a machine that looks ahead
    /// (AVX-512), or a machine of whose pipeline LLVM knows nothing (RISC-V's vectors).
    fn usual(triple: &str, vector: &Vector) -> InstructionOrder {
        match () {
            () if triple.starts_with("x86_64") && vector.registers >= 32 => InstructionOrder::TopDown,
            () if triple.starts_with("riscv") && vector.bits > 0 => InstructionOrder::AsWritten,
            () => InstructionOrder::BottomUp,
        }
    }
}

impl Target {
    /// Cycles of a scalar float multiply-add.
    pub fn float_cycles(&self) -> f64 {
        // About what the compiler's runtime takes for a multiplication and an addition on a Cortex-M.
        const CALLED: f64 = 80.0;
        self.costs.float.unwrap_or(if self.float.bits == 0 { CALLED } else { 1.0 })
    }

    /// The machine for what runs within one of several threads.
    pub fn on_one_thread(&self) -> Cow<'_, Target> {
        match self.threads {
            1 => Cow::Borrowed(self),
            _ => Cow::Owned(Target { threads: 1, ..self.clone() }),
        }
    }
}

/// How to run a program for the target on the developer's machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "snake_case")]
pub enum Runner {
    /// It is (or may be) this machine.
    Native,
    /// `qemu-user`: a Linux program for another CPU. `emulator` is the program (`qemu-aarch64`), `cpu` its `-cpu`;
    /// `compiler` is a GCC that links for the target when given `flags`.
    QemuUser {
        emulator: String,
        cpu: String,
        compiler: String,
        #[serde(default)]
        flags: Vec<String>,
    },
    /// `qemu-system`: a bare-metal image on `machine` with `cpu` (the board's own if empty). `memory` names the
    /// start-up's linker script (`runtime/baremetal/`); `compiler` and `flags` as above.
    QemuSystem {
        emulator: String,
        machine: String,
        #[serde(default)]
        cpu: String,
        memory: String,
        compiler: String,
        #[serde(default)]
        flags: Vec<String>,
    },
}
