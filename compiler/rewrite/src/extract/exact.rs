//! The best solution of a part, and how it is known to be.

use super::problem::{Problem, Solution};
use super::solver;

/// How the solution of a part was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// Each class had one choice left.
    Forced,
    /// All solutions were gone through that could have been better.
    Enumerated,
    /// As an integer linear program.
    Solver,
    /// Greedily: it was too large for the solver, or took it too many programs to prove what is best.
    Greedy,
}

/// A part of the problem that was solved on its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    pub classes: usize,
    pub choices: usize,
    pub way: Way,
    pub cost: f64,
    /// What no solution goes below: the cost itself, where it is proved to be the least.
    pub lower_bound: f64,
}

impl Part {
    pub fn is_optimal(&self) -> bool {
        self.lower_bound >= self.cost
    }
}

/// How far exact solutions are looked for. Counts, never time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Partial solutions looked at before a part is no longer one to enumerate.
    pub enumerated: usize,
    /// Choices of a part that is given to the solver.
    pub largest: usize,
    /// Linear programs solved for one part, times its choices.
    pub work: usize,
}

impl Default for Effort {
    fn default() -> Effort {
        Effort { enumerated: 2_000, largest: 600, work: 20_000 }
    }
}

impl Problem {
    /// The best solution, or a good one of which it is known how good; `None` if there is none.
    pub fn solve(&self, effort: &Effort) -> Option<(Solution, Part)> {
        let part = |way, cost, lower_bound| Part {
            classes: self.classes.len(),
            choices: self.choices(),
            way,
            cost,
            lower_bound,
        };
        if self.classes.iter().all(|choices| choices.len() == 1) {
            let solution = vec![Some(0); self.classes.len()];
            let cost = self.total(&solution)?;
            return Some((solution, part(Way::Forced, cost, cost)));
        }
        let greedy = self.greedy()?;
        let greedy_cost = self.total(&greedy)?;
        if let Some((solution, cost)) = self.enumerate(&greedy, greedy_cost, effort.enumerated) {
            return Some((solution, part(Way::Enumerated, cost, cost)));
        }
        if self.choices() > effort.largest {
            return Some((greedy, part(Way::Greedy, greedy_cost, self.cheapest_always())));
        }
        let solved = solver::solve(self, greedy_cost, effort.work / self.choices());
        let better = solved.solution.and_then(|solution| Some((self.total(&solution)?, solution)));
        let (cost, solution) = better.unwrap_or((greedy_cost, greedy));
        Some(match solved.lower_bound {
            None => (solution, part(Way::Solver, cost, cost)),
            Some(bound) => (solution, part(Way::Greedy, cost, bound.max(self.cheapest_always()).min(cost))),
        })
    }

    /// What the classes cost that every solution computes, each the cheapest way.
    fn cheapest_always(&self) -> f64 {
        let cheapest =
            |class: usize| self.classes[class].iter().map(|choice| choice.cost).fold(f64::INFINITY, f64::min);
        self.always().into_iter().map(cheapest).sum()
    }

    /// The best solution by branch and bound from a good one; `None` if that takes more than `steps`.
    fn enumerate(&self, known: &Solution, cost: f64, steps: usize) -> Option<(Solution, f64)> {
        let mut search = Search {
            problem: self,
            cheapest: self
                .classes
                .iter()
                .map(|choices| choices.iter().map(|choice| choice.cost).fold(f64::INFINITY, f64::min))
                .collect(),
            taken: vec![None; self.classes.len()],
            best: (known.clone(), cost),
            steps,
        };
        let open = self.roots.iter().map(|&root| search.cheapest[root]).sum();
        search.descend(&mut self.roots.clone(), 0.0, open).then_some(search.best)
    }
}

struct Search<'a> {
    problem: &'a Problem,
    /// Of the choices of each class.
    cheapest: Vec<f64>,
    taken: Solution,
    best: (Solution, f64),
    steps: usize,
}

impl Search<'_> {
    /// Goes through the choices of the last open class. `paid` is what was taken so far, `bound` what the open classes
    /// cost at least. Returns whether there were steps enough.
    fn descend(&mut self, open: &mut Vec<usize>, paid: f64, bound: f64) -> bool {
        // A better one must be better by more than rounding.
        if paid + bound >= self.best.1 * (1.0 - 1e-12) {
            return true;
        }
        let Some(class) = open.pop() else {
            if let Some(cost) = self.problem.total(&self.taken).filter(|cost| *cost < self.best.1) {
                self.best = (self.taken.clone(), cost);
            }
            return true;
        };
        let problem = self.problem;
        let mut enough = true;
        for (number, choice) in problem.classes[class].iter().enumerate() {
            match self.steps.checked_sub(1) {
                Some(left) => self.steps = left,
                None => enough = false,
            }
            if !enough {
                break;
            }
            self.taken[class] = Some(number);
            let held = open.len();
            let missing = |need: &usize| self.taken[*need].is_none() && !open.contains(need);
            let new: Vec<usize> = choice.needs.iter().copied().filter(missing).collect();
            let more: f64 = new.iter().map(|&need| self.cheapest[need]).sum();
            open.extend(new);
            enough = self.descend(open, paid + choice.cost, bound - self.cheapest[class] + more);
            open.truncate(held);
        }
        self.taken[class] = None;
        open.push(class);
        enough
    }
}
