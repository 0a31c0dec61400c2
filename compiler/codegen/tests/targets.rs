//! Objects for every family of targets: well formed, self-contained, with the right ABI marks.

mod support;

use ir::DType::{BF16, Bool, F16, F32, I8, I32, I64, U8};
use loops::{Binary, Compare, Expr, Fold, Nest, Unary};
use object::{Object as _, ObjectSection, ObjectSymbol};
use support::*;
use targets::Target;

/// Triple, CPU, features, ABI, pointer bits; widest hardware float; vector bits; masked; e_flags under a mask.
struct Machine {
    target: Target,
    flags: (u32, u32),
}

fn machines() -> Vec<Machine> {
    let machine = |triple, cpu, features, abi, pointer, float: u32, vector: (u32, bool), flags| {
        let mut target = target(triple, cpu, features, abi, pointer);
        target.float.bits = float;
        target.float.fma = !cpu.contains("v2") && cpu != "cortex-m3";
        target.float.round = false;
        target.vector.bits = vector.0;
        target.vector.masked = vector.1;
        Machine { target, flags }
    };
    vec![
        machine("x86_64-unknown-linux-gnu", "x86-64-v2", "", "", 64, 64, (128, false), (0, 0)),
        machine("x86_64-unknown-linux-gnu", "x86-64-v4", "", "", 64, 64, (512, true), (0, 0)),
        machine("aarch64-unknown-linux-gnu", "cortex-a53", "", "", 64, 64, (128, false), (0, 0)),
        // Hard float: EF_ARM_ABI_FLOAT_HARD lies in the linked file; the object says it in .ARM.attributes.
        machine("thumbv7em-none-eabihf", "cortex-m4", "", "", 32, 32, (0, false), (0x0500_0000, 0xff00_0000)),
        machine(
            "thumbv8.1m.main-none-eabihf",
            "cortex-m55",
            "+mve.fp",
            "",
            32,
            32,
            (128, true),
            (0x0500_0000, 0xff00_0000),
        ),
        machine(
            "armv7-unknown-linux-gnueabihf",
            "cortex-a7",
            "+neon,+vfp4",
            "",
            32,
            64,
            (128, false),
            (0x0500_0000, 0xff00_0000),
        ),
        // EF_RISCV_FLOAT_ABI: 2 is single, 4 double.
        machine(
            "riscv32-unknown-none-elf",
            "generic-rv32",
            "+m,+a,+f,+c",
            "ilp32f",
            32,
            32,
            (0, false),
            (2, 6),
        ),
        machine(
            "riscv64-unknown-linux-gnu",
            "generic-rv64",
            "+m,+a,+f,+d,+c,+v",
            "lp64d",
            64,
            64,
            (128, true),
            (4, 6),
        ),
    ]
}

/// What every machine must do without a library: vectors and tails, guards, casts, integer division, folds.
fn kernels() -> Vec<Nest> {
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
    vec![vectors, guarded, integers, casts, folds, copy]
}

#[test]
fn every_family_gets_a_self_contained_object() {
    for Machine { target, flags } in machines() {
        for nest in kernels() {
            let mut module = module(&nest, &target);
            module.weights = vec![1; 100];
            let object =
                codegen::emit(&module).unwrap_or_else(|e| panic!("{} on {}: {e}", nest.name, target.name));
            assert!(object.helpers.is_empty(), "{} on {}: {:?}", nest.name, target.name, object.helpers);
            let file = object::File::parse(&*object.bytes).unwrap();
            let object::FileFlags::Elf { e_flags, .. } = file.flags() else { panic!("not ELF") };
            assert_eq!(e_flags.0 & flags.1, flags.0, "{}: {e_flags:?}", target.name);
            let writable = file.sections().filter(|s| {
                matches!(s.kind(), object::SectionKind::Data | object::SectionKind::UninitializedData)
            });
            assert_eq!(writable.map(|s| s.size()).sum::<u64>(), 0, "{} has writable data", target.name);
            let global: Vec<_> =
                file.symbols().filter(|s| s.is_global()).map(|s| s.name().unwrap().to_string()).collect();
            assert_eq!(global, ["t_run"]);
            assert!(file.symbols().any(|s| s.name() == Ok(&format!("t_{}", nest.name))));
        }
    }
}

#[test]
fn every_preset_compiles_and_names_what_it_borrows() {
    for target in Target::list().unwrap() {
        for nest in kernels() {
            let object = codegen::emit(&module(&nest, &target));
            if target.float.bits == 0 && nest.name == "guarded" {
                let error = object.unwrap_err().to_string();
                assert!(error.contains("Sqrt on f32"), "{error}");
                continue;
            }
            let object = object.unwrap_or_else(|e| panic!("{} on {}: {e}", nest.name, target.name));
            // Hardware floats leave nothing to borrow; neither Armv6-M nor plain integers need more than division.
            assert!(
                target.float.bits == 0 || object.helpers.is_empty(),
                "{}: {:?}",
                target.name,
                object.helpers
            );
        }
    }
}
