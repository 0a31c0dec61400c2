//! Choosing one node of each class that is needed, so that all of them together cost least.
//!
//! What several users share is paid once. Finding the best choice is NP-hard; this starts from a greedy one and
//! improves it as long as a small change makes the whole cheaper. Deterministic.

use std::collections::{BTreeMap, HashMap, VecDeque};

use egg::{Id, Language};
use ir::TensorType;

use crate::{CostModel, EGraph, Node};

/// The node chosen for each class that is needed, operands before their users. Constant classes are not among them.
pub(crate) struct Extracted {
    pub nodes: Vec<(Id, Node)>,
    pub cost: f64,
}

/// The cheapest way found to compute `roots`; `None` if some root has no finite form, which no graph brings about.
pub(crate) fn extract(egraph: &EGraph, roots: &[Id], cost: &dyn CostModel) -> Option<Extracted> {
    let problem = Problem::new(egraph, roots, cost);
    let mut solution = problem.greedy()?;
    problem.improve(&mut solution);
    let order = problem.order(&solution)?;
    let node = |&class: &usize| {
        let id = problem.ids[class];
        let choice = &problem.classes[class][solution[class]];
        (!egraph[id].data.constant).then(|| (id, egraph[id].nodes[choice.node].clone()))
    };
    Some(Extracted { nodes: order.iter().filter_map(node).collect(), cost: problem.total(&solution)? })
}

/// The e-graph by dense numbers: classes in the order of their ids.
struct Problem {
    ids: Vec<Id>,
    classes: Vec<Vec<Choice>>,
    /// The classes with a choice that needs this one.
    users: Vec<Vec<usize>>,
    roots: Vec<usize>,
}

struct Choice {
    /// Its number within the class.
    node: usize,
    cost: f64,
    /// Each class once, ascending.
    needs: Vec<usize>,
}

/// Which choice each class takes; classes without a finite form take none (`usize::MAX`).
type Solution = Vec<usize>;

impl Problem {
    fn new(egraph: &EGraph, roots: &[Id], cost: &dyn CostModel) -> Problem {
        let mut ids: Vec<Id> = egraph.classes().map(|class| class.id).collect();
        ids.sort_unstable();
        let numbers: HashMap<Id, usize> = ids.iter().enumerate().map(|(number, &id)| (id, number)).collect();
        let number = |id: Id| numbers[&egraph.find(id)];
        let choices = |&id: &Id| -> Vec<Choice> {
            let class = &egraph[id];
            if class.data.constant {
                // Known before the model runs: free, and nothing else is needed for it.
                return vec![Choice { node: 0, cost: 0.0, needs: vec![] }];
            }
            let choice = |(node, form): (usize, &Node)| {
                let mut needs: Vec<usize> = form.children().iter().map(|&child| number(child)).collect();
                needs.sort_unstable();
                needs.dedup();
                Choice { node, cost: node_cost(egraph, form, &class.data.types, cost), needs }
            };
            class.nodes.iter().enumerate().map(choice).collect()
        };
        let classes: Vec<Vec<Choice>> = ids.iter().map(choices).collect();
        let mut users = vec![vec![]; classes.len()];
        for (class, choices) in classes.iter().enumerate() {
            for &need in choices.iter().flat_map(|choice| &choice.needs) {
                if users[need].last() != Some(&class) {
                    users[need].push(class);
                }
            }
        }
        Problem { roots: roots.iter().map(|&root| number(root)).collect(), ids, classes, users }
    }

    /// For each class the choice with the cheapest set of classes below it, as far as the sets found for its operands
    /// go.
    fn greedy(&self) -> Option<Solution> {
        let mut best: Vec<Option<Below>> = self.classes.iter().map(|_| None).collect();
        let mut solution = vec![usize::MAX; self.classes.len()];
        let mut waiting: VecDeque<usize> = (0..self.classes.len()).collect();
        let mut is_waiting = vec![true; self.classes.len()];
        while let Some(class) = waiting.pop_front() {
            is_waiting[class] = false;
            let mut improved = false;
            for (number, choice) in self.classes[class].iter().enumerate() {
                let known = best[class].as_ref().map_or(f64::INFINITY, |below| below.cost);
                if let Some(below) = self.below(class, choice, &best, &solution).filter(|below| below.cost < known) {
                    best[class] = Some(below);
                    solution[class] = number;
                    improved = true;
                }
            }
            for &user in self.users[class].iter().filter(|_| improved) {
                if !std::mem::replace(&mut is_waiting[user], true) {
                    waiting.push_back(user);
                }
            }
        }
        self.total(&solution).map(|_| solution)
    }

    /// What `choice` needs, itself included; `None` where that is not known yet or goes round in a circle.
    fn below(&self, class: usize, choice: &Choice, best: &[Option<Below>], solution: &Solution) -> Option<Below> {
        let mut set = vec![0u64; self.classes.len().div_ceil(64)];
        for &need in &choice.needs {
            let below = best[need].as_ref()?;
            set.iter_mut().zip(&below.set).for_each(|(word, more)| *word |= more);
        }
        let bit = 1 << (class % 64);
        if set[class / 64] & bit != 0 {
            return None;
        }
        let mut cost = choice.cost;
        for (word, bits) in set.iter().enumerate() {
            let mut bits = *bits;
            while bits != 0 {
                let member = word * 64 + bits.trailing_zeros() as usize;
                cost += self.classes[member][solution[member]].cost;
                bits &= bits - 1;
            }
        }
        set[class / 64] |= bit;
        Some(Below { set, cost })
    }

    /// The classes that the roots need, operands first; `None` if they go round in a circle.
    fn order(&self, solution: &Solution) -> Option<Vec<usize>> {
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            New,
            Open,
            Done,
        }
        let mut marks = vec![Mark::New; self.classes.len()];
        let mut order = Vec::new();
        // Each entry: a class and how many of its needs have been visited.
        let mut stack: Vec<(usize, usize)> = Vec::new();
        for &root in &self.roots {
            if marks[root] == Mark::New {
                stack.push((root, 0));
                marks[root] = Mark::Open;
            }
            while let Some((class, visited)) = stack.pop() {
                let choice = self.classes[class].get(solution[class])?;
                match choice.needs.get(visited) {
                    None => {
                        marks[class] = Mark::Done;
                        order.push(class);
                    }
                    Some(&need) => {
                        stack.push((class, visited + 1));
                        match marks[need] {
                            Mark::Done => (),
                            Mark::Open => return None,
                            Mark::New => {
                                marks[need] = Mark::Open;
                                stack.push((need, 0));
                            }
                        }
                    }
                }
            }
        }
        Some(order)
    }

    fn total(&self, solution: &Solution) -> Option<f64> {
        // Summed in the order of the classes, so that equal sets cost the same to the last bit.
        let mut order = self.order(solution)?;
        order.sort_unstable();
        Some(order.into_iter().map(|class| self.classes[class][solution[class]].cost).sum())
    }

    /// Changes single choices, then computes shared classes once, until neither makes the whole cheaper.
    fn improve(&self, solution: &mut Solution) {
        let Some(mut cost) = self.total(solution) else { return };
        loop {
            let before = cost;
            self.change_choices(solution, &mut cost);
            self.share_classes(solution, &mut cost);
            if cost >= before {
                return;
            }
        }
    }

    fn change_choices(&self, solution: &mut Solution, cost: &mut f64) {
        for class in self.order(solution).unwrap_or_default() {
            for choice in 0..self.classes[class].len() {
                if choice != solution[class] {
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
        let before: Vec<(usize, usize)> = changes.iter().map(|&(class, _)| (class, solution[class])).collect();
        changes.iter().for_each(|&(class, choice)| solution[class] = choice);
        match self.total(solution) {
            // A change must be worth more than rounding.
            Some(changed) if changed < *cost * (1.0 - 1e-12) => *cost = changed,
            _ => before.into_iter().for_each(|(class, choice)| solution[class] = choice),
        }
    }
}

/// The classes that a class needs, itself included, and their cost.
struct Below {
    set: Vec<u64>,
    cost: f64,
}

fn node_cost(egraph: &EGraph, node: &Node, types: &[TensorType], cost: &dyn CostModel) -> f64 {
    match node.op() {
        None => 0.0,
        Some((op, args)) => {
            let inputs: Vec<TensorType> = args.iter().map(|&arg| egraph[arg].data.ty().clone()).collect();
            cost.cost(op, &inputs, types)
        }
    }
}
