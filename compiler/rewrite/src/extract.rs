//! Choosing one node of each class that is needed, so that all of them together cost least.
//!
//! What several users share is paid once. Finding the best choice is NP-hard; this starts from a greedy one and
//! improves it as long as a small change makes the whole cheaper. Deterministic.

use std::collections::{BTreeMap, HashMap, VecDeque};

use egg::{Id, Language};
use ir::TensorType;
use loops::Expr;
use ops::AnyOp;

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
    /// For each class the number of its first choice, counting the choices of all classes; and their sum.
    first: Vec<usize>,
    /// Of all choices, by that number.
    costs: Vec<f64>,
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
        let costs = classes.iter().flatten().map(|choice| choice.cost).collect();
        let mut first = vec![0];
        classes.iter().for_each(|choices| first.push(first[first.len() - 1] + choices.len()));
        Problem { roots: roots.iter().map(|&root| number(root)).collect(), ids, classes, first, costs, users }
    }

    /// For each class the choice with the cheapest set of choices below it, as far as the sets found for its operands
    /// go.
    fn greedy(&self) -> Option<Solution> {
        let mut best: Vec<Option<Below>> = self.classes.iter().map(|_| None).collect();
        let mut solution = vec![usize::MAX; self.classes.len()];
        let mut waiting: VecDeque<usize> = (0..self.classes.len()).collect();
        let mut is_waiting = vec![true; self.classes.len()];
        while let Some(class) = waiting.pop_front() {
            is_waiting[class] = false;
            let mut improved = false;
            for number in 0..self.classes[class].len() {
                let known = best[class].as_ref().map_or(f64::INFINITY, |below| below.cost);
                if let Some(below) = self.below(class, number, &best).filter(|below| below.cost < known) {
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

    /// A choice and what it needs; `None` where that is not known yet or goes round in a circle.
    fn below(&self, class: usize, number: usize, best: &[Option<Below>]) -> Option<Below> {
        let choice = &self.classes[class][number];
        let mut set = vec![0u64; self.first[self.classes.len()].div_ceil(64)];
        for &need in &choice.needs {
            let below = best[need].as_ref()?;
            set.iter_mut().zip(&below.set).for_each(|(word, more)| *word |= more);
        }
        let holds = |choice: usize| set[choice / 64] & 1 << (choice % 64) != 0;
        if (self.first[class]..self.first[class + 1]).any(holds) {
            return None;
        }
        let own = self.first[class] + number;
        set[own / 64] |= 1 << (own % 64);
        let cost = members(&set).map(|member| self.costs[member]).sum();
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
        let before: Vec<(usize, usize)> =
            changes.iter().map(|&(class, _)| (class, solution[class])).collect();
        changes.iter().for_each(|&(class, choice)| solution[class] = choice);
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
    /// One bit per choice.
    set: Vec<u64>,
    cost: f64,
}

fn members(set: &[u64]) -> impl Iterator<Item = usize> + '_ {
    set.iter().enumerate().flat_map(|(word, &bits)| {
        let mut bits = bits;
        std::iter::from_fn(move || {
            let bit = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
            bits &= bits - 1;
            Some(word * 64 + bit)
        })
    })
}

fn node_cost(egraph: &EGraph, node: &Node, types: &[TensorType], cost: &dyn CostModel) -> f64 {
    match node.op() {
        None => 0.0,
        Some((op, args)) => {
            let inputs: Vec<TensorType> = args.iter().map(|&arg| egraph[arg].data.ty().clone()).collect();
            let size =
                if let AnyOp::Fused(fused) = op { fused.expressions().map(Expr::size).sum() } else { 0usize };
            cost.cost(op, &inputs, types) * (1.0 + SIMPLER * size as f64)
        }
    }
}

/// Of two nodes of one cost, the one with the smaller epilogue is taken: by so much is each of its nodes dearer.
const SIMPLER: f64 = 1e-6;
