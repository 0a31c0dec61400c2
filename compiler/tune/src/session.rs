//! Several searches at once: the kernels of a model, and what each may take of the whole.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use schedule::Workload;
use targets::Target;

use crate::engine::{Engine, Failure, Stop};
use crate::search::{Found, Search};
use crate::trial::Unit;

/// What all searches together may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// Until when, by this machine's clock.
    Until(Instant),
    /// Of 8 schedules each, for all tasks, those that are done before included.
    Trials(usize),
}

/// A workload to search for.
#[derive(Debug, Clone)]
pub struct Task<'a> {
    pub workload: &'a Workload,
    /// Its modelled share of the whole, in any unit.
    pub cost: f64,
    /// It has its share, and is not searched for.
    pub done: bool,
}

/// How a model is searched for.
pub struct Session<'a> {
    pub target: &'a Target,
    pub engine: &'a dyn Engine,
    /// Searches that are under way at once, each with one trial.
    pub workers: usize,
    pub seed: u64,
    pub budget: Budget,
    /// In which costs are wanted; `None`: what the engine measures by itself.
    pub unit: Option<Unit>,
    /// Asked for when the session ends before its time; whoever else asks ends the session.
    pub stop: Stop,
}

/// What happens to a task.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Begun,
    /// The schedules that were measured so far, and the best one's cost as a share of the default's.
    Tried(usize, f64),
    Ended(Result<Option<Box<Found>>, Failure>),
}

/// What the threads share: the next task to begin, and until when others will be busy.
struct Progress {
    next: usize,
    busy: Vec<Option<Instant>>,
}

impl Session<'_> {
    /// Searches for all tasks, beginning them in their order; each is told to have ended once, the done ones excepted.
    /// What is found for a task depends on no other, so that with [`Budget::Trials`] neither the number of workers nor
    /// the order in which answers come changes it.
    ///
    /// # Errors
    /// The first of `told`, after which no search goes on.
    pub fn run<E>(
        &self,
        tasks: &[Task],
        told: &mut dyn FnMut(usize, Event) -> Result<(), E>,
    ) -> Result<(), E> {
        let progress = Mutex::new(Progress { next: 0, busy: vec![None; tasks.len()] });
        std::thread::scope(|scope| {
            let (tell, events) = channel();
            for _ in 0..self.workers.clamp(1, tasks.len().max(1)) {
                let (tell, progress) = (tell.clone(), &progress);
                scope.spawn(move || self.work(tasks, progress, &tell));
            }
            drop(tell);
            let ended = events.iter().try_for_each(|(place, event)| told(place, event));
            if ended.is_err() {
                self.stop.ask();
            }
            ended
        })
    }

    /// Takes one task after the other. Events go to who may have left.
    fn work(&self, tasks: &[Task], progress: &Mutex<Progress>, tell: &Sender<(usize, Event)>) {
        while let Some((place, search)) = self.next(tasks, progress) {
            let _ = tell.send((place, Event::Begun));
            let tried = |tried, share| {
                let _ = tell.send((place, Event::Tried(tried, share)));
            };
            let found = search.run(tasks[place].workload, self.target, self.engine, &tried);
            lock(progress).busy[place] = None;
            let _ = tell.send((place, Event::Ended(found.map(|found| found.map(Box::new)))));
        }
    }

    fn next(&self, tasks: &[Task], progress: &Mutex<Progress>) -> Option<(usize, Search)> {
        let mut progress = lock(progress);
        let skipped = tasks.iter().skip(progress.next).take_while(|task| task.done).count();
        let place = progress.next + skipped;
        progress.next = place + 1;
        let task = tasks.get(place).filter(|_| !self.stop.is_asked())?;
        let (time, trials) = match self.budget {
            Budget::Trials(trials) => {
                let whole: f64 = tasks.iter().map(|task| task.cost).sum();
                (None, Some((trials as f64 * task.cost / whole).round() as usize))
            }
            Budget::Until(end) => {
                let open = tasks[place..].iter().filter(|task| !task.done);
                let share = task.cost / open.map(|task| task.cost).sum::<f64>();
                let now = Instant::now();
                let time = allotted(end, now, self.workers, progress.busy.iter().flatten(), share);
                progress.busy[place] = Some(now + time);
                (Some(time), None)
            }
        };
        Some((place, Search { seed: self.seed, time, trials, unit: self.unit }))
    }
}

/// A share of the time that is left to all workers together, less what those under way will take of it; no longer than
/// until the end.
fn allotted<'a>(
    end: Instant,
    now: Instant,
    workers: usize,
    busy: impl Iterator<Item = &'a Instant>,
    share: f64,
) -> Duration {
    let rest = end.saturating_duration_since(now);
    let taken: Duration = busy.map(|until| until.saturating_duration_since(now)).sum();
    let free = rest.as_secs_f64() * workers as f64 - taken.as_secs_f64();
    // No time where nothing is free, or nothing costs anything.
    Duration::try_from_secs_f64(free * share).unwrap_or_default().min(rest)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::hash::{DefaultHasher, Hash, Hasher};

    use schedule::Schedule;

    use super::*;
    use crate::trial::{Answer, Measured, Trial, TrialError};

    /// Takes its time, and answers what follows from the schedule alone.
    struct Fake<F: Fn(&Trial) -> Result<(), Failure> + Sync>(F);

    impl<F: Fn(&Trial) -> Result<(), Failure> + Sync> Engine for Fake<F> {
        fn run(&self, trial: &Trial) -> Result<Answer, Failure> {
            self.0(trial)?;
            let measured = |cost| Measured { cost, spread: 0.0 };
            let schedules = trial.schedules.iter().map(|schedule| Ok(measured(cost(schedule)))).collect();
            let (unit, measured_by) = ("instructions".to_owned(), "nothing".to_owned());
            Ok(Answer { unit, measured: measured_by, default: measured(150.0), schedules })
        }
    }

    fn cost(schedule: &Schedule) -> f64 {
        let mut hasher = DefaultHasher::new();
        schedule.hash(&mut hasher);
        100.0 + (hasher.finish() % 100) as f64
    }

    fn workloads() -> Vec<Workload> {
        let relu = |len: usize| {
            let text = format!(
                r#"{{"name": "relu", "stage": {{"dtype": "f32", "domain": [{len}], "reduction": [], "fold": null,
                    "body": {{"Binary": ["max", {{"Read": {{"source": {{"operand": 0}}, "index": [{{"Axis": 0}}]}}}},
                                               {{"Const": {{"dtype": "f32", "bits": 0}}}}]}}, "finish": null}},
                    "operands": [{{"source": {{"operand": 0}}, "dtype": "f32",
                                  "view": {{"offset": 0, "strides": [1]}}, "len": {len}, "constant": false}}],
                    "result": {{"view": {{"offset": 0, "strides": [1]}}, "len": {len}}}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        [1000, 700, 512, 96, 60].into_iter().map(relu).collect()
    }

    /// What became of each task by its place, and the order in which they ended.
    type Outcome = (BTreeMap<usize, Result<Option<Box<Found>>, Failure>>, Vec<usize>);

    fn run(engine: &dyn Engine, workers: usize, stop: &Stop) -> Outcome {
        let workloads = workloads();
        let task = |workload| Task { workload, cost: 1.0, done: false };
        let tasks: Vec<Task> = workloads.iter().map(task).collect();
        let target = Target::preset("cortex-a72").unwrap();
        let budget = Budget::Trials(20);
        let session =
            Session { target: &target, engine, workers, seed: 3, budget, unit: None, stop: stop.clone() };
        let (mut found, mut order) = (BTreeMap::new(), Vec::new());
        let ended = session.run(&tasks, &mut |place, event| match event {
            Event::Ended(Err(failure @ Failure::Gone(_))) => Err(failure),
            Event::Ended(result) => {
                assert!(found.insert(place, result).is_none(), "{place} ends once");
                order.push(place);
                Ok(())
            }
            Event::Begun | Event::Tried(..) => Ok(()),
        });
        if let Err(failure) = ended {
            found.insert(usize::MAX, Err(failure));
        }
        (found, order)
    }

    /// The first task is the slowest: with several workers it ends after those that began later.
    fn slow_first(trial: &Trial) -> Result<(), Failure> {
        let first = trial.workload.result.len == 1000;
        std::thread::sleep(Duration::from_millis(if first { 40 } else { 1 }));
        Ok(())
    }

    #[test]
    fn what_is_found_does_not_depend_on_the_number_of_workers() {
        let (one, in_order) = run(&Fake(slow_first), 1, &Stop::default());
        let (three, others_first) = run(&Fake(slow_first), 3, &Stop::default());
        assert_eq!(in_order, [0, 1, 2, 3, 4]);
        assert_eq!(others_first.last(), Some(&0), "{others_first:?}");
        assert_eq!(one, three);
        assert!(one.values().all(|found| matches!(found, Ok(Some(found)) if found.tried > 8)), "{one:#?}");
    }

    #[test]
    fn what_gets_lost_costs_its_task_alone_and_what_fails_only_its_schedule() {
        let losing = |trial: &Trial| match trial.workload.result.len {
            512 => Err(Failure::Lost("the machine is off".to_owned())),
            _ => Ok(()),
        };
        let (found, _) = run(&Fake(losing), 2, &Stop::default());
        assert_eq!(found[&2], Err(Failure::Lost("the machine is off".to_owned())));
        assert!([0, 1, 3, 4].iter().all(|place| matches!(found[place], Ok(Some(_)))), "{found:#?}");

        let bad = |schedule: &Schedule| cost(schedule) < 120.0;
        let failing = |trial: &Trial| match trial.schedules.iter().any(bad) {
            true => Err(Failure::Trial(TrialError("it crashed".to_owned()))),
            false => Ok(()),
        };
        let (found, _) = run(&Fake(failing), 2, &Stop::default());
        let best = found.values().map(|found| found.as_ref().unwrap().as_ref().unwrap().cost.best);
        assert!(
            best.clone().all(|best| best >= 120.0) && best.clone().any(|best| best < 150.0),
            "{found:#?}"
        );
    }

    /// An engine that is gone, or a user that stops, ends what is under way, and nothing begins after it.
    #[test]
    fn a_session_ends_before_its_time() {
        let stop = Stop::default();
        let waits_for_ever = |trial: &Trial| match trial.workload.result.len {
            700 => Err(Failure::Gone("no cluster".to_owned())),
            _ => {
                while !stop.is_asked() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(Failure::Stopped)
            }
        };
        let (found, _) = run(&Fake(waits_for_ever), 2, &stop);
        assert_eq!(found[&usize::MAX], Err(Failure::Gone("no cluster".to_owned())));
        let (found, _) = run(&Fake(slow_first), 2, &stop);
        assert_eq!(found.len(), 0);
    }

    #[test]
    fn time_is_shared_out_to_all_workers() {
        let now = Instant::now();
        let (end, second) = (now + Duration::from_secs(100), Duration::from_secs(1));
        let busy = [now + 60 * second, now + 40 * second];
        assert_eq!(allotted(end, now, 3, [].iter(), 0.1), 30 * second);
        assert_eq!(allotted(end, now, 3, busy.iter(), 0.1), 20 * second);
        assert_eq!(allotted(end, now, 3, busy.iter(), 1.0), 100 * second, "no longer than all");
        assert_eq!(allotted(now, now, 3, busy.iter(), 1.0), Duration::ZERO);
    }
}
