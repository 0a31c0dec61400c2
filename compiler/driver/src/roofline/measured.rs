//! This machine's ceilings, by loops that do nothing else: multiply-adds in registers, reads of a buffer that fits
//! into each cache.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use codegen::{Call, Module, Place};
use loops::Nest;
use targets::Target;

use super::{Ceilings, Level};
use crate::compile::not_emitted;
use crate::diagnostic::Diagnostic;
use crate::execute::{Aligned, Loaded};
use crate::timing;

/// Of all loops together.
const BUDGET: Duration = Duration::from_millis(600);
const FLOAT_BYTES: usize = size_of::<f32>();
/// Accumulators of the reading loop, enough for additions that wait for each other.
const READERS: usize = 8;
/// Multiply-adds per accumulator, and bytes read, of one call: far more than what a call takes.
const MULTIPLY_ADDS: usize = 20_000;
const READ_BYTES: usize = 8 << 20;
/// Every byte of the buffer: as a float 0.747, whose powers and sums stay ordinary numbers.
const FILLING: u8 = 0x3f;

/// What as many cores of this machine, which `target` describes, as it has threads do at most together.
pub fn measure(target: &Target) -> Result<Ceilings, Diagnostic> {
    let threads = target.threads;
    let lanes = (target.vector.bits as usize / 32).max(1);
    // Two registers are for the operands, and some stay free.
    let accumulators = target.vector.registers.saturating_sub(4).clamp(4, 24);
    let levels = levels(target);
    let mut kernels = vec![multiply_adds(lanes, accumulators, MULTIPLY_ADDS, threads)?];
    for (k, (_, bytes)) in levels.iter().enumerate() {
        kernels.push(reads(k, lanes, *bytes, passes(*bytes), threads)?);
    }
    let bytes = levels
        .iter()
        .map(|(_, bytes)| threads * bytes)
        .max()
        .unwrap_or(0)
        .max(kernels[0].buffers[0].len * FLOAT_BYTES);
    let output = kernels.iter().map(|nest| nest.buffers[1].len * FLOAT_BYTES).max().unwrap_or(0);
    let arguments = vec![Place::Arena { offset: 0 }, Place::Output { index: 0, offset: 0 }];
    let module = Module {
        name: "ceilings".to_owned(),
        target,
        calls: (0..kernels.len()).map(|kernel| Call { kernel, arguments: arguments.clone() }).collect(),
        kernels,
        without_matrices: BTreeMap::new(),
        inputs: 0,
        outputs: 1,
        weights: vec![],
    };
    let object = codegen::emit_with_steps(&module).map_err(|error| not_emitted(&error))?;
    let mut buffer = Aligned::zeros(bytes);
    // Pages that nobody wrote to are all one page.
    buffer.bytes_mut().fill(FILLING);
    let mut loaded = Loaded::with_memory(
        &object.bytes,
        &module.name,
        threads,
        vec![],
        vec![Aligned::zeros(output)],
        buffer,
    )?;
    let entries =
        (0..module.calls.len()).map(|k| loaded.entry(&format!("step{k}"))).collect::<Result<Vec<_>, _>>()?;
    let times = timing::repeat(BUDGET, threads, entries.len(), |k| loaded.enter(entries[k]))?;
    let rate = |work: usize, k: usize| work as f64 / times[k].least.max(1e-9);
    let level = |(k, (size, bytes)): (usize, &(Option<usize>, usize))| Level {
        name: size.map_or("memory".to_owned(), |_| format!("L{}", k + 1)),
        bytes: *size,
        rate: rate(threads * bytes * passes(*bytes), k + 1),
    };
    Ok(Ceilings {
        cores: threads,
        flops: rate(2 * threads * MULTIPLY_ADDS * accumulators * lanes, 0),
        levels: levels.iter().enumerate().map(level).collect(),
    })
}

/// The size of each level, none of memory, and of a thread's buffer that lies in it and not in the one before. Threads
/// share the last of several caches, and memory.
fn levels(target: &Target) -> Vec<(Option<usize>, usize)> {
    const LEAST: usize = 64 << 20;
    const MOST: usize = 256 << 20;
    let whole = |bytes: usize| (bytes / 4096).max(1) * 4096;
    let (count, last) = (target.caches.len(), target.caches.last().map_or(0, |cache| cache.bytes));
    let sharing = |k: usize| if k > 0 && k + 1 == count { target.threads } else { 1 };
    let caches = target
        .caches
        .iter()
        .enumerate()
        .map(|(k, cache)| (Some(cache.bytes), whole(cache.bytes.min(MOST) / 2 / sharing(k))));
    caches.chain([(None, whole(last.saturating_mul(4).clamp(LEAST, MOST) / target.threads))]).collect()
}

/// How often a call of the reading loop goes through a buffer of `bytes`.
fn passes(bytes: usize) -> usize {
    READ_BYTES.div_ceil(bytes.max(1))
}

/// Independent multiply-adds of whole vectors, none of which waits for memory.
fn multiply_adds(
    lanes: usize,
    accumulators: usize,
    times: usize,
    threads: usize,
) -> Result<Nest, Diagnostic> {
    let ty = vector(lanes);
    let results = accumulators * lanes;
    let mut text = format!(
        "nest multiply_adds {{\n read x: f32[{}]\n write y: f32[{}]\n {} {{\n let r0: {ty} = {}\n let r1: {ty} = {}\n",
        (accumulators + 2) * lanes,
        threads * results,
        on_threads(threads),
        at("x", 0, lanes),
        at("x", lanes, lanes)
    );
    for k in 2..accumulators + 2 {
        let _ = writeln!(text, " let r{k}: {ty} = {}", at("x", k * lanes, lanes));
    }
    let _ = writeln!(text, " for i0 in 0..{times} {{");
    for k in 2..accumulators + 2 {
        let _ = writeln!(text, "  r{k} = fma(r{k}, r0, r1)");
    }
    text += " }\n";
    for k in 0..accumulators {
        let place = format!("i2 * {results} + {}", k * lanes);
        let _ = writeln!(text, " {} = r{}", at("y", place, lanes), k + 2);
    }
    parsed(&(text + " }\n}"))
}

/// Sums of all of a buffer, again and again, on each thread of another one.
fn reads(
    number: usize,
    lanes: usize,
    bytes: usize,
    passes: usize,
    threads: usize,
) -> Result<Nest, Diagnostic> {
    let ty = vector(lanes);
    let step = READERS * lanes;
    let floats = bytes / FLOAT_BYTES / step * step;
    let mut text = format!(
        "nest reads{number} {{\n read x: f32[{}]\n write y: f32[{}]\n {} {{\n",
        threads * floats,
        threads * step,
        on_threads(threads)
    );
    for k in 0..READERS {
        let place = format!("i2 * {floats} + {}", k * lanes);
        let _ = writeln!(text, " let r{k}: {ty} = {}", at("x", place, lanes));
    }
    let _ = writeln!(text, " for i0 in 0..{passes} {{\n  for i1 in 0..{floats} step {step} {{");
    for k in 0..READERS {
        let place = format!("i2 * {floats} + i1 + {}", k * lanes);
        let _ = writeln!(text, "   r{k} = r{k} + {}", at("x", place, lanes));
    }
    text += "  }\n }\n";
    for k in 0..READERS {
        let place = format!("i2 * {step} + {}", k * lanes);
        let _ = writeln!(text, " {} = r{k}", at("y", place, lanes));
    }
    parsed(&(text + " }\n}"))
}

/// The head of a loop of which each thread takes one iteration.
fn on_threads(threads: usize) -> String {
    format!("for i2 in 0..{threads}{}", if threads > 1 { " parallel" } else { "" })
}

fn vector(lanes: usize) -> String {
    if lanes == 1 { "f32".to_owned() } else { format!("f32x{lanes}") }
}

/// A whole vector of a buffer.
fn at(buffer: &str, place: impl std::fmt::Display, lanes: usize) -> String {
    if lanes == 1 { format!("{buffer}[{place}]") } else { format!("{buffer}[{place}; {lanes}]") }
}

fn parsed(text: &str) -> Result<Nest, Diagnostic> {
    loops::parse(text).map_err(|error| Diagnostic::bug(format!("a loop that measures this machine: {error}")))
}

#[cfg(test)]
mod tests {
    use ir::Tensor;

    use super::*;

    #[test]
    fn this_machine_has_ceilings() {
        for threads in [1, 2] {
            let target = Target { threads, ..Target::host().unwrap() };
            let Ceilings { cores, flops, levels } = measure(&target).unwrap();
            assert_eq!(cores, threads);
            assert!(flops.is_finite() && flops > 0.0);
            assert_eq!(levels.len(), target.caches.len() + 1);
            assert!(levels.iter().all(|level| level.rate.is_finite() && level.rate > 0.0), "{levels:?}");
            assert_eq!(levels.last().map(|level| (level.name.as_str(), level.bytes)), Some(("memory", None)));
        }
    }

    #[test]
    fn a_buffer_for_a_level_does_not_fit_into_the_one_before() {
        let target = Target::host().unwrap();
        for (cache, (_, bytes)) in target.caches.iter().zip(&levels(&target)[1..]) {
            assert!(*bytes > cache.bytes, "{bytes} fit into {cache:?}");
        }
    }

    fn run(nest: &Nest) -> Vec<f64> {
        let zeros = |buffer: &loops::Buffer| Tensor::from_slice([buffer.len], &vec![0f32; buffer.len]);
        let x: Vec<f32> = (0..nest.buffers[0].len).map(|k| k as f32 / 16.0).collect();
        let mut buffers = [Tensor::from_slice([x.len()], &x), zeros(&nest.buffers[1])];
        loops::interpret(nest, &mut buffers, &targets::instructions::Table).unwrap();
        buffers[1].to_f64s()
    }

    #[test]
    fn the_reading_loop_sums_all_of_its_buffer() {
        for (lanes, threads) in [(1, 1), (4, 1), (4, 3)] {
            let floats = 4 * READERS * lanes;
            let nest = reads(0, lanes, floats * FLOAT_BYTES, 2, threads).unwrap();
            let sum = |from: usize, count: usize| (from..from + count).map(|k| k as f64 / 16.0).sum::<f64>();
            // Two passes, on top of where the sums begin.
            let of_thread = |k: usize| 2.0 * sum(k * floats, floats) + sum(k * floats, READERS * lanes);
            assert_eq!(run(&nest).iter().sum::<f64>(), (0..threads).map(of_thread).sum::<f64>());
        }
    }

    #[test]
    fn the_other_loop_multiplies_and_adds_as_often_as_it_says() {
        // With factor 0 and summand 1/16, whatever went before.
        assert_eq!(run(&multiply_adds(1, 4, 3, 1).unwrap()), [1.0 / 16.0; 4]);
        // x[0..4] is 0 to 3/16, x[4..8] 4/16 to 7/16.
        let lane =
            |k: usize, start: f64| (0..3).fold(start, |r, _| r * (k as f64 / 16.0) + (k + 4) as f64 / 16.0);
        let expected: Vec<f64> = (0..16).map(|k| lane(k % 4, (k + 8) as f64 / 16.0)).collect();
        for threads in [1, 2] {
            let found = run(&multiply_adds(4, 4, 3, threads).unwrap());
            assert_eq!(found.len(), threads * expected.len());
            let pairs = || found.iter().zip(expected.iter().cycle());
            assert!(pairs().all(|(a, b)| (a - b).abs() < 1e-6), "{found:?} {expected:?}");
        }
    }
}
