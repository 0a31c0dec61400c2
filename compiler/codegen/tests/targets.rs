//! Objects for every family of targets: well formed, self-contained, with the right ABI marks.

mod support;

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
