//! `--threads` where times are measured: what they are is the machine's affair, that all threads are in them is ours.

use std::fs;

use serde_json::Value;

use crate::bench::positive;
use crate::model::{Dim, dense, product};
use crate::{Folder, Ran};

#[test]
fn bench_times_them_together() {
    let folder = Folder::with("wide.onnx", &product(64, 512));
    let flags = "--threads 2 --seconds 0.05 --format json";
    let benched = folder.onnxc(&format!("bench wide.onnx --per-node {flags}")).ok().json();
    assert_eq!((&benched["threads"], &benched["core"]), (&Value::from(2), &Value::Null), "{benched}");
    assert_eq!(benched["ceilings"]["cores"], 2);
    positive(&benched["times"]["median"]);
    for kernel in benched["kernels"].as_array().unwrap() {
        positive(&kernel["times"]["median"]);
    }
    folder.onnxc("compile wide.onnx --threads 2 -o out").ok();
    assert_eq!(folder.onnxc("bench out --seconds 0.02 --format json").ok().json()["threads"], 2);
    let words = folder.onnxc("bench out --seconds 0.02").ok().stdout;
    assert!(words.starts_with("wide for host, in this process on 2 threads"), "{words}");
    // A kernel that is not worth it runs on one.
    let folder = Folder::with("dense.onnx", &dense(Dim::Known(1)));
    assert_eq!(folder.onnxc(&format!("bench dense.onnx {flags}")).ok().json()["threads"], 1);
}

#[test]
fn what_tune_finds_for_them_is_for_them_alone() {
    let folder = Folder::with("wide.onnx", &product(64, 512));
    let tuned = folder.onnxc("tune wide.onnx --threads 2 --trials 2 -o two.jsonl --format json").ok().json();
    positive(&tuned["kernels"][0]["tried"]);
    positive(&tuned["best"]);
    let text = fs::read_to_string(folder.path("two.jsonl")).unwrap();
    let mut record: Value = serde_json::from_str(text.trim_end()).unwrap();
    assert_eq!(
        (&record["threads"], &record["cost"]["unit"]),
        (&Value::from(2), &Value::from("ns")),
        "{text}"
    );
    folder.onnxc("verify wide.onnx --threads 2 --records two.jsonl").ok();
    // Two records that differ, whatever was found: they are taken, or not, by how many threads are asked for.
    for steps in [1, 2] {
        record["schedule"]["unroll"] = Value::from(steps);
        fs::write(folder.path(&format!("{steps}.jsonl")), format!("{record}\n")).unwrap();
    }
    let loops = |threads: usize, file: &str| {
        let line = format!("compile wide.onnx --dump loops -o out --threads {threads} --records {file}");
        let mut text = folder.onnxc(&line).ok().stdout;
        // What follows tells how long it took.
        text.truncate(text.rfind("\n}").unwrap());
        text
    };
    let differ = |threads: usize| loops(threads, "1.jsonl") != loops(threads, "2.jsonl");
    assert_eq!([1, 2, 3].map(differ), [false, true, false]);
    // The file has what was asked for, though not for one thread.
    let again = folder.onnxc("tune wide.onnx --threads 2 --trials 2 -o two.jsonl --format json").ok().json();
    assert_eq!(again["kernels"][0]["tried"], 0);
    let alone = folder.onnxc("tune wide.onnx --trials 1 -o two.jsonl --format json").ok().json();
    positive(&alone["kernels"][0]["tried"]);
    assert_eq!(fs::read_to_string(folder.path("two.jsonl")).unwrap().lines().count(), 2);
}

#[test]
fn what_cannot_be_measured_with_them_is_refused_with_a_reason() {
    let folder = Folder::with("dense.onnx", &dense(Dim::Known(1)));
    let cases = [
        ("bench dense.onnx --target cortex-a53", "the instructions of one thread"),
        ("tune dense.onnx --target cortex-a53 -o r.jsonl", "an emulator does not tell"),
        ("tune dense.onnx --engine ray -o r.jsonl", "each trial has one core"),
    ];
    for (command, part) in cases {
        let Ran { code, stdout, stderr } = folder.onnxc(&format!("{command} --threads 2"));
        assert_eq!(code, 2, "{command}\n{stdout}{stderr}");
        assert!(stderr.contains(part) && stderr.contains("leave --threads out"), "{stderr}");
        assert!(!folder.path("r.jsonl").exists());
    }
}
