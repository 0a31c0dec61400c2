//! Hand-written libraries on every machine that a preset's runner names.

use std::path::{Path, PathBuf};
use std::process::Command;

use ir::{DType, Tensor, TensorType};
use machines::{Library, Linker, MachineError, Measure, check_link, measure, run, undefined_symbols};
use targets::{Runner, Target};

/// Presets that can be run on any developer's machine; the x86-64 ones need their CPU.
fn emulated() -> impl Iterator<Item = Target> {
    Target::list().unwrap().into_iter().filter(|target| target.name == "host" || !native(target))
}

fn native(target: &Target) -> bool {
    matches!(target.runner, Some(Runner::Native) | None)
}

/// `tests/libraries/<name>.c` as a static library for `target`, in a folder of its own.
fn build(target: &Target, name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/libraries/{name}.c"));
    let (compiler, flags): (&str, &[String]) = match target.runner.as_ref().unwrap() {
        Runner::Native => ("cc", &[]),
        Runner::QemuUser { compiler, flags, .. } | Runner::QemuSystem { compiler, flags, .. } => {
            (compiler, flags)
        }
    };
    let object = folder.path().join("library.o");
    let archive = folder.path().join(format!("lib{name}.a"));
    let mut compile = Command::new(compiler);
    compile.args(flags).args(["-ffreestanding", "-fno-tree-loop-distribute-patterns"]);
    assert!(compile.args(["-O1", "-c"]).arg(source).arg("-o").arg(&object).status().unwrap().success());
    assert!(Command::new("ar").arg("rc").arg(&archive).arg(&object).status().unwrap().success());
    (folder, archive)
}

/// `tests/libraries/vector.ll` as a static library, made by LLVM from nothing but the target's description.
fn build_with_llvm(target: &Target) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let mut text = include_str!("libraries/vector.ll").to_string();
    if !target.abi.is_empty() {
        let abi = &target.abi;
        text += &format!("!llvm.module.flags = !{{!0}}\n!0 = !{{i32 1, !\"target-abi\", !\"{abi}\"}}\n");
    }
    let source = folder.path().join("vector.ll");
    let object = folder.path().join("vector.o");
    let archive = folder.path().join("libvector.a");
    std::fs::write(&source, text).unwrap();
    let prefix = std::env::var("LLVM_SYS_221_PREFIX").unwrap_or("/usr/lib/llvm-22".into());
    let mut llc = Command::new(format!("{prefix}/bin/llc"));
    llc.args(["-O2", "-filetype=obj", "-relocation-model=pic"]).arg(&source).arg("-o").arg(&object);
    llc.arg(format!("-mtriple={}", target.triple)).arg(format!("-mcpu={}", target.cpu));
    llc.arg(format!("-mattr={}", target.features));
    if target.triple.starts_with("riscv") {
        llc.arg("-code-model=medium");
    }
    let output = llc.output().unwrap();
    // LLVM only warns of a CPU or feature that it does not know.
    assert!(output.status.success() && output.stderr.is_empty(), "{}: {output:?}", target.name);
    assert!(Command::new("ar").arg("rc").arg(&archive).arg(&object).status().unwrap().success());
    (folder, archive)
}

fn named(tensors: &[(&str, DType, usize)]) -> Vec<(String, TensorType)> {
    tensors.iter().map(|(name, dtype, count)| (name.to_string(), TensorType::new(*dtype, [*count]))).collect()
}

const X: [f32; 10] = [0.0, 1.5, -2.25, 3.0, -4.0, 5.5, 1e-3, -1e6, 8.0, 9.0];

#[test]
fn every_machine_gives_the_right_numbers_and_figures() {
    for target in emulated() {
        let (_folder, archive) = build(&target, "twice");
        let inputs = named(&[("x", DType::F32, 10)]);
        let outputs = named(&[("y", DType::F32, 10), ("sign", DType::I8, 10)]);
        let library = Library {
            archive: &archive,
            name: "twice",
            inputs: &inputs,
            outputs: &outputs,
            arena_bytes: 48,
            arena_align: 64,
        };
        let ran = run(&target, &library, &[Tensor::from_slice([10], &X)])
            .unwrap_or_else(|error| panic!("{}: {error}", target.name));
        let twice = X.map(|x| 2.0 * x);
        let sign = X.map(|x| i8::from(x < 0.0));
        assert_eq!(
            ran.outputs,
            [Tensor::from_slice([10], &twice), Tensor::from_slice([10], &sign)],
            "{}",
            target.name
        );
        assert_eq!(ran.arena_used, 40, "{}", target.name);
        assert!((200..400).contains(&ran.stack_used), "{}: {} bytes of stack", target.name, ran.stack_used);
        assert_eq!(ran.instructions.is_some(), !native(&target), "{}", target.name);
        let again = run(&target, &library, &[Tensor::from_slice([10], &X)]).unwrap();
        assert_eq!(ran, again, "{} is not deterministic", target.name);
        eprintln!(
            "{:16} {:?} instructions, {} bytes of stack",
            target.name, ran.instructions, ran.stack_used
        );
    }
}

/// A library whose function takes and gives nothing.
fn without_data<'a>(archive: &'a Path, name: &'a str) -> Library<'a> {
    Library { archive, name, inputs: &[], outputs: &[], arena_bytes: 0, arena_align: 1 }
}

#[test]
fn instructions_are_counted_exactly() {
    for target in emulated().filter(|target| !native(target)) {
        let (_folder, archive) = build(&target, "counted");
        let library = without_data(&archive, "counted");
        let ran = run(&target, &library, &[]).unwrap_or_else(|error| panic!("{}: {error}", target.name));
        assert_eq!(ran.instructions, Some(202), "{}", target.name);
        assert_eq!((ran.arena_used, ran.stack_used), (0, 0), "{}", target.name);
    }
}

/// What each model says of a loop whose two instructions depend on each other, once around.
const ROUNDS: [(&str, f64); 5] =
    [("cortex-a53", 3.0), ("cortex-a72", 1.0), ("cortex-m4f", 2.0), ("cortex-m7", 3.0), ("rv64gcv", 1.0)];

#[test]
fn a_loop_takes_as_many_cycles_as_its_model_says() {
    for target in emulated().filter(|target| !native(target)) {
        let (_folder, archive) = build(&target, "counted");
        let library = without_data(&archive, "counted");
        let ran = measure(&target, &library, &[], &Measure { cycles: true, ..Measure::default() });
        if target.scheduling_model.is_empty() {
            let message = ran.unwrap_err().to_string();
            assert!(
                message.contains(&target.name) && message.contains("cortex-m4f, cortex-m55"),
                "what lacks a model is named, and what has one: {message}"
            );
            continue;
        }
        let ran = ran.unwrap_or_else(|error| panic!("{}: {error}", target.name));
        assert_eq!(ran.instructions, Some(202), "{} counts as without cycles", target.name);
        let cycles = ran.cycles.unwrap();
        assert_eq!((cycles.instructions, cycles.unmodelled), (202, 0), "{}", target.name);
        eprintln!("{:16} {:.2} cycles for 202 instructions", target.name, cycles.total);
        if let Some((_, round)) = ROUNDS.iter().find(|(name, _)| *name == target.name) {
            // Filling the pipeline is spread over the rounds; what leads to the loop and leaves it is a few.
            let around = 100.0 * round..=103.0 * round + 5.0;
            assert!(around.contains(&cycles.total), "{}: {cycles:?}", target.name);
        }
    }
}

#[test]
fn a_model_that_llvm_does_not_have_is_named() {
    let mut target = Target::preset("cortex-m4f").unwrap();
    let (_folder, archive) = build(&target, "counted");
    let library = without_data(&archive, "counted");
    // One that LLVM knows but has only itineraries of, and one that it does not know.
    for model in ["cortex-a7", "cortex-m99"] {
        target.scheduling_model = model.to_owned();
        let cycles = Measure { cycles: true, ..Measure::default() };
        let message = measure(&target, &library, &[], &cycles).unwrap_err().to_string();
        assert!(message.contains(&format!("`{model}`")), "{message}");
        eprintln!("{message}");
    }
}

#[test]
fn instructions_are_counted_kernel_by_kernel() {
    for target in emulated() {
        let (_folder, archive) = build(&target, "kernels");
        let library = without_data(&archive, "kernels");
        let cycles = !native(&target) && !target.scheduling_model.is_empty();
        let wanted = Measure { kernels: &["kernels_b", "kernels_a"], cycles };
        let ran = measure(&target, &library, &[], &wanted)
            .unwrap_or_else(|error| panic!("{}: {error}", target.name));
        if native(&target) {
            assert_eq!((ran.instructions, ran.kernels), (None, vec![]), "{}", target.name);
            continue;
        }
        // Beside its own instructions each has the few that go to the next call.
        let around = |count: u64, own: u64| (own..own + 20).contains(&count);
        let counts = &ran.kernels;
        assert_eq!(counts.len(), 3, "{}: {counts:?}", target.name);
        let expected = [201, 401, 201];
        assert!(
            counts.iter().zip(expected).all(|(&count, own)| around(count, own)),
            "{}: {counts:?}",
            target.name
        );
        let all: u64 = counts.iter().sum();
        assert!(ran.instructions.is_some_and(|total| around(total, all)), "{}: {counts:?}", target.name);
        if let Some(cycles) = &ran.cycles {
            assert_eq!(Some(cycles.instructions), ran.instructions, "{}", target.name);
            assert_eq!(cycles.kernels.len(), 3, "{}: {cycles:?}", target.name);
            // A loop of two instructions, a hundred, two hundred and a hundred times.
            let share = cycles.kernels[1] / cycles.kernels[0];
            assert!((1.5..2.5).contains(&share), "{}: {cycles:?}", target.name);
            assert!(cycles.kernels.iter().sum::<f64>() <= cycles.total, "{}: {cycles:?}", target.name);
        }
        let missing = measure(&target, &library, &[], &Measure { kernels: &["kernels_c"], cycles });
        assert!(matches!(missing, Err(MachineError::Files(_))), "{missing:?}");
    }
}

#[test]
fn a_library_links_with_both_linkers_without_a_warning() {
    for target in emulated() {
        let (_folder, archive) = build(&target, "counted");
        assert_eq!(undefined_symbols(&archive).unwrap(), [""; 0], "{}", target.name);
        let library = Library {
            archive: &archive,
            name: "counted",
            inputs: &[],
            outputs: &[],
            arena_bytes: 16,
            arena_align: 16,
        };
        for linker in [Linker::Gnu, Linker::Lld] {
            check_link(&target, &library, linker)
                .unwrap_or_else(|error| panic!("{} with {linker:?}: {error}", target.name));
        }
    }
}

#[test]
fn what_llvm_makes_of_every_preset_runs_and_links() {
    let x: Vec<f32> = (0..16).map(|i| i as f32 * 0.75 - 3.0).collect();
    let y: Vec<f32> = x.iter().map(|x| x + x).collect();
    for target in Target::list().unwrap() {
        let (_folder, archive) = build_with_llvm(&target);
        let inputs = named(&[("x", DType::F32, 16)]);
        let outputs = named(&[("y", DType::F32, 16)]);
        let library = Library {
            archive: &archive,
            name: "vector",
            inputs: &inputs,
            outputs: &outputs,
            arena_bytes: 0,
            arena_align: 64,
        };
        for linker in [Linker::Gnu, Linker::Lld] {
            check_link(&target, &library, linker)
                .unwrap_or_else(|error| panic!("{} with {linker:?}: {error}", target.name));
        }
        // Without an FPU the compiler's own float routines are called, and nothing else.
        let undefined = undefined_symbols(&archive).unwrap();
        let float_routines = ["__aeabi_fadd", "__addsf3"];
        assert!(
            undefined.iter().all(|name| target.float.bits == 0 && float_routines.contains(&name.as_str())),
            "{}: {undefined:?}",
            target.name
        );
        if target.name == "host" || !native(&target) {
            let ran = run(&target, &library, &[Tensor::from_slice([16], &x)])
                .unwrap_or_else(|error| panic!("{}: {error}", target.name));
            assert_eq!(ran.outputs, [Tensor::from_slice([16], &y)], "{}", target.name);
            eprintln!("{:16} {:?} instructions for 16 floats", target.name, ran.instructions);
        }
    }
}

#[test]
fn every_board_has_room_for_a_real_model() {
    const FLOATS: usize = 512 * 1024;
    let x: Vec<f32> = (0..FLOATS).map(|i| i as f32).collect();
    let mut y = x.clone();
    (y[0], y[FLOATS - 1]) = (x[0] + 1.0, x[FLOATS - 1] + 2.0);
    for target in emulated().filter(|target| matches!(target.runner, Some(Runner::QemuSystem { .. }))) {
        let (_folder, archive) = build(&target, "large");
        let inputs = named(&[("x", DType::F32, FLOATS)]);
        let outputs = named(&[("y", DType::F32, FLOATS)]);
        let library = Library {
            archive: &archive,
            name: "large",
            inputs: &inputs,
            outputs: &outputs,
            arena_bytes: 8 * FLOATS,
            arena_align: 64,
        };
        let ran = run(&target, &library, &[Tensor::from_slice([FLOATS], &x)])
            .unwrap_or_else(|error| panic!("{}: {error}", target.name));
        assert!(ran.outputs == [Tensor::from_slice([FLOATS], &y)], "{}", target.name);
        assert_eq!(ran.arena_used, 8 * FLOATS, "{}", target.name);
    }
}

#[test]
fn broken_libraries_are_caught() {
    for name in ["host", "cortex-m3", "cortex-a53", "rv32imc"] {
        let target = Target::preset(name).unwrap();
        let (_folder, archive) = build(&target, "broken");
        let tensors = named(&[("x", DType::I32, 1)]);
        let library = Library {
            archive: &archive,
            name: "broken",
            inputs: &tensors,
            outputs: &tensors,
            arena_bytes: 16,
            arena_align: 16,
        };
        let with = |x: i32| run(&target, &library, &[Tensor::from_slice([1], &[x])]);
        assert_eq!(with(0).unwrap().outputs, [Tensor::from_slice([1], &[0i32])]);
        for (x, expected) in [(1, "behind the end"), (2, "its inputs"), (3, "unwritten"), (4, "unwritten")] {
            match with(x) {
                Err(MachineError::Contract(problem)) => {
                    assert!(problem.contains(expected), "{name}: {problem}")
                }
                other => panic!("{name}, {x}: {other:?}"),
            }
        }
        assert_eq!(with(5).unwrap_err(), MachineError::Status(7), "{name}");
        for x in [6, 7] {
            let stopped = with(x).unwrap_err();
            assert!(matches!(stopped, MachineError::Stopped { .. }), "{name}, {x}: {stopped}");
            eprintln!("{name}: {stopped}");
        }
        let wrong = run(&target, &library, &[Tensor::from_slice([2], &[1i32, 2])]).unwrap_err();
        assert!(wrong.to_string().contains("`x` is i32[1]"), "{wrong}");
    }
}

#[test]
fn what_is_missing_is_named_with_its_package() {
    let mut target = Target::preset("cortex-m3").unwrap();
    let Some(Runner::QemuSystem { compiler, .. }) = &mut target.runner else {
        panic!("cortex-m3 runs on a board")
    };
    *compiler = "arm-none-eabi-gcc-that-is-not-there".into();
    let library = Library {
        archive: Path::new("none.a"),
        name: "none",
        inputs: &[],
        outputs: &[],
        arena_bytes: 0,
        arena_align: 1,
    };
    let message = run(&target, &library, &[]).unwrap_err().to_string();
    assert!(message.contains("apt-get install gcc-arm-none-eabi"), "{message}");
    target.runner = None;
    assert!(run(&target, &library, &[]).unwrap_err().to_string().contains("cortex-m3"));
}
