//! Times of repeated runs.

use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, Timespec, clock_gettime};
use serde::Serialize;

use crate::diagnostic::Diagnostic;

/// Keeps this thread on the last core that it may use, the one least used by whatever takes the first; gives its
/// number, or nothing where the system does not let it.
pub fn pin_to_core() -> Option<usize> {
    let allowed = sched_getaffinity(None).ok()?;
    let last = (0..CpuSet::MAX_CPU).rev().find(|&core| allowed.is_set(core))?;
    let mut one = CpuSet::new();
    one.set(last);
    sched_setaffinity(None, &one).ok()?;
    Some(last)
}

/// How long something took, over many runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Times {
    pub runs: usize,
    /// In seconds.
    pub median: f64,
    /// In seconds: 99 of 100 runs took no longer.
    pub p99: f64,
    /// In seconds.
    pub least: f64,
}

impl Times {
    /// Of at least one time.
    fn of(mut nanoseconds: Vec<u64>) -> Times {
        nanoseconds.sort_unstable();
        let seconds = |index: usize| nanoseconds.get(index).map_or(0.0, |&time| time as f64 * 1e-9);
        let count = nanoseconds.len();
        let median = (seconds(count.saturating_sub(1) / 2) + seconds(count / 2)) / 2.0;
        // The nearest rank.
        let p99 = seconds((count * 99).div_ceil(100).saturating_sub(1));
        Times { runs: count, median, p99, least: seconds(0) }
    }
}

/// Runs no fewer, however long they take.
const FEWEST: usize = 3;
/// Times kept at most, of all steps together.
const MOST_TIMES: usize = 4_000_000;

/// Steps that take longer are timed by the processor time of this thread, in which others that share the core do not
/// count; asking for it takes most of a microsecond, so that shorter ones, which are rarely interrupted, go by the
/// clock on the wall.
const LONG: u64 = 100_000;

/// In nanoseconds since some moment.
fn now(clock: ClockId) -> u64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    tv_sec as u64 * 1_000_000_000 + tv_nsec as u64
}

/// What `run` takes, in nanoseconds.
fn time<E>(clock: ClockId, run: impl FnOnce() -> Result<(), E>) -> Result<u64, E> {
    let before = now(clock);
    run()?;
    Ok(now(clock).saturating_sub(before))
}

/// What looking at the clock twice adds to a time.
fn overhead(clock: ClockId) -> u64 {
    let nothing = |_| time(clock, || Ok::<(), ()>(())).unwrap_or_default();
    (0..100).map(nothing).min().unwrap_or_default()
}

/// Runs steps `0..steps` one after the other, again and again for about `budget`, and gives the times of each. A tenth
/// of the budget is spent before, and not counted: caches, predictors and the clock settle. On several `threads` all goes
/// by the clock on the wall.
pub fn repeat(
    budget: Duration,
    threads: usize,
    steps: usize,
    mut run: impl FnMut(usize) -> Result<(), Diagnostic>,
) -> Result<Vec<Times>, Diagnostic> {
    let mut least = vec![u64::MAX; steps];
    let started = Instant::now();
    loop {
        for (step, least) in least.iter_mut().enumerate() {
            *least = time(ClockId::Monotonic, || run(step))?.min(*least);
        }
        if started.elapsed() >= budget / 10 {
            break;
        }
    }
    let clock =
        |least| if threads == 1 && least > LONG { ClockId::ThreadCPUTime } else { ClockId::Monotonic };
    let clocks: Vec<(ClockId, u64)> =
        least.into_iter().map(clock).map(|clock| (clock, overhead(clock))).collect();
    let mut times: Vec<Vec<u64>> = vec![Vec::new(); steps];
    let started = Instant::now();
    let mut rounds = 0;
    while rounds < FEWEST || (started.elapsed() < budget && rounds * steps.max(1) < MOST_TIMES) {
        for (step, (clock, overhead)) in clocks.iter().enumerate() {
            // The clock may not tell a very short step from nothing.
            times[step].push(time(*clock, || run(step))?.saturating_sub(*overhead).max(1));
        }
        rounds += 1;
    }
    Ok(times.into_iter().map(Times::of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_99th_percentile() {
        let times = Times::of((1..=200).rev().map(|k| k * 1_000_000_000).collect());
        assert_eq!(times, Times { runs: 200, median: 100.5, p99: 198.0, least: 1.0 });
        let odd = Times::of(vec![3_000_000_000, 1_000_000_000, 2_000_000_000]);
        assert_eq!((odd.median, odd.p99), (2.0, 3.0));
        assert_eq!(Times::of(vec![5_000_000_000]), Times { runs: 1, median: 5.0, p99: 5.0, least: 5.0 });
    }

    #[test]
    fn every_step_runs_as_often_as_the_others_and_at_least_a_few_times() {
        let mut calls = Vec::new();
        let times = repeat(Duration::ZERO, 1, 2, |step| {
            calls.push(step);
            Ok(())
        });
        assert_eq!(times.unwrap().iter().map(|times| times.runs).collect::<Vec<_>>(), [FEWEST, FEWEST]);
        // And once to warm up.
        assert_eq!(calls, [0, 1].repeat(FEWEST + 1));
    }

    #[test]
    fn what_fails_ends_the_runs() {
        let failed = repeat(Duration::from_secs(60), 1, 1, |_| Err(Diagnostic::bug("no")));
        assert_eq!(failed, Err(Diagnostic::bug("no")));
    }
}
