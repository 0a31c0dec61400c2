//! The same kernels on other machines, under QEMU: every byte as on this one.

mod support;

use std::path::Path;
use std::process::Command;

use codegen::{Module, Place};
use ir::DType;
use loops::{Access, Buffer, Nest};
use support::*;
use targets::{Runner, Target};

/// Numbers of all sorts for a buffer, without NaN: its bits differ between machines.
fn data(buffer: &Buffer) -> Vec<u8> {
    let number = |k: usize| (k as i64 * 7919 + 13) % 23 - 11;
    let elements = 0..buffer.len;
    match (buffer.dtype, buffer.name.as_str()) {
        // Indices of six elements; the wide ones count from the end, too.
        (DType::I64, _) => elements.flat_map(|k| (number(k) % 6).to_le_bytes()).collect(),
        (DType::I32, "j") => elements.flat_map(|k| (number(k).rem_euclid(6) as i32).to_le_bytes()).collect(),
        (DType::I32, _) => elements.flat_map(|k| (number(k) as i32).to_le_bytes()).collect(),
        (DType::F32, _) => elements.flat_map(|k| (number(k) as f32 * 0.37).to_le_bytes()).collect(),
        (DType::F16 | DType::BF16, _) => elements
            .flat_map(|k| (((k * 4099) % 0x7c00) as u16 | ((k % 2) << 15) as u16).to_le_bytes())
            .collect(),
        (dtype, _) => (0..buffer.len * dtype.bytes()).map(|k| k as u8).collect(),
    }
}

fn on_this_machine(module: &Module, nest: &Nest, inputs: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let library = native::Library::load(&codegen::emit(module).unwrap().bytes).unwrap();
    let written = nest.buffers.iter().filter(|b| b.access != Access::Read);
    let mut outputs: Vec<Vec<u8>> = written.map(|b| vec![0; b.len * b.dtype.bytes()]).collect();
    let to: Vec<*mut u8> = outputs.iter_mut().map(|o| o.as_mut_ptr()).collect();
    let from: Vec<*const u8> = inputs.iter().map(|i| i.as_ptr()).collect();
    // SAFETY: compiled for this machine; buffers of the nest's sizes.
    assert_eq!(unsafe { library.run(&module.name, &from, &to, std::ptr::null_mut()) }, Ok(0));
    outputs
}

/// A kernel's name, its inputs and the outputs that it must give.
type Case = (String, Vec<Vec<u8>>, Vec<Vec<u8>>);

/// A C program that runs every kernel on its inputs and compares the outputs.
fn program(cases: &[Case]) -> String {
    let mut text = "#include <stdint.h>\n#include <stdio.h>\n#include <string.h>\n".to_string();
    let mut calls = String::new();
    for (name, inputs, outputs) in cases {
        let array = |kind: &str, k: usize, bytes: &[u8], constant: bool| {
            let list: Vec<String> = bytes.iter().map(u8::to_string).collect();
            let (qualifier, list) = if constant { ("const ", list.join(",")) } else { ("", "0".into()) };
            format!(
                "_Alignas(64) static {qualifier}unsigned char {name}_{kind}{k}[{}] = {{{list}}};\n",
                bytes.len()
            )
        };
        text += &format!("int32_t {name}_run(const void *const *in, void *const *out, void *arena);\n");
        inputs.iter().enumerate().for_each(|(k, bytes)| text += &array("in", k, bytes, true));
        outputs.iter().enumerate().for_each(|(k, bytes)| {
            text += &array("out", k, bytes, false);
            text += &array("expected", k, bytes, true);
        });
        let list = |kind: &str, count: usize| {
            (0..count).map(|k| format!("{name}_{kind}{k}")).collect::<Vec<_>>().join(", ")
        };
        calls += &format!(
            "    {{ const void *in[] = {{ {} }}; void *out[] = {{ {} }}; {name}_run(in, out, 0); }}\n",
            list("in", inputs.len()),
            list("out", outputs.len())
        );
        for k in 0..outputs.len() {
            calls += &format!(
                "    if (memcmp({name}_out{k}, {name}_expected{k}, sizeof {name}_out{k})) puts(\"{name} differs in output {k}\");\n"
            );
        }
    }
    format!("{text}int main(void)\n{{\n{calls}    puts(\"done\");\n    return 0;\n}}\n")
}

fn run_emulated(target: &Target) -> String {
    let Some(Runner::QemuUser { emulator, cpu, compiler, flags }) = &target.runner else {
        unreachable!("filtered")
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&target.name);
    std::fs::create_dir_all(&folder).unwrap();
    let here = host();
    let mut cases = Vec::new();
    let mut archives = Vec::new();
    // FIXME: QEMU 7.2, Debian 12's, aborts on RISC-V's vector conversions that truncate (its issue 1441).
    let aborts = |nest: &Nest| target.features.contains("+v") && nest.name == "casts";
    for nest in kernels().into_iter().filter(|nest| !aborts(nest)) {
        let inputs: Vec<_> = nest.buffers.iter().filter(|b| b.access == Access::Read).map(data).collect();
        let mut module = module(&nest, &here);
        assert!(module.calls[0].arguments.iter().all(|p| !matches!(p, Place::Arena { .. })));
        module.name = format!("net_{}", nest.name);
        let outputs = on_this_machine(&module, &nest, &inputs);
        module.target = target;
        let archive = folder.join(format!("lib{}.a", module.name));
        std::fs::write(&archive, codegen::archive(&module.name, &codegen::emit(&module).unwrap()).unwrap())
            .unwrap();
        archives.push(archive);
        cases.push((module.name.clone(), inputs, outputs));
    }
    std::fs::write(folder.join("main.c"), program(&cases)).unwrap();
    let built = Command::new(compiler)
        .args(flags)
        .args(["-static", "-std=c11", "-O1", "-o"])
        .arg(folder.join("main"))
        .arg(folder.join("main.c"))
        .args(archives)
        .output()
        .unwrap_or_else(|e| panic!("{compiler}: {e}"));
    assert!(built.status.success(), "{}: {}", target.name, String::from_utf8_lossy(&built.stderr));
    let ran = Command::new(emulator).arg("-cpu").arg(cpu).arg(folder.join("main")).output();
    let ran = ran.unwrap_or_else(|e| panic!("{emulator}: {e}"));
    format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr))
}

#[test]
fn linux_targets_compute_the_same_bytes() {
    let targets = Target::list().unwrap();
    let emulated: Vec<_> =
        targets.iter().filter(|t| matches!(t.runner, Some(Runner::QemuUser { .. }))).collect();
    assert!(emulated.len() >= 3);
    for target in emulated {
        assert_eq!(run_emulated(target), "done\n", "on {}", target.name);
    }
}
