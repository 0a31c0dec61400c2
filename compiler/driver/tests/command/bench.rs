//! `onnxc bench`: what it measures is the machine's affair, that it measures all is ours.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::model::{Dim, dense};
use crate::{Folder, Ran, shared_product};

#[test]
fn it_explains_itself() {
    insta::assert_snapshot!(Folder::new().onnxc("bench --help").ok().stdout);
}

pub fn positive(value: &Value) -> f64 {
    let number = value.as_f64().unwrap_or_else(|| panic!("{value} is no number"));
    assert!(number > 0.0 && number.is_finite(), "{number}");
    number
}

#[test]
fn a_model_and_all_of_its_kernels_take_time() {
    let folder = Folder::with("shared.onnx", &shared_product());
    let command = "bench shared.onnx --seconds 0.05 --html page.html --format json";
    let benched = folder.onnxc(command).ok().json();
    let times = &benched["times"];
    assert!(positive(&times["median"]) <= positive(&times["p99"]));
    assert!(positive(&times["least"]) <= positive(&times["median"]) && positive(&times["runs"]) >= 3.0);
    assert_eq!(benched["macs"], 6);
    positive(&benched["gflops"]);
    let explained = folder.onnxc("explain shared.onnx --format json").ok().json();
    let nodes = |kernels: &Value| -> Vec<Value> {
        kernels.as_array().unwrap().iter().map(|kernel| kernel["nodes"].clone()).collect()
    };
    assert_eq!(nodes(&benched["kernels"]), nodes(&explained["kernels"]));
    let kernels = benched["kernels"].as_array().unwrap();
    for kernel in kernels {
        positive(&kernel["times"]["median"]);
        positive(&kernel["gigabytes_per_second"]);
        positive(&kernel["of_roof"]);
    }
    let shares: f64 = kernels.iter().map(|kernel| kernel["share"].as_f64().unwrap()).sum();
    assert!((shares - 1.0).abs() < 1e-9, "{shares}");
    let ceilings = &benched["ceilings"];
    positive(&ceilings["flops"]);
    ceilings["levels"].as_array().unwrap().iter().for_each(|level| _ = positive(&level["rate"]));
    let page = fs::read_to_string(folder.path("page.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>"), "{page}");
    assert_eq!(page.matches("<tr data-kernel").count(), kernels.len());
    assert!(page.contains("activation") && page.contains("class=\"roof\""), "{page}");
}

#[test]
fn without_kernels_there_is_no_table() {
    let folder = Folder::with("dense.onnx", &dense(Dim::Named("batch")));
    let words = folder.onnxc("bench dense.onnx --dim batch=1 --seconds 0.02").ok().stdout;
    assert!(words.starts_with("dense for host, in this process"), "{words}");
    assert!(words.contains("median") && words.contains("p99") && words.contains("MACs"), "{words}");
    assert!(!words.contains("of roof"), "{words}");
    let table = folder.onnxc("bench dense.onnx --dim batch=1 --seconds 0.02 --per-node").ok().stdout;
    assert!(table.contains("of roof") && table.contains("dense_k0_"), "{table}");
}

#[test]
fn a_compiled_library_is_timed_as_it_is() {
    let folder = Folder::with("dense.onnx", &dense(Dim::Known(1)));
    folder.onnxc("compile dense.onnx -o out").ok();
    let benched = folder.onnxc("bench out --seconds 0.02 --format json").ok().json();
    positive(&benched["times"]["median"]);
    assert_eq!(benched["kernels"], Value::Array(vec![]));
    for (flags, part) in [("--per-node", "can't be timed one by one"), ("--exact", "is compiled already")] {
        let refused = folder.onnxc(&format!("bench out {flags}"));
        assert_eq!(refused.code, 2, "{flags}");
        assert!(
            refused.stderr.contains(part) && refused.stderr.contains("give the model"),
            "{}",
            refused.stderr
        );
    }
}

#[test]
fn emulated_machines_count_instructions() {
    let folder = Folder::with("dense.onnx", &dense(Dim::Known(1)));
    let benched = folder.onnxc("bench dense.onnx --target cortex-m4f --format json").ok().json();
    positive(&benched["instructions"]);
    assert!(benched["times"].is_null() && benched["ran"] == "in QEMU", "{benched}");
    folder.onnxc("compile dense.onnx --target cortex-m4f -o out").ok();
    for what in ["dense.onnx --target cortex-m4f", "out"] {
        let kernels = folder.onnxc(&format!("bench {what} --per-node --format json")).ok().json();
        assert_eq!(kernels["instructions"], benched["instructions"]);
        let counted = kernels["counted"].as_array().unwrap();
        assert_eq!(counted.len(), 1, "{kernels}");
        let (kernel, all) = (positive(&counted[0]["instructions"]), positive(&kernels["instructions"]));
        assert!(kernel < all && kernel > 0.5 * all, "{kernels}");
        assert!(folder.onnxc(&format!("bench {what} --per-node")).ok().stdout.contains("per MAC"));
    }
}

#[test]
fn cycles_stand_beside_instructions() {
    let folder = Folder::with("dense.onnx", &dense(Dim::Known(1)));
    folder.onnxc("compile dense.onnx --target cortex-a72 -o out").ok();
    for what in ["dense.onnx --target cortex-a72", "out"] {
        insta::assert_snapshot!(folder.onnxc(&format!("bench {what} --cycles --per-node")).ok().stdout);
        let plain = folder.onnxc(&format!("bench {what} --format json")).ok().json();
        assert!(plain["cycles"].is_null() && plain["unmodelled"].is_null(), "{plain}");
        let whole = folder.onnxc(&format!("bench {what} --cycles --format json")).ok().json();
        let kernels = folder.onnxc(&format!("bench {what} --cycles --per-node --format json")).ok().json();
        assert_eq!(whole["instructions"], plain["instructions"], "cycles change no count");
        assert_eq!(kernels["cycles"], whole["cycles"]);
        assert!(positive(&kernels["counted"][0]["cycles"]) <= positive(&whole["cycles"]), "{kernels}");
    }
}

#[test]
fn cycles_need_llvms_tools() {
    let folder = Folder::with("dense.onnx", &dense(Dim::Known(1)));
    let mut command = Command::new(env!("CARGO_BIN_EXE_onnxc"));
    command.args("bench dense.onnx --target cortex-m4f --cycles".split(' ')).current_dir(folder.0.path());
    let Ran { code, stderr, .. } = Ran::of(command.env("LLVM_SYS_221_PREFIX", "/nowhere"));
    assert_eq!(code, 2, "{stderr}");
    let wanted = "`/nowhere/bin/llvm-mc` is not installed; on Debian: apt-get install llvm-22";
    assert!(stderr.contains(wanted), "{stderr}");
}

#[test]
fn what_cannot_be_measured_is_refused_with_a_reason() {
    let folder = Folder::with("dense.onnx", &dense(Dim::Known(1)));
    let cases = [
        ("dense.onnx --target cortex-m4f --on host", "only code for exactly this machine is timed"),
        ("dense.onnx --target host --on qemu", "has no emulator"),
        ("dense.onnx --target cortex-m4f --html page.html", "the roofline is this machine's"),
        ("dense.onnx --target cortex-a7 --cycles", "target `cortex-a7` has no `scheduling_model`"),
        ("dense.onnx --cycles", "on this machine time is measured"),
        ("dense.onnx --seconds 0", "write a number of seconds"),
        ("dense.onnx --seconds 0.02 --html none/page.html", "cannot write `none/page.html`"),
    ];
    assert_eq!(folder.onnxc("bench nothing.onnx").code, 3);
    for (arguments, part) in cases {
        let Ran { code, stdout, stderr } = folder.onnxc(&format!("bench {arguments}"));
        assert_eq!(code, 2, "{arguments}\n{stdout}{stderr}");
        assert!(stderr.contains(part), "{arguments}\n{stderr}");
    }
}
