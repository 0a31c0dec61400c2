//! Writing nests briefly, and running them natively.
#![allow(dead_code, reason = "each test file uses its part")]

use codegen::{Call, Module, Place};
use ir::DType::{self, BF16, Bool, F16, F32, I8, I32, I64, U8};
use loops::{Access, Binary, Buffer, BufferId, Compare, Expr, Fold, LoopVar, Nest, Reg, Stmt, Type, Unary};
use targets::{FloatUnit, Target, Vector};

pub fn nest(name: &str, buffers: impl Into<Vec<Buffer>>, body: Vec<Stmt>) -> Nest {
    Nest { name: name.into(), buffers: buffers.into(), body }
}

pub fn read(name: &str, dtype: DType, len: usize) -> Buffer {
    Buffer { name: name.into(), dtype, len, access: Access::Read }
}

pub fn write(name: &str, dtype: DType, len: usize) -> Buffer {
    Buffer { name: name.into(), dtype, len, access: Access::Write }
}

pub fn for_(var: u32, to: i64, step: i64, body: Vec<Stmt>) -> Stmt {
    Stmt::For { var: LoopVar(var), from: Expr::int(0), to: Expr::int(to), step, parallel: false, body }
}

pub fn let_(reg: u32, dtype: DType, lanes: usize, value: Expr) -> Stmt {
    Stmt::Let { reg: Reg(reg), ty: Type { dtype, lanes }, value }
}

pub fn set(reg: u32, value: Expr) -> Stmt {
    Stmt::Set { reg: Reg(reg), value }
}

pub fn store(buffer: u32, index: Expr, value: Expr, valid: usize) -> Stmt {
    Stmt::Store { buffer: BufferId(buffer), index, value, valid }
}

pub fn var(var: u32) -> Expr {
    Expr::Loop(LoopVar(var))
}

pub fn reg(reg: u32) -> Expr {
    Expr::Reg(Reg(reg))
}

pub fn load(buffer: u32, index: Expr) -> Expr {
    vload(buffer, index, 1, 1)
}

pub fn vload(buffer: u32, index: Expr, lanes: usize, valid: usize) -> Expr {
    Expr::Load { buffer: BufferId(buffer), index: Box::new(index), lanes, valid }
}

pub fn broadcast(value: Expr, lanes: usize) -> Expr {
    Expr::Broadcast { value: Box::new(value), lanes }
}

/// Plain values as bytes.
pub trait Plain: Copy {
    fn write(self, out: &mut Vec<u8>);
    fn read(bytes: &[u8]) -> Self;
}

macro_rules! plain {
    ($($ty:ty),*) => {$(impl Plain for $ty {
        fn write(self, out: &mut Vec<u8>) {
            out.extend(self.to_le_bytes());
        }
        fn read(bytes: &[u8]) -> Self {
            Self::from_le_bytes(bytes.try_into().unwrap())
        }
    })*};
}
plain!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);

pub fn bytes<T: Plain>(values: &[T]) -> Vec<u8> {
    let mut out = Vec::new();
    values.iter().for_each(|v| v.write(&mut out));
    out
}

pub fn values<T: Plain>(bytes: &[u8]) -> Vec<T> {
    bytes.chunks_exact(size_of::<T>()).map(T::read).collect()
}

/// A module of one nest: its read buffers are the inputs, the others the outputs.
pub fn module<'t>(nest: &Nest, target: &'t Target) -> Module<'t> {
    let (mut inputs, mut outputs) = (0, 0);
    let arguments = nest.buffers.iter().map(|buffer| match buffer.access {
        Access::Read => {
            inputs += 1;
            Place::Input { index: inputs - 1, offset: 0 }
        }
        _ => {
            outputs += 1;
            Place::Output { index: outputs - 1, offset: 0 }
        }
    });
    let calls = vec![Call { kernel: 0, arguments: arguments.collect() }];
    Module {
        name: "t".into(),
        target,
        kernels: vec![nest.clone()],
        without_matrices: Default::default(),
        calls,
        inputs,
        outputs,
        weights: vec![],
    }
}

/// The single output of `nest` on `inputs`.
pub fn run<T: Plain>(nest: &Nest, target: &Target, inputs: &[Vec<u8>]) -> Vec<T> {
    let object = codegen::emit(&module(nest, target)).unwrap();
    let library = native::Library::load(&object.bytes).unwrap();
    let written = nest.buffers.iter().find(|b| b.access == Access::Write).unwrap();
    // A margin on both sides shows stray writes.
    let (margin, len) = (64, written.len * written.dtype.bytes());
    let mut output = vec![0xa5u8; len + 2 * margin];
    let pointers: Vec<*const u8> = inputs.iter().map(|i| i.as_ptr()).collect();
    // SAFETY: compiled for this machine; the buffers have the sizes that the nest declares.
    let code = unsafe { library.run("t", &pointers, &[output[margin..].as_mut_ptr()], std::ptr::null_mut()) };
    assert_eq!(code, Ok(0));
    assert!(output[..margin].iter().chain(&output[margin + len..]).all(|&b| b == 0xa5), "a stray write");
    values(&output[margin..margin + len])
}

/// The machine that the tests run on: AVX-512 where it is there, else AVX2.
pub fn host() -> Target {
    let wide =
        std::arch::is_x86_feature_detected!("avx512bw") && std::arch::is_x86_feature_detected!("avx512vl");
    let mut target =
        target("x86_64-unknown-linux-gnu", if wide { "x86-64-v4" } else { "x86-64-v3" }, "", "", 64);
    target.vector = Vector {
        bits: if wide { 512 } else { 256 },
        registers: if wide { 32 } else { 16 },
        masked: wide,
        broadcast_operand: wide,
        lane_operand: false,
        half: false,
    };
    target
}

pub fn target(triple: &str, cpu: &str, features: &str, abi: &str, pointer_bits: u32) -> Target {
    Target {
        name: format!("{triple}/{cpu}"),
        description: String::new(),
        triple: triple.into(),
        cpu: cpu.into(),
        features: features.into(),
        scheduling_model: String::new(),
        abi: abi.into(),
        pointer_bits,
        float: FloatUnit { bits: 64, fma: true, round: true, registers: 16 },
        vector: Vector {
            bits: 128,
            registers: 16,
            masked: false,
            broadcast_operand: false,
            lane_operand: false,
            half: false,
        },
        caches: vec![],
        costs: targets::Costs::default(),
        instruction_order: targets::InstructionOrder::default(),
        instructions: vec![],
        runner: None,
        threads: 1,
        winograd: true,
    }
}

/// What every machine must do without a library: vectors and tails, guards, casts, integer division, folds.
pub fn kernels() -> Vec<Nest> {
    let tail = |at: Expr, valid: usize| {
        let sum = Expr::MulAdd(
            Box::new(vload(0, at.clone(), 4, valid)),
            Box::new(broadcast(load(0, Expr::int(0)), 4)),
            Box::new(vload(1, at.clone(), 4, valid)),
        );
        store(2, at, sum.max(broadcast(Expr::f32(0.0), 4)), valid)
    };
    let vectors = nest(
        "vectors",
        [read("x", F32, 11), read("b", F32, 11), write("y", F32, 11)],
        vec![for_(0, 8, 4, vec![tail(var(0), 4)]), tail(Expr::int(8), 3)],
    );
    let padded =
        Expr::select((var(0) - Expr::int(1)).within(9), load(0, var(0) - Expr::int(1)), Expr::f32(0.0));
    let guarded = nest(
        "guarded",
        [read("x", F32, 9), write("y", F32, 11)],
        vec![for_(
            0,
            11,
            1,
            vec![store(1, var(0), Expr::unary(Unary::Sqrt, Expr::unary(Unary::Abs, padded)), 1)],
        )],
    );
    let quotient = Expr::binary(Binary::Div, load(0, var(0)), load(1, var(0)));
    let integers = nest(
        "integers",
        [read("a", I32, 5), read("b", I32, 5), write("y", I32, 5)],
        vec![for_(
            0,
            5,
            1,
            vec![store(2, var(0), Expr::binary(Binary::ShiftRight, quotient, load(1, var(0))), 1)],
        )],
    );
    let casts = nest(
        "casts",
        [
            read("h", F16, 8),
            read("b", BF16, 8),
            write("q", I8, 8),
            write("m", Bool, 8),
            write("n", I64, 8),
            write("u", U8, 8),
            write("h2", F16, 8),
        ],
        vec![for_(0, 8, 1, {
            let sum = load(0, var(0)).cast(F32) + load(1, var(0)).cast(F32);
            vec![
                let_(0, F32, 1, sum),
                store(2, var(0), reg(0).cast(I8), 1),
                store(3, var(0), Expr::compare(Compare::Gt, reg(0), Expr::f32(1.0)), 1),
                store(4, var(0), reg(0).cast(I32).cast(I64) + var(0), 1),
                store(5, var(0), reg(0).cast(U8), 1),
                store(6, var(0), reg(0).cast(F16), 1),
            ]
        })],
    );
    let fold = Expr::Horizontal { fold: Fold::Max, value: Box::new(vload(0, Expr::int(0), 8, 8)) };
    let folds = nest("folds", [read("x", F32, 8), write("y", F32, 1)], vec![store(1, Expr::int(0), fold, 1)]);
    // A copy and a fill: loops that LLVM likes to turn into library calls.
    let copy = nest(
        "copy",
        [read("x", U8, 4096), write("y", U8, 4096), write("z", U8, 4096)],
        vec![for_(
            0,
            4096,
            1,
            vec![
                store(1, var(0), load(0, var(0)), 1),
                store(2, var(0), Expr::Const(ir::Scalar::from_i64(U8, 0)), 1),
            ],
        )],
    );
    // Indices that are data, data that are indices, and both in one register.
    let wrapped =
        Expr::select(Expr::compare(Compare::Lt, reg(0), Expr::int(0)), reg(0) + Expr::int(6), reg(0));
    let picked = Expr::binary(Binary::Mod, var(0) * Expr::int(5) + reg(1), Expr::int(6));
    let gather = nest(
        "gather",
        [
            read("x", F32, 6),
            read("i", I64, 6),
            read("j", I32, 6),
            write("y", F32, 6),
            write("z", F32, 6),
            write("s", I64, 6),
        ],
        vec![
            let_(1, I64, 1, Expr::int(1)),
            let_(2, I64, 1, Expr::int(0)),
            for_(
                0,
                6,
                1,
                vec![
                    let_(0, I64, 1, load(1, var(0))),
                    store(3, var(0), load(0, wrapped), 1),
                    set(1, reg(1) + Expr::binary(Binary::Div, var(0), Expr::int(2))),
                    store(4, var(0), load(0, picked) + load(0, load(2, var(0)).cast(I64)), 1),
                    set(2, reg(2) + load(1, var(0)) * Expr::int(3_000_000_000) + var(0)),
                    store(5, var(0), reg(2), 1),
                ],
            ),
        ],
    );
    vec![vectors, guarded, integers, casts, folds, copy, gather]
}
