//! Tuning from end to end: a small model in an emulator, the records it leaves, and what is made of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

const TARGET: &str = "cortex-m4f";

/// Two of the model's.
const KERNELS: &str = "--kernels 3x3x3 --kernels 1x1x12";

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/models/cnn.onnx")
}

/// Runs the command with the model in the place of MODEL; its exit code, JSON and complaints.
fn onnxc(folder: &Path, line: &str, input: Option<&str>) -> (i32, Value, String) {
    let model = model();
    let words = line.split(' ').map(|word| if word == "MODEL" { model.to_str().unwrap() } else { word });
    let mut child = Command::new(env!("CARGO_BIN_EXE_onnxc"))
        .args(words)
        .args(["--format", "json"])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.unwrap_or_default().as_bytes())
        .unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    (ended.status.code().unwrap_or(-1), serde_json::from_slice(&ended.stdout).unwrap_or_default(), said)
}

#[track_caller]
fn ok(folder: &Path, line: &str) -> Value {
    let (code, json, said) = onnxc(folder, line, None);
    assert_eq!(code, 0, "{line}\n{said}\n{json:#}");
    json
}

fn codes(json: &Value) -> Vec<&str> {
    json["warnings"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|warning| warning["code"].as_str().unwrap())
        .collect()
}

/// The instructions of one inference of the model.
fn instructions(json: &Value) -> u64 {
    json["cases"][0]["instructions"].as_u64().unwrap()
}

/// Trials are shared out by what kernels cost, in whole ones: no kernel costs half of the model, one more than a quarter.
#[test]
fn kernels_that_no_trial_is_left_for_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let tuned = |trials: usize| {
        let json = ok(
            folder.path(),
            &format!("tune MODEL --target {TARGET} -o of_{trials}.jsonl --trials {trials}"),
        );
        assert_eq!(codes(&json), [""; 0], "{json:#}");
        (json["kernels"].as_array().unwrap().len(), json["left_out"].as_u64().unwrap())
    };
    let (none, all) = tuned(1);
    assert!(none == 0 && all > 1, "{none} {all}");
    assert_eq!(tuned(2), (1, all - 1));
}

#[test]
fn a_tuned_model_is_no_slower_right_and_the_same_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let tuned = ok(folder, &format!("tune MODEL --target {TARGET} -o a.jsonl --seed 1 --trials 3 {KERNELS}"));
    assert_eq!(codes(&tuned), [""; 0], "{tuned:#}");
    let text = fs::read_to_string(folder.join("a.jsonl")).unwrap();

    // The same seed, the same file; a file that has all kernels is left as it is.
    ok(folder, &format!("tune MODEL --target {TARGET} -o b.jsonl --seed 1 --trials 3 {KERNELS}"));
    assert_eq!(fs::read_to_string(folder.join("b.jsonl")).unwrap(), text);
    let again = ok(folder, &format!("tune MODEL --target {TARGET} -o a.jsonl --seed 4 --trials 3 {KERNELS}"));
    assert!(again["kernels"].as_array().unwrap().iter().all(|kernel| kernel["tried"] == 0), "{again:#}");
    assert_eq!(fs::read_to_string(folder.join("a.jsonl")).unwrap(), text);
    // One that was interrupted is finished as if it had not been.
    let first = text.lines().next().unwrap();
    fs::write(folder.join("part.jsonl"), format!("{first}\n")).unwrap();
    ok(folder, &format!("tune MODEL --target {TARGET} -o part.jsonl --seed 1 --trials 3 {KERNELS}"));
    assert_eq!(fs::read_to_string(folder.join("part.jsonl")).unwrap(), text);

    // What was measured kernel by kernel shows in the whole.
    let before = ok(folder, &format!("verify MODEL --target {TARGET} --no-records"));
    let after = ok(folder, &format!("verify MODEL --target {TARGET} --records a.jsonl"));
    assert!(before["pass"] == true && after["pass"] == true);
    assert!(tuned["best"].as_f64() <= tuned["default"].as_f64(), "{tuned:#}");
    assert!(
        instructions(&after) <= instructions(&before),
        "{} {}",
        instructions(&after),
        instructions(&before)
    );

    // What is timed is what would be compiled.
    let benched = |records: &str| {
        let json = ok(folder, &format!("bench MODEL --target {TARGET} {records}"));
        json["instructions"].as_u64().unwrap()
    };
    let (with, without) = (benched("--records a.jsonl"), benched("--no-records"));
    let gained = instructions(&before) - instructions(&after);
    assert_eq!(without - with, gained, "bench sees the gain that verify does");

    // Same records, same bytes.
    for out in ["one", "two"] {
        ok(folder, &format!("compile MODEL --target {TARGET} --records a.jsonl -o {out}"));
    }
    let library = |out: &str| fs::read(folder.join(out).join("libcnn.a")).unwrap();
    assert_eq!(library("one"), library("two"));
    let explained = ok(folder, &format!("explain MODEL --target {TARGET} --records a.jsonl"));
    assert!(explained["kernels"].as_array().unwrap().iter().any(|kernel| kernel["recorded"] == 1));
}

#[test]
fn cycles_are_tuned_as_instructions_are() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    const TARGET: &str = "cortex-a72";
    let tune = format!("tune MODEL --target {TARGET} --seed 1 --trials 2 --kernels 3x3x3");
    let tuned = ok(folder, &format!("{tune} -o a.jsonl --unit cycles"));
    assert_eq!((codes(&tuned), &tuned["unit"]), (vec![], &"cycles".into()), "{tuned:#}");
    let text = fs::read_to_string(folder.join("a.jsonl")).unwrap();
    let record: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(record["cost"]["unit"], "cycles");
    assert_eq!(record["measured"], "LLVM's model of cortex-a72");
    ok(folder, &format!("{tune} -o b.jsonl --unit cycles"));
    assert_eq!(fs::read_to_string(folder.join("b.jsonl")).unwrap(), text, "the same seed, the same file");

    let benched = |records: &str| {
        let json = ok(folder, &format!("bench MODEL --target {TARGET} --cycles {records}"));
        json["cycles"].as_u64().unwrap()
    };
    assert!(benched("--records a.jsonl") <= benched("--no-records"));

    // Costs in two units are not compared, and not in one file.
    ok(folder, &format!("{tune} -o c.jsonl"));
    for (first, unit) in [("a", "cycles"), ("c", "instructions")] {
        let other = if first == "a" { "c" } else { "a" };
        let merged = ok(folder, &format!("records merge {first}.jsonl {other}.jsonl -o merged.jsonl"));
        assert_eq!((codes(&merged), &merged["records"][0]["cost"]["unit"]), (vec!["W0104"], &unit.into()));
    }
    for (line, part) in [
        (format!("{tune} -o a.jsonl --unit instructions"), "`a.jsonl` has costs in cycles"),
        (format!("{tune} -o c.jsonl --unit cycles"), "`c.jsonl` has costs in instructions"),
        ("tune MODEL --target cortex-a7 -o d.jsonl --unit cycles".to_owned(), "`cortex-a7` has no `sched"),
    ] {
        let (code, json, said) = onnxc(folder, &line, None);
        let message = json["diagnostics"][0]["message"].as_str().unwrap_or_default();
        assert!(code == 2 && message.contains(part), "{line}: {said}\n{json:#}");
    }
}

/// A kernel of several stages (here a softmax of four) takes a record for each.
#[test]
fn stages_of_one_kernel_have_schedules_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let tuned = ok(
        folder,
        &format!("tune MODEL --target {TARGET} -o a.jsonl --seed 2 --trials 12 --kernels softmax"),
    );
    assert_eq!(codes(&tuned), [""; 0], "{tuned:#}");
    let rows = tuned["kernels"].as_array().unwrap();
    let stages: BTreeSet<char> = rows
        .iter()
        .map(|row| row["about"].as_str().unwrap().strip_prefix("softmax.").unwrap().chars().next().unwrap())
        .collect();
    assert!(stages.len() > 1, "{tuned:#}");
    let verified = |records: &str| {
        let json = ok(folder, &format!("verify MODEL --target {TARGET} {records}"));
        assert_eq!(json["pass"], true, "{json:#}");
        instructions(&json)
    };
    let gained = tuned["default"].as_f64().unwrap() - tuned["best"].as_f64().unwrap();
    let (without, with) = (verified("--no-records"), verified("--records a.jsonl"));
    assert!(with <= without && (gained == 0.0) == (with == without), "{without} {with} {gained}");
}

#[test]
fn records_that_do_not_fit_are_told_and_left() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    ok(folder, &format!("tune MODEL --target {TARGET} -o good.jsonl --trials 1 --kernels 3x3x3"));
    let good = fs::read_to_string(folder.join("good.jsonl")).unwrap();
    ok(folder, &format!("compile MODEL --target {TARGET} --no-records -o plain"));
    let plain = fs::read(folder.join("plain/libcnn.a")).unwrap();
    let compiled = |target: &str, text: &str| {
        fs::write(folder.join("records.jsonl"), text).unwrap();
        ok(folder, &format!("compile MODEL --target {target} --records records.jsonl -o out"))
    };
    let with = |change: &dyn Fn(&mut Value)| -> String {
        let changed = good.lines().map(|line| {
            let mut record: Value = serde_json::from_str(line).unwrap();
            change(&mut record);
            format!("{record}\n")
        });
        changed.collect()
    };
    for (text, code) in [
        (with(&|record| record["version"] = 0.into()), "W0101"),
        (with(&|record| record["target"]["hash"] = "0".into()), "W0102"),
        (with(&|record| record["schedule"]["tile"] = 1_000_000.into()), "W0103"),
    ] {
        assert!(codes(&compiled(TARGET, &text)).contains(&code), "{code}");
        assert_eq!(fs::read(folder.join("out/libcnn.a")).unwrap(), plain, "{code}");
        let benched = ok(folder, &format!("bench MODEL --target {TARGET} --records records.jsonl"));
        assert!(codes(&benched).contains(&code), "bench tells {code}, too");
    }
    assert_eq!(codes(&compiled("cortex-m3", &good)), ["W0102"]);
    assert_eq!(codes(&compiled(TARGET, &good)), [""; 0]);
    fs::write(folder.join("records.jsonl"), "{}").unwrap();
    let line = format!("compile MODEL --target {TARGET} --records records.jsonl -o out");
    let (code, json, _) = onnxc(folder, &line, None);
    assert_eq!((code, json["diagnostics"][0]["code"].as_str()), (2, Some("E0009")), "{json:#}");

    // Merged with themselves they are the same.
    ok(folder, "records merge good.jsonl good.jsonl -o merged.jsonl");
    assert_eq!(fs::read_to_string(folder.join("merged.jsonl")).unwrap(), good);
    let listed = ok(folder, "records list merged.jsonl");
    assert_eq!(listed["records"].as_array().unwrap().len(), good.lines().count());
}

/// The trial that docs/tuning.md shows is one, on every target; hostile ones are refused.
#[test]
fn a_trial_is_json_in_and_out() {
    let folder = tempfile::tempdir().unwrap();
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/tuning.md");
    let text = fs::read_to_string(docs).unwrap();
    let shown = text.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let (code, answer, said) = onnxc(folder.path(), "trial", Some(shown));
    assert_eq!(code, 0, "{said}\n{answer:#}");
    assert_eq!(answer["unit"], "ns");
    assert!(answer["schedules"][0]["Ok"]["cost"].as_f64() > Some(0.0), "{answer:#}");

    let there = shown.replace("\"host\"", &format!("{TARGET:?}")).replace("\"lanes\": 8", "\"lanes\": 1");
    let (_, counted, _) = onnxc(folder.path(), "trial", Some(&there));
    assert_eq!(counted["unit"], "instructions", "{counted:#}");
    assert!(counted["schedules"][0]["Ok"]["cost"].as_f64() > Some(1000.0), "{counted:#}");
    let (_, illegal, _) =
        onnxc(folder.path(), "trial", Some(&there.replace("\"unroll\": 1", "\"unroll\": 7")));
    assert!(
        illegal["schedules"][0]["Err"].as_str().is_some_and(|why| why.contains("7 steps")),
        "{illegal:#}"
    );

    let wanting = |trial: &str, unit: &str| {
        let trial = trial.replace("\"schedules\"", &format!("\"unit\": {unit:?}, \"schedules\""));
        onnxc(folder.path(), "trial", Some(&trial))
    };
    let (_, cycles, _) = wanting(&there, "cycles");
    assert_eq!(cycles["unit"], "cycles", "{cycles:#}");
    assert!(cycles["default"]["cost"].as_f64() > Some(1000.0), "{cycles:#}");
    for (trial, unit) in [(shown, "cycles"), (&*there, "ns"), (&*there, "joules")] {
        let (code, json, said) = wanting(trial, unit);
        assert_eq!(code, 2, "{unit}: {said}\n{json:#}");
    }

    for (from, to) in [
        ("{\"Axis\": 0}", "{\"Axis\": 9}"),
        ("\"strides\": [1]", "\"strides\": [1, 1]"),
        ("\"domain\": [1000]", "\"domain\": [0]"),
        ("\"domain\": [1000]", "\"domain\": [4294967296, 4294967296]"),
        ("\"len\": 1000", "\"len\": 18446744073709551615"),
        ("\"host\"", "\"nowhere\""),
        ("\"Read\"", "\"Reed\""),
        ("{\"operand\": 0}, \"index\"", "{\"operand\": 5}, \"index\""),
        ("\"result\"", "\"around\": [{\"axis\": 0, \"extent\": 8, \"step\": 0, \"kept\": 8}], \"result\""),
        ("\"result\"", "\"around\": [{\"axis\": 7, \"extent\": 8, \"step\": 1, \"kept\": 8}], \"result\""),
    ] {
        assert!(shown.contains(from), "{from}");
        let (code, json, said) = onnxc(folder.path(), "trial", Some(&shown.replace(from, to)));
        assert_eq!(code, 2, "{to}: {said}\n{json:#}");
    }
}
