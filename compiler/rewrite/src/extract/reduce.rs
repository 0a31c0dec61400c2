//! Making a problem smaller without losing its best solution.

use std::collections::{BTreeSet, VecDeque};

use fixedbitset::FixedBitSet;

use super::problem::{Choice, Problem};

/// Choices that a class may have after another was absorbed into it.
const MOST_CHOICES: usize = 24;

/// How far a cheaper way to what a choice needs is looked for, in steps from class to class, and in choices looked at.
const DEPTH: usize = 4;
const FUEL: usize = 400;

impl Problem {
    /// The problem without what no best solution takes; its classes are counted anew. `None` if a root has no finite
    /// form.
    pub fn reduced(mut self) -> Option<Problem> {
        loop {
            self.forget_free();
            let forced = self.forced();
            self.drop_circular(&forced);
            if self.roots.iter().any(|&root| self.classes[root].is_empty()) {
                return None;
            }
            let dropped = self.drop_dominated(&forced);
            self = self.without_unreachable();
            let absorbed = self.absorb();
            if !dropped && !absorbed {
                return Some(self);
            }
        }
    }

    /// The classes that every solution computes, ascending.
    pub fn always(&self) -> Vec<usize> {
        let forced = self.forced();
        let mut always = FixedBitSet::with_capacity(self.classes.len());
        for set in self.roots.iter().filter_map(|&root| forced[root].as_ref()) {
            always.union_with(set);
        }
        always.ones().collect()
    }

    /// Each class with the nearest that every way of computing it goes through, where it does not need that directly.
    /// Implied by the needs, but not by parts of them: halves of two ways would need half of where both begin.
    pub fn ways_through(&self) -> Vec<(usize, usize)> {
        let forced = self.forced();
        let mut ways = Vec::new();
        for (class, set) in forced.iter().enumerate() {
            let through: Vec<usize> =
                set.iter().flat_map(|set| set.ones()).filter(|&way| way != class).collect();
            let behind =
                |way: usize, other: usize| forced[other].as_ref().is_some_and(|set| set.contains(way));
            let nearest = through
                .iter()
                .filter(|&&way| !through.iter().any(|&other| other != way && behind(way, other)));
            let direct = |way: usize| {
                self.classes[class].iter().all(|choice| choice.needs.binary_search(&way).is_ok())
            };
            ways.extend(nearest.filter(|&&way| !direct(way)).map(|&way| (class, way)));
        }
        ways
    }

    /// What costs nothing and needs nothing is nobody's need: whoever needed it takes it along.
    fn forget_free(&mut self) {
        let is_free = |choice: &Choice| choice.cost == 0.0 && choice.needs.is_empty();
        let free: Vec<Option<Choice>> = self
            .classes
            .iter()
            .map(|choices| choices.iter().find(|choice| is_free(choice)).cloned())
            .collect();
        for (choices, free) in self.classes.iter_mut().zip(&free) {
            if let Some(free) = free {
                *choices = vec![free.clone()];
            }
        }
        for choice in self.classes.iter_mut().flatten() {
            let takes =
                choice.needs.iter().filter_map(|&need| free[need].as_ref()).flat_map(|free| &free.takes);
            choice.takes.extend(takes);
            choice.needs.retain(|&need| free[need].is_none());
        }
    }

    /// For each class the classes that every way of computing it goes through, itself included: `None` if there is no
    /// way. As dominators are found, but that a choice needs all that it needs: from everything down to the greatest
    /// sets that agree with each other.
    fn forced(&self) -> Vec<Option<FixedBitSet>> {
        let users = self.users();
        let mut forced: Vec<Option<FixedBitSet>> = vec![None; self.classes.len()];
        let mut waiting: VecDeque<usize> = (0..self.classes.len()).collect();
        let mut is_waiting = vec![true; self.classes.len()];
        while let Some(class) = waiting.pop_front() {
            is_waiting[class] = false;
            let mut set: Option<FixedBitSet> = None;
            for below in self.classes[class].iter().filter_map(|choice| self.below_all(choice, &forced)) {
                match &mut set {
                    _ if below.contains(class) => (),
                    None => set = Some(below),
                    Some(set) => set.intersect_with(&below),
                }
            }
            let Some(mut set) = set else { continue };
            set.insert(class);
            if forced[class].as_ref() != Some(&set) {
                forced[class] = Some(set);
                for &user in &users[class] {
                    if !std::mem::replace(&mut is_waiting[user], true) {
                        waiting.push_back(user);
                    }
                }
            }
        }
        forced
    }

    /// The classes that everybody who takes `choice` computes below it.
    fn below_all(&self, choice: &Choice, forced: &[Option<FixedBitSet>]) -> Option<FixedBitSet> {
        let mut set = FixedBitSet::with_capacity(self.classes.len());
        for &need in &choice.needs {
            set.union_with(forced[need].as_ref()?);
        }
        Some(set)
    }

    /// Choices that come back to their own class whatever is chosen below them.
    fn drop_circular(&mut self, forced: &[Option<FixedBitSet>]) {
        for class in 0..self.classes.len() {
            let finite = |choice: &Choice| {
                choice.needs.iter().all(|&need| forced[need].as_ref().is_some_and(|set| !set.contains(class)))
            };
            let mut choices = std::mem::take(&mut self.classes[class]);
            choices.retain(finite);
            self.classes[class] = choices;
        }
    }

    /// Choices that can be replaced by another of their class, without paying more, wherever they are taken: the
    /// other needs only what is there anyway below this one, or what is cheap enough to compute from that.
    ///
    /// What is below a choice can't depend on its class, and what is computed anew depends only on what is below; so
    /// no circle comes about.
    fn drop_dominated(&mut self, forced: &[Option<FixedBitSet>]) -> bool {
        let mut dropped = false;
        for class in 0..self.classes.len() {
            // Of two that dominate each other, the first stays.
            for number in (0..self.classes[class].len()).rev() {
                let Some(below) = self.below_all(&self.classes[class][number], forced) else { continue };
                let others = (0..self.classes[class].len()).filter(|&other| other != number);
                if others.into_iter().any(|other| self.dominates(class, other, number, &below)) {
                    self.classes[class].remove(number);
                    dropped = true;
                }
            }
        }
        dropped
    }

    fn dominates(&self, class: usize, choice: usize, other: usize, below_other: &FixedBitSet) -> bool {
        let choice = &self.classes[class][choice];
        let budget = self.classes[class][other].cost - choice.cost;
        let mut search = Search { problem: self, there: below_other, fuel: FUEL };
        budget >= 0.0 && search.all(&choice.needs, budget, &mut vec![class]).is_some()
    }

    fn without_unreachable(self) -> Problem {
        let mut reached = FixedBitSet::with_capacity(self.classes.len());
        let mut work = self.roots.clone();
        while let Some(class) = work.pop() {
            if !reached.put(class) {
                work.extend(self.classes[class].iter().flat_map(|choice| &choice.needs));
            }
        }
        self.among(&reached.ones().collect::<Vec<_>>())
    }

    /// A class that only choices of one other class need becomes part of those: one for each of its own choices.
    fn absorb(&mut self) -> bool {
        let mut users: Vec<BTreeSet<usize>> =
            self.users().into_iter().map(|users| users.into_iter().collect()).collect();
        let mut absorbed = false;
        for class in 0..self.classes.len() {
            let (1, Some(&user)) = (users[class].len(), users[class].first()) else { continue };
            let uses = |choice: &&Choice| choice.needs.binary_search(&class).is_ok();
            let using = self.classes[user].iter().filter(uses).count();
            let more = using * self.classes[class].len();
            if user == class
                || self.roots.binary_search(&class).is_ok()
                || self.classes[user].len() - using + more > MOST_CHOICES
            {
                continue;
            }
            let inner = std::mem::take(&mut self.classes[class]);
            let outer = std::mem::take(&mut self.classes[user]);
            let joined = outer.into_iter().flat_map(|choice| match uses(&&choice) {
                false => vec![choice],
                true => inner.iter().filter_map(|inner| join(&choice, class, inner, user)).collect(),
            });
            self.classes[user] = undominated(joined.collect());
            for &need in inner.iter().flat_map(|choice| &choice.needs) {
                users[need].remove(&class);
                users[need].insert(user);
            }
            absorbed = true;
        }
        absorbed
    }
}

/// `choice` of class `user`, with what computes the `class` that it needs; `None` if that needs `user` itself.
fn join(choice: &Choice, class: usize, inner: &Choice, user: usize) -> Option<Choice> {
    let needs: BTreeSet<usize> =
        choice.needs.iter().chain(&inner.needs).copied().filter(|&need| need != class).collect();
    (!needs.contains(&user)).then(|| Choice {
        cost: choice.cost + inner.cost,
        needs: needs.into_iter().collect(),
        takes: [&choice.takes[..], &inner.takes].concat(),
    })
}

/// Those that no other makes superfluous by needing less and costing no more. Of equals the first stays.
fn undominated(choices: Vec<Choice>) -> Vec<Choice> {
    let within = |a: &Choice, b: &Choice| a.needs.iter().all(|need| b.needs.binary_search(need).is_ok());
    let better = |a: usize, b: usize| {
        let (a_first, a, b) = (a < b, &choices[a], &choices[b]);
        a.cost <= b.cost && within(a, b) && (a_first || a.cost < b.cost || !within(b, a))
    };
    let stays = |number: usize| !(0..choices.len()).any(|other| other != number && better(other, number));
    (0..choices.len()).filter(|&number| stays(number)).map(|number| choices[number].clone()).collect()
}

/// Looks for a cheap way to compute classes from others that are there.
struct Search<'a> {
    problem: &'a Problem,
    there: &'a FixedBitSet,
    /// Choices that may still be looked at.
    fuel: usize,
}

impl Search<'_> {
    /// What it costs to compute all of `classes`, if it is not above `budget`. Nothing on the `way` to them is used.
    fn all(&mut self, classes: &[usize], budget: f64, way: &mut Vec<usize>) -> Option<f64> {
        let mut cost = 0.0;
        for &class in classes.iter().filter(|&&class| !self.there.contains(class)) {
            cost += self.one(class, budget - cost, way)?;
        }
        Some(cost)
    }

    fn one(&mut self, class: usize, budget: f64, way: &mut Vec<usize>) -> Option<f64> {
        if way.len() > DEPTH || way.contains(&class) {
            return None;
        }
        let mut best: Option<f64> = None;
        way.push(class);
        for choice in &self.problem.classes[class] {
            let budget = best.unwrap_or(budget) - choice.cost;
            let Some(fuel) = self.fuel.checked_sub(1) else { break };
            self.fuel = fuel;
            if budget >= 0.0
                && let Some(below) = self.all(&choice.needs, budget, way)
            {
                best = Some(choice.cost + below);
            }
        }
        way.pop();
        best
    }
}
