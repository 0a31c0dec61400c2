//! Tuning with several trials at once, here and on clusters of two workers that these tests start and stop: the records
//! are always the same.
//!
//! Clusters need Python packages. `ONNXC_TEST_ENGINES`, which `cargo xtask test` sets, names those that must be there
//! (`hq`, `ray`); tests of the others say that they are left out.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Kernels of the model enough to be under way while others end.
const TUNE: &str = "tune MODEL --target cortex-m4f --seed 1 --trials 12 -o";

fn tune(folder: &Path, line: &str) -> Command {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let model = here.join("../../tests/models/cnn.onnx");
    let mut command = Command::new(env!("CARGO_BIN_EXE_onnxc"));
    let words = line.split(' ').map(|word| if word == "MODEL" { model.as_os_str() } else { word.as_ref() });
    command.args(words).args(["--format", "json"]).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command
}

/// A tune that can succeed: of real trials, which take minutes, only if all is to be tested.
fn whole_tune(folder: &Path, line: &str) -> Command {
    let mut command = tune(folder, &format!("{TUNE} {line}"));
    if std::env::var_os("ONNXC_TEST_ALL").is_none() {
        let fake = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engines/fake_trial.py");
        command.arg(format!("--runner=python3 '{}'", fake.display()));
    }
    command
}

/// The exit code and the JSON of a command.
fn ended(child: Child) -> (i32, Value) {
    let ended = child.wait_with_output().unwrap();
    (ended.status.code().unwrap_or(-1), serde_json::from_slice(&ended.stdout).unwrap_or_default())
}

fn run(command: &mut Command) -> (i32, Value) {
    ended(command.spawn().unwrap())
}

#[track_caller]
fn tuned(command: &mut Command) {
    let (code, json) = run(command);
    assert_eq!((code, json.get("warnings")), (0, None), "{json:#}");
}

/// Whether a command failed for want of something around it, and what it said.
#[track_caller]
fn refused(command: &mut Command, said: &str) {
    let (code, json) = run(command);
    let message = json["diagnostics"][0]["message"].as_str().unwrap_or_default();
    assert_eq!((code, json["diagnostics"][0]["code"].as_str()), (2, Some("E0007")), "{json:#}");
    assert!(message.contains(said), "{message}");
}

fn records(folder: &Path, file: &str) -> Vec<String> {
    fs::read_to_string(folder.join(file)).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// What one worker here finds.
fn alone(folder: &Path) -> Vec<String> {
    tuned(&mut whole_tune(folder, "alone.jsonl --workers 1"));
    let found = records(folder, "alone.jsonl");
    assert!(found.len() >= 3, "{found:#?}");
    found
}

/// Until `done`, but not for ever.
#[track_caller]
fn wait_until(done: &dyn Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(120), "it does not come to that");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn left_behind(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with('.')).collect()
}

#[test]
fn several_workers_here_and_an_interrupt_leave_the_same_records() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let alone = alone(folder);
    tuned(&mut whole_tune(folder, "three.jsonl --workers 3"));
    assert_eq!(records(folder, "three.jsonl"), alone);

    let child = whole_tune(folder, "part.jsonl --workers 2").spawn().unwrap();
    wait_until(&|| !records(folder, "part.jsonl").is_empty());
    interrupt(&child);
    let (code, json) = ended(child);
    let part = records(folder, "part.jsonl");
    assert_eq!((code, json["warnings"][0]["code"].as_str()), (130, Some("W0106")), "{json:#}");
    assert!(part.len() < alone.len() && part.iter().all(|record| alone.contains(record)), "{part:#?}");
    tuned(&mut whole_tune(folder, "part.jsonl --workers 2"));
    assert_eq!(records(folder, "part.jsonl"), alone);
}

fn interrupt(child: &Child) {
    kill_process(Pid::from_child(child), Signal::INT).unwrap();
}

#[test]
fn what_is_missing_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let line = |words: &str| tune(folder, &format!("{TUNE} none.jsonl {words}"));
    refused(&mut line("--runner no-such-program"), "`no-such-program` can't be started");
    refused(&mut line("--engine ray --python no-such-python"), "`no-such-python` can't be started");
    let (code, json) = run(&mut line("--engine hq"));
    assert_eq!(code, 2);
    assert!(json["diagnostics"][0]["message"].as_str().unwrap().contains("--workers"), "{json:#}");

    // Pythons that are none: one speaks no JSON, one ends, one goes away in the middle.
    for (text, said) in [
        ("echo hello", "says `hello`"),
        ("echo out of luck >&2; exit 3", "ended: out of luck"),
        ("echo '{\"ready\":{\"cores\":2}}'; read line; exit 1", "ended: without a word"),
    ] {
        let python = folder.join("python");
        fs::write(&python, format!("#!/bin/sh\n{text}\n")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&python, mode).unwrap();
        refused(&mut line(&format!("--engine ray --python {}", python.display())), said);
    }
    // A trial that takes too long is left, and its kernel with it.
    let (code, json) =
        run(tune(folder, &format!("{TUNE} none.jsonl --trial-limit 1s")).arg("--runner=sleep 60"));
    assert_eq!((code, json["warnings"][0]["code"].as_str()), (0, Some("W0105")), "{json:#}");
    let warning = json["warnings"][0]["message"].as_str().unwrap();
    assert!(warning.contains("no answer within 1 s"), "{warning}");
    assert_eq!(records(folder, "none.jsonl"), [""; 0]);
}

/// A cluster that this test has started.
struct Cluster {
    program: Child,
    engine: &'static str,
    address: String,
}

impl Cluster {
    /// `None` where nobody said that the package is installed.
    fn start(engine: &'static str) -> Option<Cluster> {
        let engines = std::env::var("ONNXC_TEST_ENGINES").unwrap_or_default();
        if !engines.split(' ').any(|there| there == engine) {
            eprintln!("left out: ONNXC_TEST_ENGINES does not name {engine}");
            return None;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engines/cluster.py");
        let mut program = Command::new("python3")
            .arg(script)
            .arg(engine)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| line.unwrap().strip_prefix("at ").map(str::to_owned));
        // Whatever else it prints, nobody must wait for.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Cluster { program, engine, address: address.expect("the cluster starts") })
    }

    fn tune(&self, folder: &Path, output: &str) -> Command {
        self.with_address(whole_tune(folder, &format!("{output} --engine {} --workers 2", self.engine)))
    }

    fn tune_by(&self, folder: &Path, runner: &str) -> Command {
        let line = format!("{TUNE} none.jsonl --engine {} --workers 2", self.engine);
        let mut command = tune(folder, &line);
        command.arg(format!("--runner={runner}"));
        self.with_address(command)
    }

    fn with_address(&self, mut command: Command) -> Command {
        command.env("RAY_ADDRESS", &self.address).env("HQ_SERVER_DIR", &self.address);
        command
    }

    fn kill_a_worker(&mut self) {
        self.program.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    fn stop(&mut self) {
        drop(self.program.stdin.take());
        self.program.wait().unwrap();
    }
}

impl Drop for Cluster {
    /// Also when the test has failed.
    fn drop(&mut self) {
        self.stop();
    }
}

/// The same records as here, also after Ctrl-C; no trial under way and no file left; an error without the cluster.
fn a_cluster_does_as_this_machine(mut cluster: Cluster) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let alone = alone(folder);
    tuned(&mut cluster.tune(folder, "cluster.jsonl"));
    assert_eq!(records(folder, "cluster.jsonl"), alone);

    let child = cluster.tune(folder, "part.jsonl").spawn().unwrap();
    wait_until(&|| !records(folder, "part.jsonl").is_empty());
    interrupt(&child);
    assert_eq!(ended(child).0, 130);
    assert!(records(folder, "part.jsonl").len() < alone.len());
    tuned(&mut cluster.tune(folder, "part.jsonl"));
    assert_eq!(records(folder, "part.jsonl"), alone);
    assert_eq!(left_behind(folder), [""; 0].map(PathBuf::from));

    refused(&mut cluster.tune_by(folder, "no-such-program"), "`no-such-program` can't be started on");
    let (code, json) = run(&mut cluster.tune_by(folder, "echo nonsense"));
    let warning = json["warnings"][0]["message"].as_str().unwrap_or_default();
    assert_eq!((code, warning.contains("`echo` gave no answer")), (0, true), "{json:#}");

    cluster.stop();
    let mut without = cluster.tune(folder, "none.jsonl");
    refused(&mut without, "cluster is reached");
    assert_eq!(records(folder, "none.jsonl"), [""; 0]);
}

#[test]
fn hyperqueue_finds_the_same_records() {
    if let Some(cluster) = Cluster::start("hq") {
        a_cluster_does_as_this_machine(cluster);
    }
}

#[test]
fn ray_finds_the_same_records() {
    if let Some(cluster) = Cluster::start("ray") {
        a_cluster_does_as_this_machine(cluster);
    }
}

#[test]
fn ray_finds_the_same_records_when_a_machine_goes_away() {
    if let Some(mut cluster) = Cluster::start("ray") {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let child = cluster.tune(folder, "cluster.jsonl").spawn().unwrap();
        wait_until(&|| !records(folder, "cluster.jsonl").is_empty());
        cluster.kill_a_worker();
        let (code, json) = ended(child);
        assert_eq!((code, json.get("warnings")), (0, None), "{json:#}");
        assert_eq!(records(folder, "cluster.jsonl"), alone(folder));
    }
}
