//! Trials on the machines of a cluster. What speaks to the cluster is a small Python program ([`PROGRAM`]), since that is
//! the language in which Ray and HyperQueue are spoken to: it takes a line of JSON per trial and gives one per answer,
//! in the order in which they come.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::local::end;
use super::{Ended, Engine, Failure, Limits, Runner, written};
use crate::trial::{Answer, Trial};

const PROGRAM: &str = include_str!("cluster.py");

/// How long a cluster may take to answer at all, and how long its program to say good-bye.
const HELLO: Duration = Duration::from_secs(90);
const GOODBYE: Duration = Duration::from_secs(5);

/// How often those who wait look whether to stop.
const LOOK: Duration = Duration::from_millis(50);

/// What spreads the trials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    Ray,
    HyperQueue,
}

/// A running cluster that this process is connected to; it is left running.
pub struct Cluster {
    runner: Runner,
    limits: Limits,
    /// One trial each; `None` if the cluster does not say.
    pub cores: Option<usize>,
    program: Child,
    input: Option<Mutex<ChildStdin>>,
    waiting: Arc<Mutex<Waiting>>,
    /// Holds the program, and what it and the cluster's machines hand on. Ends after the program.
    _folder: TempDir,
}

/// The trials that are under way, and who waits for each.
#[derive(Default)]
struct Waiting {
    next: u64,
    receivers: HashMap<u64, Sender<Message>>,
    /// Why there will be no more answers.
    gone: Option<String>,
}

/// What the program is told.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Request<'a> {
    Start { id: u64, trial: &'a str },
    Cancel { id: u64 },
}

/// What it says.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Message {
    Ready { cores: Option<usize> },
    Ended { id: u64, status: i64, stdout: String, stderr: String },
    Lost { id: u64, why: String },
    Gone { why: String },
}

impl Cluster {
    /// Connects to the cluster that `RAY_ADDRESS` or `HQ_SERVER_DIR` names, or the one that is found without; starts
    /// none. `python` is a Python with the queue's package. `shared` is a directory that all machines of the cluster
    /// see under the same name; only HyperQueue needs it.
    ///
    /// # Errors
    /// [`Failure::Gone`]: there is no such Python, package or cluster.
    pub fn connect(
        queue: Queue,
        python: &str,
        shared: &Path,
        runner: Runner,
        limits: Limits,
    ) -> Result<Cluster, Failure> {
        let no_files = |error: std::io::Error| Failure::Gone(format!("no temporary files: {error}"));
        let mut name = tempfile::Builder::new();
        let name = name.prefix(".onnxc-tune-");
        let (word, folder) = match queue {
            Queue::Ray => ("ray", name.tempdir()),
            Queue::HyperQueue => ("hq", shared.canonicalize().and_then(|shared| name.tempdir_in(shared))),
        };
        let folder = folder.map_err(no_files)?;
        let file = folder.path().join("cluster.py");
        std::fs::write(&file, PROGRAM).map_err(no_files)?;
        let mut complaints = tempfile::tempfile().map_err(no_files)?;
        let words = serde_json::to_string(&runner.0)
            .map_err(|error| Failure::Gone(format!("the runner is not written: {error}")))?;
        let mut program = Command::new(python)
            .arg(&file)
            .args([word, &words])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(complaints.try_clone().map_err(no_files)?)
            // Ctrl-C is for us; the program ends in order when its input does.
            .process_group(0)
            .spawn()
            .map_err(|error| {
                let how = "--python says which Python speaks to the cluster";
                Failure::Gone(format!("`{python}` can't be started: {error}; {how}"))
            })?;
        let (input, output) = (program.stdin.take(), program.stdout.take());
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let (tell, told) = channel();
        if let Some(output) = output {
            let waiting = waiting.clone();
            std::thread::spawn(move || listen(output, &waiting, &tell, &mut complaints));
        }
        let input = input.map(Mutex::new);
        let mut cluster = Cluster { runner, limits, cores: None, program, input, waiting, _folder: folder };
        cluster.cores = cluster.greeted(&told, python)?;
        Ok(cluster)
    }

    /// Waits for the program's first word.
    fn greeted(&self, told: &Receiver<Option<usize>>, python: &str) -> Result<Option<usize>, Failure> {
        let start = Instant::now();
        loop {
            match told.recv_timeout(LOOK) {
                Ok(cores) => return Ok(cores),
                Err(RecvTimeoutError::Disconnected) => return Err(self.gone()),
                Err(RecvTimeoutError::Timeout) if self.limits.stop.is_asked() => {
                    return Err(Failure::Stopped);
                }
                Err(RecvTimeoutError::Timeout) if start.elapsed() > HELLO => {
                    let seconds = HELLO.as_secs();
                    let what = "is the cluster up, and its address right?";
                    let why = format!("`{python}` reached no cluster within {seconds} s: {what}");
                    return Err(Failure::Gone(why));
                }
                Err(RecvTimeoutError::Timeout) => (),
            }
        }
    }

    fn gone(&self) -> Failure {
        let why = lock(&self.waiting).gone.clone();
        Failure::Gone(why.unwrap_or_else(|| "the cluster is not there any more".to_owned()))
    }

    /// A program that went away is noticed by who listens to it.
    fn say(&self, request: &Request) {
        if let (Some(input), Ok(line)) = (&self.input, serde_json::to_string(request)) {
            let _ = lock(input).write_all((line + "\n").as_bytes());
        }
    }
}

impl Engine for Cluster {
    fn run(&self, trial: &Trial) -> Result<Answer, Failure> {
        let text = written(trial)?;
        let (tell, told) = channel();
        let id = {
            let mut waiting = lock(&self.waiting);
            if let Some(why) = &waiting.gone {
                return Err(Failure::Gone(why.clone()));
            }
            waiting.next += 1;
            let id = waiting.next;
            waiting.receivers.insert(id, tell);
            id
        };
        let start = Instant::now();
        self.say(&Request::Start { id, trial: &text });
        loop {
            match told.recv_timeout(LOOK) {
                Ok(Message::Ended { status, stdout, stderr, .. }) => {
                    let failed = (status != 0).then(|| format!("status {status}"));
                    return self.runner.answer(trial, &Ended { failed, stdout, stderr });
                }
                Ok(Message::Lost { why, .. }) => return Err(Failure::Lost(why)),
                Ok(_) | Err(RecvTimeoutError::Disconnected) => return Err(self.gone()),
                Err(RecvTimeoutError::Timeout) => {
                    let stopped = self.limits.stop.is_asked();
                    if stopped || start.elapsed() > self.limits.trial {
                        lock(&self.waiting).receivers.remove(&id);
                        self.say(&Request::Cancel { id });
                        let passed = self.limits.passed(self.runner.program());
                        return Err(if stopped { Failure::Stopped } else { passed });
                    }
                }
            }
        }
    }
}

impl Drop for Cluster {
    /// The program cancels what is under way when its input ends.
    fn drop(&mut self) {
        self.input = None;
        let start = Instant::now();
        while matches!(self.program.try_wait(), Ok(None)) && start.elapsed() < GOODBYE {
            std::thread::sleep(Duration::from_millis(10));
        }
        end(&mut self.program);
    }
}

/// Hands on what the program says until it says no more: its first word to `ready`, answers to those who wait.
fn listen(
    output: ChildStdout,
    waiting: &Mutex<Waiting>,
    ready: &Sender<Option<usize>>,
    complaints: &mut File,
) {
    let mut why = None;
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            // Who does not listen any more has no use for it.
            Ok(Message::Ready { cores }) => drop(ready.send(cores)),
            Ok(message @ (Message::Ended { id, .. } | Message::Lost { id, .. })) => {
                let receiver = lock(waiting).receivers.remove(&id);
                receiver.map(|receiver| receiver.send(message));
            }
            Ok(Message::Gone { why: said }) => why = Some(said),
            Err(error) => why = Some(format!("what speaks to the cluster says `{line}`: {error}")),
        }
        if why.is_some() {
            break;
        }
    }
    let mut said = String::new();
    let read = complaints.seek(SeekFrom::Start(0)).and_then(|_| complaints.read_to_string(&mut said));
    let last = read.ok().and_then(|_| said.lines().rev().find(|line| !line.trim().is_empty()));
    let ended = || format!("what speaks to the cluster ended: {}", last.unwrap_or("without a word"));
    let mut waiting = lock(waiting);
    waiting.gone = Some(why.unwrap_or_else(ended));
    // Without senders, those who wait are told.
    waiting.receivers.clear();
}

/// What is locked here is whole at any time, whoever panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
