//! Writing nests briefly, and running them natively.
#![allow(dead_code, reason = "each test file uses its part")]

use codegen::{Call, Module, Place};
use ir::DType;
use loops::{Access, Buffer, BufferId, Expr, LoopVar, Nest, Reg, Stmt, Type};
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
    Module { name: "t".into(), target, kernels: vec![nest.clone()], calls, inputs, outputs, weights: vec![] }
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
        scalar_operand: false,
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
        abi: abi.into(),
        pointer_bits,
        float: FloatUnit { bits: 64, fma: true, round: true, registers: 16 },
        vector: Vector {
            bits: 128,
            registers: 16,
            masked: false,
            broadcast_operand: false,
            scalar_operand: false,
        },
        caches: vec![],
        instructions: vec![],
        runner: None,
    }
}
