//! A good solution, quickly: each class takes what is cheapest below it, then single changes that pay are made.

use std::collections::{BTreeMap, VecDeque};

use fixedbitset::FixedBitSet;

use super::problem::{Problem, Solution};

impl Problem {
    /// A solution without a promise of how good it is; `None` if a root has no finite form.
    pub fn greedy(&self) -> Option<Solution> {
        let mut solution = self.cheapest_below();
        let mut cost = self.total(&solution)?;
        loop {
            let before = cost;
            self.change_choices(&mut solution, &mut cost);
            self.share_classes(&mut solution, &mut cost);
            if cost >= before {
                return Some(solution);
            }
        }
    }

    /// For each class the choice with the cheapest set of choices below it, as far as the sets found for its operands
    /// go.
    fn cheapest_below(&self) -> Solution {
        let numbers = Numbers::of(self);
        let users = self.users();
        let mut best: Vec<Option<Below>> = self.classes.iter().map(|_| None).collect();
        let mut solution = vec![None; self.classes.len()];
        let mut waiting: VecDeque<usize> = (0..self.classes.len()).collect();
        let mut is_waiting = vec![true; self.classes.len()];
        while let Some(class) = waiting.pop_front() {
            is_waiting[class] = false;
            let mut improved = false;
            for number in 0..self.classes[class].len() {
                let known = best[class].as_ref().map_or(f64::INFINITY, |below| below.cost);
                if let Some(below) =
                    self.below(class, number, &best, &numbers).filter(|below| below.cost < known)
                {
                    best[class] = Some(below);
                    solution[class] = Some(number);
                    improved = true;
                }
            }
            for &user in users[class].iter().filter(|_| improved) {
                if !std::mem::replace(&mut is_waiting[user], true) {
                    waiting.push_back(user);
                }
            }
        }
        solution
    }

    /// A choice and what it needs; `None` where that is not known yet or goes round in a circle.
    fn below(&self, class: usize, number: usize, best: &[Option<Below>], numbers: &Numbers) -> Option<Below> {
        let mut set = FixedBitSet::with_capacity(numbers.costs.len());
        for &need in &self.classes[class][number].needs {
            set.union_with(&best[need].as_ref()?.set);
        }
        if set.contains_any_in_range(numbers.first[class]..numbers.first[class + 1]) {
            return None;
        }
        set.insert(numbers.first[class] + number);
        let cost = set.ones().map(|choice| numbers.costs[choice]).sum();
        Some(Below { set, cost })
    }

    fn change_choices(&self, solution: &mut Solution, cost: &mut f64) {
        for class in self.order(solution).unwrap_or_default() {
            for choice in 0..self.classes[class].len() {
                if Some(choice) != solution[class] {
                    self.try_changes(solution, cost, &[(class, choice)]);
                }
            }
        }
    }

    /// Where several classes that are needed could all use one class, lets them do so: what was computed inside each
    /// of them (a convolution under two epilogues) is then computed once.
    fn share_classes(&self, solution: &mut Solution, cost: &mut f64) {
        let mut sharers: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
        for class in self.order(solution).unwrap_or_default() {
            for (number, choice) in self.classes[class].iter().enumerate() {
                for &need in &choice.needs {
                    let changes = sharers.entry(need).or_default();
                    if changes.last().is_none_or(|(last, _)| *last != class) {
                        changes.push((class, number));
                    }
                }
            }
        }
        for changes in sharers.values().filter(|changes| changes.len() > 1) {
            self.try_changes(solution, cost, changes);
        }
    }

    fn try_changes(&self, solution: &mut Solution, cost: &mut f64, changes: &[(usize, usize)]) {
        let before: Vec<(usize, Option<usize>)> =
            changes.iter().map(|&(class, _)| (class, solution[class])).collect();
        changes.iter().for_each(|&(class, choice)| solution[class] = Some(choice));
        match self.total(solution) {
            // A change must be worth more than rounding.
            Some(changed) if changed < *cost * (1.0 - 1e-12) => *cost = changed,
            _ => before.into_iter().for_each(|(class, choice)| solution[class] = choice),
        }
    }
}

/// The choices that make a class, and their cost. Each set is a solution of its own: where two of them are joined that
/// choose differently for a class, it counts twice.
struct Below {
    set: FixedBitSet,
    cost: f64,
}

/// The choices of all classes, counted through.
struct Numbers {
    /// For each class the number of its first choice; and their sum.
    first: Vec<usize>,
    costs: Vec<f64>,
}

impl Numbers {
    fn of(problem: &Problem) -> Numbers {
        let mut first = vec![0];
        problem.classes.iter().for_each(|choices| first.push(first[first.len() - 1] + choices.len()));
        Numbers { first, costs: problem.classes.iter().flatten().map(|choice| choice.cost).collect() }
    }
}
