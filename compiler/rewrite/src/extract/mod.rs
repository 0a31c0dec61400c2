//! Choosing one node of each class that is needed, so that all of them together cost least.
//!
//! What several users share is paid once, which makes finding the best choice NP-hard. So the problem is made small
//! first (`reduce`), cut into parts that have nothing to do with each other (`partition`), and each part is solved
//! exactly where that takes no longer than it may (`exact`, `solver`), else well (`greedy`). Deterministic.

mod exact;
mod greedy;
mod partition;
mod problem;
mod reduce;
mod solver;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use egg::{Id, Language};
use ir::TensorType;
use loops::Expr;
use ops::AnyOp;

pub use exact::{Effort, Part, Way};
use problem::{Choice, Problem, Solution};

use crate::{CostModel, EGraph, Node};

/// The node chosen for each class that is needed, operands before their users. Constant classes are not among them.
pub(crate) struct Extracted {
    pub nodes: Vec<(Id, Node)>,
    pub parts: Vec<Part>,
}

/// The cheapest way found to compute `roots`; `None` if some root has no finite form, which no graph brings about.
pub(crate) fn extract(
    egraph: &EGraph,
    roots: &[Id],
    cost: &dyn CostModel,
    effort: &Effort,
) -> Option<Extracted> {
    let mut ids: Vec<Id> = egraph.classes().map(|class| class.id).collect();
    ids.sort_unstable();
    let problem = problem(egraph, &ids, roots, cost);
    let (solution, parts) = solve(&problem, effort)?;
    let node = |class: usize| {
        let id = ids[class];
        (!egraph[id].data.constant).then(|| Some((id, egraph[id].nodes[solution[class]?].clone())))?
    };
    let order = problem.order(&solution).ok()?;
    Some(Extracted { nodes: order.into_iter().filter_map(node).collect(), parts })
}

/// The best solution that the parts' solutions make together.
fn solve(problem: &Problem, effort: &Effort) -> Option<(Solution, Vec<Part>)> {
    let mut solution = vec![None; problem.classes.len()];
    let mut parts = Vec::new();
    for part in problem.clone().parts()? {
        let (taken, report) = part.solve(effort)?;
        for class in part.order(&taken).ok()? {
            for &(class, number) in part.choice(&taken, class).into_iter().flat_map(|choice| &choice.takes) {
                solution[class] = Some(number);
            }
        }
        parts.push(report);
    }
    match parts.iter().all(Part::is_optimal) {
        true => Some((solution, parts)),
        false => Some(better(problem, solution, parts)),
    }
}

/// The solution of the parts, or the greedy one of the whole, whichever is cheaper: what makes a problem smaller may
/// lead the greedy choice astray.
fn better(problem: &Problem, solution: Solution, parts: Vec<Part>) -> (Solution, Vec<Part>) {
    let by_parts = problem.total(&solution).unwrap_or(f64::INFINITY);
    let greedy = problem.greedy().and_then(|greedy| Some((problem.total(&greedy)?, greedy)));
    match greedy.filter(|(cost, _)| *cost < by_parts) {
        None => (solution, parts),
        Some((cost, greedy)) => {
            let lower_bound = parts.iter().map(|part| part.lower_bound).sum::<f64>().min(cost);
            let (classes, choices) = (problem.classes.len(), problem.choices());
            (greedy, vec![Part { classes, choices, way: Way::Greedy, cost, lower_bound }])
        }
    }
}

/// The e-graph by dense numbers: classes by their place in `ids`, a choice for each of their nodes.
fn problem(egraph: &EGraph, ids: &[Id], roots: &[Id], cost: &dyn CostModel) -> Problem {
    let numbers: HashMap<Id, usize> = ids.iter().enumerate().map(|(number, &id)| (id, number)).collect();
    let number = |id: &Id| numbers[&egraph.find(*id)];
    let choices = |(class, id): (usize, &Id)| -> Vec<Choice> {
        let data = &egraph[*id].data;
        if data.constant {
            // Known before the model runs: free, and nothing else is needed for it.
            return vec![Choice { cost: 0.0, needs: vec![], takes: vec![(class, 0)] }];
        }
        let choice = |(node, form): (usize, &Node)| {
            let cost = node_cost(egraph, form, &data.types, cost).max(0.0);
            Choice { cost, needs: ascending(form.children().iter().map(number)), takes: vec![(class, node)] }
        };
        egraph[*id].nodes.iter().enumerate().map(choice).collect()
    };
    Problem {
        classes: ids.iter().enumerate().map(choices).collect(),
        roots: ascending(roots.iter().map(number)),
    }
}

fn ascending(numbers: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut numbers: Vec<usize> = numbers.collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
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
