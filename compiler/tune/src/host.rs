//! Measuring on this machine, in this process.
//!
//! A run starts as it would within a model: the kernel's inputs are near, having just been made, its weights are not,
//! having been used an inference ago. All schedules take turns, each turn beginning with another one, so that whatever else
//! the machine does meets each alike; a schedule that is clearly slower than the best drops out early. All use the same memory, and its place changes from
//! turn to turn: which lines of two buffers want the same place of a cache must not decide between schedules.

use std::time::{Duration, Instant};

use ir::Tensor;
use native::{Entry, Library, Pool, Threads};
use targets::Target;

use crate::program::{NAME, Program};
use crate::trial::{Answer, Measured, TrialError, agree};

/// Turns before slow ones drop out, one at each place of the memory, and the most there are.
const FEW: usize = PLACES;
const MOST: usize = 60;

/// By how much a schedule may be slower than the best to be measured further.
const SLOWER: f64 = 1.15;

/// What a trial's measuring takes, about.
const LONG: Duration = Duration::from_millis(400);

/// Places that the memory takes in turn.
const PLACES: usize = 5;

/// Bytes of a cache line, in which places differ, and of what a first cache's line is found by.
const LINE: usize = 64;
const PAGE: usize = 4096;
const _: () = assert!(LINE.is_multiple_of(codegen::ALIGN));

/// A loaded program.
struct Loaded {
    // What `run` is a part of.
    _library: Library,
    run: Entry,
    samples: Vec<f64>,
}

/// Memory that every program of a trial can run in, and the threads that they may use.
struct Memory {
    hook: Threads,
    inputs: Vec<Aligned>,
    outputs: Vec<Aligned>,
    arena: Aligned,
}

/// Bytes that start at a multiple of [`codegen::ALIGN`].
struct Aligned {
    storage: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    /// `line` of a page is its first.
    fn zeros(len: usize, line: usize) -> Aligned {
        let storage = vec![0; len + 2 * PAGE];
        let start = storage.as_ptr().align_offset(PAGE) + line * LINE % PAGE;
        Aligned { storage, start, len }
    }

    fn of(bytes: &[u8], line: usize) -> Aligned {
        let mut aligned = Aligned::zeros(bytes.len(), line);
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

impl Memory {
    /// Programs of one workload differ in their arenas alone. `place` is a number below [`PLACES`].
    fn new<'p>(programs: impl Iterator<Item = &'p Program> + Clone, place: usize, hook: Threads) -> Memory {
        // Primes, so that the distances between two buffers differ from place to place.
        let mut lines = (1..).map(|buffer: usize| place * 13 * buffer + 19 * buffer);
        let mut line = || lines.next().unwrap_or_default();
        let mut memory = Memory { hook, inputs: vec![], outputs: vec![], arena: Aligned::zeros(0, 0) };
        if let Some(program) = programs.clone().next() {
            memory.inputs.extend(program.inputs.iter().map(|tensor| Aligned::of(&tensor.data, line())));
            memory.outputs.extend(program.outputs.iter().map(|ty| Aligned::zeros(ty.bytes(), line())));
        }
        let arena_bytes = programs.map(|program| program.arena_bytes).max().unwrap_or(0);
        memory.arena = Aligned::zeros(arena_bytes, line());
        memory
    }

    fn results(&self, program: &Program) -> Vec<Tensor> {
        let outputs = program.outputs.iter().zip(&self.outputs);
        outputs.map(|(ty, output)| Tensor::new(ty.clone(), output.bytes().to_vec())).collect()
    }
}

impl Loaded {
    fn new(program: &Program) -> Result<Loaded, String> {
        let library = Library::load(&program.object.bytes).map_err(|error| error.to_string())?;
        // SAFETY: objects of this compiler have these functions of these types, and the library is kept beside them.
        let run =
            unsafe { library.entry(&format!("{NAME}_run"), true) }.map_err(|error| error.to_string())?;
        Ok(Loaded { _library: library, run, samples: Vec::new() })
    }

    /// One run in memory that was made for this program among others, and the nanoseconds that it takes.
    fn run(&self, memory: &mut Memory) -> Result<f64, String> {
        let inputs: Vec<*const u8> = memory.inputs.iter().map(|input| input.bytes().as_ptr()).collect();
        let outputs: Vec<*mut u8> =
            memory.outputs.iter_mut().map(|output| output.bytes_mut().as_mut_ptr()).collect();
        let arena = memory.arena.bytes_mut().as_mut_ptr();
        let (inputs, outputs) = (inputs.as_ptr(), outputs.as_ptr());
        let start = Instant::now();
        // SAFETY: the object is of this compiler, for a machine like this one (else it was asked for in vain, and ends
        // this process alone); every buffer has the size and alignment that the program was made for, and the pool is
        // kept by whoever has the memory.
        let status = unsafe { self.run.enter(inputs, outputs, arena, Some(&memory.hook)) };
        let taken = start.elapsed();
        if status == 0 { Ok(taken.as_nanos() as f64) } else { Err(format!("it returned {status}")) }
    }

    /// What it computes, having nothing left of another program's results.
    fn results(&self, program: &Program, memory: &mut Memory) -> Result<Vec<Tensor>, String> {
        for output in &mut memory.outputs {
            output.bytes_mut().fill(0);
        }
        self.run(memory)?;
        Ok(memory.results(program))
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
    // Threads are where the system puts them, one stays where it is.
    if target.threads == 1 {
        pin();
    }
    let started = Pool::start(target.threads);
    let mut pool =
        started.map_err(|error| TrialError(format!("starting {} threads: {error}", target.threads)))?;
    let hook = pool.hook();
    let mut others: Vec<Option<Loaded>> = Vec::new();
    let mut problems: Vec<String> = Vec::new();
    let programs = std::iter::once(default).chain(compiled.iter().flatten());
    let mut memories: Vec<Memory> =
        (0..PLACES).map(|place| Memory::new(programs.clone(), place, hook)).collect();
    let mut first = Loaded::new(default).map_err(TrialError)?;
    let wanted = first.results(default, &mut memories[0]).map_err(TrialError)?;
    for program in &compiled {
        let loaded = program.as_ref().map_err(Clone::clone).and_then(|program| {
            let loaded = Loaded::new(program)?;
            agree(&loaded.results(program, &mut memories[0])?, &wanted)?;
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
        let memory = &mut memories[turn % PLACES];
        // Whoever comes first would find the results' place as it was left turns ago.
        all[0].run(memory).map_err(TrialError)?;
        let count = all.len();
        for number in (0..count).map(|k| (turn + k) % count) {
            let loaded = &mut *all[number];
            let slow = turn >= FEW && number > 0 && loaded.measured().cost > SLOWER * best;
            if !slow {
                cold.before(&memory.inputs);
                let taken = loaded.run(memory).map_err(TrialError)?;
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
