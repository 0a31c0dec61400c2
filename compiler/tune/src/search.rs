//! Evolutionary search over the schedules of one workload: many points are modelled, few are measured, and what they take
//! corrects the model.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use fastrand::Rng;
use schedule::{Cost, Schedule, Space, Workload};
use sha2::{Digest, Sha256};
use targets::Target;

use crate::correction::Correction;
use crate::engine::{Engine, Failure};
use crate::trial::{Answer, Machine, Trial, Unit};

/// Points that are modelled in one round, and those of them that one trial measures: the best by the model, and some of
/// the others, about which the model may be wrong.
const MODELLED: usize = 256;
const PROMISING: usize = 5;
const OTHERS: usize = 3;

/// Of the measured points those that have offspring.
const PARENTS: usize = 8;

/// Rounds without a gain after which nothing more is expected.
const PATIENCE: usize = 5;

/// A gain that is no noise.
const GAIN: f64 = 0.99;

/// Schedules of the last trial.
const FINALISTS: usize = 3;

/// By how much, in the last trial, a schedule must be better than the default where time is measured.
const CERTAIN: f64 = 0.98;

/// What a search may take: time, trials, or both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Search {
    pub seed: u64,
    pub time: Option<Duration>,
    /// Of [`PROMISING`]` + `[`OTHERS`] schedules each.
    pub trials: Option<usize>,
    /// In which costs are wanted; `None`: what the runner measures by itself.
    pub unit: Option<Unit>,
}

/// What was found for a workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub schedule: Schedule,
    pub cost: Cost,
    pub measured: String,
    /// Schedules that were measured.
    pub tried: usize,
}

impl Search {
    /// The best schedule that is found for `workload`: never one that is measured to be worse than the default. `None`
    /// where nothing was tried: there is no time, or nothing but the default.
    ///
    /// The same seed and number of trials give the same where measuring does. `progress` is told the number of schedules
    /// that were measured, and the best cost as a share of the default's. Trials follow one another, each chosen by what
    /// those before it gave.
    ///
    /// # Errors
    /// The default schedule can't be measured, or an answer is missing without which the search would go on otherwise.
    pub fn run(
        &self,
        workload: &Workload,
        target: &Target,
        engine: &dyn Engine,
        progress: &dyn Fn(usize, f64),
    ) -> Result<Option<Found>, Failure> {
        let space = Space::new(workload, target);
        let start = Instant::now();
        let mut random = Rng::with_seed(self.seed_of(&workload.key()));
        let trial = |schedules: Vec<Schedule>| {
            let (workload, threads) = (workload.clone(), target.threads);
            let target = Machine::Description(Box::new(target.clone()));
            engine.run(&Trial { workload, target, unit: self.unit, threads, schedules })
        };
        let mut seen: HashSet<Schedule> = HashSet::from([space.default_schedule().clone()]);
        // Schedules by their cost as a share of the default's, the best first.
        let mut known: Vec<(f64, Schedule)> = vec![(1.0, space.default_schedule().clone())];
        let default_estimate = space.estimate(space.default_schedule());
        let modelled = |schedule: &Schedule| (space.estimate(schedule) / default_estimate).ln();
        let mut correction = Correction::default();
        correction.note(space.features(space.default_schedule()), 0.0);
        let (mut tried, mut rounds, mut stalled) = (0, 0, 0);
        let ended = |rounds: usize| {
            self.time.is_some_and(|time| start.elapsed() >= time)
                || self.trials.is_some_and(|trials| rounds >= trials)
        };
        while space.is_open() && !ended(rounds) && stalled < PATIENCE {
            rounds += 1;
            let cost = |schedule: &Schedule| modelled(schedule) + correction.of(space.features(schedule));
            let chosen = chosen(&space, &cost, &known, &mut seen, &mut random);
            if chosen.is_empty() {
                break;
            }
            let best = known[0].0;
            let answers = match trial(chosen.clone()) {
                Ok(answer) => shares(chosen, &answer),
                Err(error @ (Failure::Gone(_) | Failure::Stopped)) => return Err(error),
                Err(error) => {
                    if rounds == 1 {
                        trial(vec![]).map_err(|_| error)?;
                    }
                    one_by_one(chosen, &trial)?
                }
            };
            tried += answers.len();
            for (schedule, share) in answers {
                let Some(share) = share else { continue };
                correction.note(space.features(&schedule), share.ln() - modelled(&schedule));
                known.push((share, schedule));
            }
            correction.learn();
            known.sort_by(|(a, _), (b, _)| a.total_cmp(b));
            stalled = if known[0].0 < GAIN * best { 0 } else { stalled + 1 };
            progress(tried, known[0].0);
        }
        // The best few side by side once more: what was lucky before is not again.
        if tried == 0 {
            return Ok(None);
        }
        let finalists: Vec<Schedule> = known
            .into_iter()
            .map(|(_, schedule)| schedule)
            .take(FINALISTS)
            .filter(|schedule| schedule != space.default_schedule())
            .collect();
        let answer = trial(finalists.clone())?;
        let needed = if answer.unit == "ns" { CERTAIN } else { 1.0 };
        let of_default = answer.default.cost;
        let better = finalists.into_iter().zip(&answer.schedules).filter_map(|(schedule, measured)| {
            let cost = measured.as_ref().ok()?.cost;
            (cost < needed * of_default).then_some((cost, schedule))
        });
        let (best, schedule) = better
            .min_by(|(a, _), (b, _)| a.total_cmp(b))
            .unwrap_or_else(|| (of_default, space.default_schedule().clone()));
        let cost = Cost { unit: answer.unit, default: of_default, best };
        Ok(Some(Found { schedule, cost, measured: answer.measured, tried }))
    }

    /// Each workload has random numbers of its own, whatever was tuned before it.
    fn seed_of(&self, key: &str) -> u64 {
        let digest = Sha256::digest(format!("{} {key}", self.seed).as_bytes());
        digest.iter().take(8).fold(0, |seed, &byte| seed << 8 | u64::from(byte))
    }
}

/// The schedules of the next trial, by what they are expected to cost.
fn chosen(
    space: &Space,
    cost: &dyn Fn(&Schedule) -> f64,
    known: &[(f64, Schedule)],
    seen: &mut HashSet<Schedule>,
    random: &mut Rng,
) -> Vec<Schedule> {
    let parents = &known[..known.len().min(PARENTS)];
    let mut points: Vec<(f64, Schedule)> = Vec::new();
    let mut drawn: HashSet<Schedule> = HashSet::new();
    for _ in 0..MODELLED {
        let parent = |random: &mut Rng| &parents[random.usize(..parents.len())].1;
        let point = match random.u8(..4) {
            0 => space.sample(random),
            1 if parents.len() > 1 => {
                let (a, b) = (parent(random), parent(random));
                space.cross(a, b, random)
            }
            _ => {
                let a = parent(random);
                space.mutate(a, random)
            }
        };
        if !seen.contains(&point) && drawn.insert(point.clone()) {
            points.push((cost(&point), point));
        }
    }
    // Of equals the one that was drawn first.
    points.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let mut chosen: Vec<Schedule> = Vec::new();
    while chosen.len() < PROMISING && !points.is_empty() {
        chosen.push(points.remove(0).1);
    }
    while chosen.len() < PROMISING + OTHERS && !points.is_empty() {
        chosen.push(points.remove(random.usize(..points.len())).1);
    }
    seen.extend(chosen.iter().cloned());
    chosen
}

/// A schedule that ends its process takes the others of its trial along: they are asked one by one.
fn one_by_one(
    schedules: Vec<Schedule>,
    trial: &dyn Fn(Vec<Schedule>) -> Result<Answer, Failure>,
) -> Result<Vec<(Schedule, Option<f64>)>, Failure> {
    let mut answers = Vec::new();
    for one in schedules {
        match trial(vec![one.clone()]) {
            Ok(answer) => answers.extend(shares(vec![one], &answer)),
            Err(Failure::Trial(_)) => answers.push((one, None)),
            Err(error) => return Err(error),
        }
    }
    Ok(answers)
}

/// Costs as shares of the default's in the same trial.
fn shares(schedules: Vec<Schedule>, answer: &Answer) -> Vec<(Schedule, Option<f64>)> {
    let share = |measured: &Result<crate::trial::Measured, String>| {
        measured.as_ref().ok().map(|measured| measured.cost / answer.default.cost)
    };
    schedules.into_iter().zip(answer.schedules.iter().map(share)).collect()
}
