//! Measuring on this machine, in this process.
//!
//! A run starts as it would within a model: the kernel's inputs are near, having just been made, its weights are not,
//! having been used an inference ago. All schedules take turns, so that whatever else the machine does meets each alike;
//! a schedule that is clearly slower than the best drops out early.

use std::time::{Duration, Instant};

use ir::Tensor;
use native::Library;
use targets::Target;

use crate::program::{NAME, Program};
use crate::trial::{Answer, Measured, TrialError, agree};

/// Turns before slow ones drop out, and the most there are.
const FEW: usize = 5;
const MOST: usize = 61;

/// By how much a schedule may be slower than the best to be measured further.
const SLOWER: f64 = 1.15;

/// What a trial's measuring takes, about.
const LONG: Duration = Duration::from_millis(400);

/// A loaded program and its memory.
struct Loaded {
    library: Library,
    inputs: Vec<Aligned>,
    outputs: Vec<Aligned>,
    arena: Aligned,
    samples: Vec<f64>,
}

/// Bytes that start at a multiple of [`codegen::ALIGN`].
struct Aligned {
    storage: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    fn zeros(len: usize) -> Aligned {
        let storage = vec![0; len + codegen::ALIGN];
        let start = storage.as_ptr().align_offset(codegen::ALIGN);
        Aligned { storage, start, len }
    }

    fn of(bytes: &[u8]) -> Aligned {
        let mut aligned = Aligned::zeros(bytes.len());
        aligned.bytes_mut().copy_from_slice(bytes);
        aligned
    }

    fn bytes(&self) -> &[u8] {
        &self.storage[self.start..self.start + self.len]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.start + self.len]
    }
}

impl Loaded {
    fn new(program: &Program) -> Result<Loaded, String> {
        Ok(Loaded {
            library: Library::load(&program.object.bytes).map_err(|error| error.to_string())?,
            inputs: program.inputs.iter().map(|tensor| Aligned::of(&tensor.data)).collect(),
            outputs: program.outputs.iter().map(|ty| Aligned::zeros(ty.bytes())).collect(),
            arena: Aligned::zeros(program.arena_bytes),
            samples: Vec::new(),
        })
    }

    /// One run and the nanoseconds that it takes.
    fn run(&mut self) -> Result<f64, String> {
        let inputs: Vec<*const u8> = self.inputs.iter().map(|input| input.bytes().as_ptr()).collect();
        let outputs: Vec<*mut u8> =
            self.outputs.iter_mut().map(|output| output.bytes_mut().as_mut_ptr()).collect();
        let arena = self.arena.bytes_mut().as_mut_ptr();
        let start = Instant::now();
        // SAFETY: the object is of this compiler, for a machine like this one (else it was asked for in vain, and ends
        // this process alone); every buffer has the size and alignment that the program was made for.
        let status = unsafe { self.library.run(NAME, &inputs, &outputs, arena) };
        let taken = start.elapsed();
        match status {
            Ok(0) => Ok(taken.as_nanos() as f64),
            Ok(status) => Err(format!("it returned {status}")),
            Err(error) => Err(error.to_string()),
        }
    }

    fn results(&self, program: &Program) -> Vec<Tensor> {
        let outputs = program.outputs.iter().zip(&self.outputs);
        outputs.map(|(ty, output)| Tensor::new(ty.clone(), output.bytes().to_vec())).collect()
    }

    fn measured(&self) -> Measured {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize];
        // The clock itself may say 0.
        let median = at(0.5).max(1.0);
        Measured { cost: median, spread: (at(0.75) - at(0.25)) / median }
    }
}

/// Costs in nanoseconds of the default and of those programs that were compiled.
pub(crate) fn measure(
    target: &Target,
    default: &Program,
    compiled: Vec<Result<Program, String>>,
) -> Result<Answer, TrialError> {
    pin();
    let mut others: Vec<Option<Loaded>> = Vec::new();
    let mut problems: Vec<String> = Vec::new();
    let mut first = Loaded::new(default).map_err(TrialError)?;
    first.run().map_err(TrialError)?;
    let wanted = first.results(default);
    for program in &compiled {
        let loaded = program.as_ref().map_err(Clone::clone).and_then(|program| {
            let mut loaded = Loaded::new(program)?;
            loaded.run()?;
            agree(&loaded.results(program), &wanted)?;
            Ok(loaded)
        });
        problems.push(loaded.as_ref().err().cloned().unwrap_or_default());
        others.push(loaded.ok());
    }
    let mut cold = Cold::new(target);
    let mut all: Vec<&mut Loaded> = std::iter::once(&mut first).chain(others.iter_mut().flatten()).collect();
    let start = Instant::now();
    let mut best = f64::INFINITY;
    for turn in 0..MOST {
        if turn > FEW && start.elapsed() > LONG {
            break;
        }
        for (place, loaded) in all.iter_mut().enumerate() {
            let slow = turn >= FEW && place > 0 && loaded.measured().cost > SLOWER * best;
            if !slow {
                cold.before(&loaded.inputs);
                let taken = loaded.run().map_err(TrialError)?;
                loaded.samples.push(taken);
            }
        }
        best = all.iter().map(|loaded| loaded.measured().cost).fold(f64::INFINITY, f64::min);
    }
    let schedules = others.iter().zip(problems);
    Ok(Answer {
        unit: "ns".to_owned(),
        measured: processor(),
        default: first.measured(),
        schedules: schedules
            .map(|(loaded, problem)| loaded.as_ref().map(Loaded::measured).ok_or(problem))
            .collect(),
    })
}

/// Puts the caches into the state that a kernel finds.
struct Cold {
    other: Vec<u8>,
    /// Keeps the reads from being left out.
    sum: u64,
}

impl Cold {
    fn new(target: &Target) -> Cold {
        // Twice what lies before the last, shared cache; no machine has so much as the most.
        const MOST: usize = 64 << 20;
        let bytes = target.caches.get(1).map_or(1 << 20, |cache| cache.bytes.min(MOST));
        Cold { other: vec![1; 2 * bytes], sum: 0 }
    }

    fn before(&mut self, inputs: &[Aligned]) {
        const LINE: usize = 64;
        let touch = |bytes: &[u8]| bytes.iter().step_by(LINE).map(|&byte| u64::from(byte)).sum::<u64>();
        self.sum = self.sum.wrapping_add(touch(&self.other));
        for input in inputs {
            self.sum = self.sum.wrapping_add(touch(input.bytes()));
        }
        std::hint::black_box(self.sum);
    }
}

/// Keeps this thread on the processor that it is on; where that is not allowed, it may be moved.
fn pin() {
    use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};
    let mut here = CpuSet::new();
    here.set(sched_getcpu());
    let _ = sched_setaffinity(None, &here);
}

/// What this machine calls its processor.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}
