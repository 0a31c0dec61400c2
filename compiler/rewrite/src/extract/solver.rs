//! A part as an integer linear program: a variable for each choice, 1 if it is taken.
//!
//! Branch and cut over the program's linear relaxation, which is integral most of the time. The search is ours so that
//! its limit is a count, whichever solver does the linear algebra: that is chosen where `solver` is named below.
//! Classes that could need each other in a circle must be entered from outside of it. That is demanded of pairs from
//! the start, and of longer circles once a solution went round in one.

use std::collections::BTreeSet;

// Pure Rust. HiGHS would be another feature of good_lp and another name here; its C++ takes minutes to build, and parts
// are small when they come here.
use good_lp::microlp as solver;
use good_lp::{
    Expression, ProblemVariables, ResolutionError, Solution as _, SolverModel, Variable, constraint, variable,
};

use super::problem::{Choice, Problem, Solution};

/// What the solver found.
pub struct Solved {
    /// Nothing better than what was known, if `None`.
    pub solution: Option<Solution>,
    /// What no solution goes below, up to `TOLERANCE`; `None` where there is none much better than the best known.
    pub lower_bound: Option<f64>,
}

/// A solution that is better by less, relative to its cost, is not looked for.
const TOLERANCE: f64 = 1e-9;
/// Values of variables this near to a whole number are one.
const INTEGRAL: f64 = 1e-6;

/// Looks for a better solution than one that costs `known`; solves at most so many linear programs.
pub fn solve(problem: &Problem, known: f64, programs: usize) -> Solved {
    let mut circles = circles_of_two(problem);
    let (mut best, mut cost) = (None, known);
    // Depth first. What is open costs at least what its parent did.
    let mut open = vec![Branch { fixed: vec![], lower_bound: 0.0 }];
    let mut solved = 0;
    while let Some(branch) = open.pop() {
        if branch.lower_bound >= cost * (1.0 - TOLERANCE) {
            continue;
        }
        let relaxed = match solved < programs {
            true => relax(problem, cost, &circles, &branch.fixed),
            false => Err(ResolutionError::Other("too many programs")),
        };
        solved += 1;
        let relaxed = match relaxed {
            Ok(relaxed) => relaxed,
            Err(ResolutionError::Infeasible) => continue,
            Err(_) => {
                let bounds = open.iter().map(|branch| branch.lower_bound).chain([branch.lower_bound]);
                return Solved { solution: best, lower_bound: Some(bounds.fold(cost, f64::min)) };
            }
        };
        if relaxed.cost >= cost * (1.0 - TOLERANCE) {
            continue;
        }
        let lower_bound = relaxed.cost;
        match relaxed.most_fractional() {
            Some(variable) => {
                for value in [false, true] {
                    let fixed = [&branch.fixed[..], &[(variable, value)]].concat();
                    open.push(Branch { fixed, lower_bound });
                }
            }
            None => {
                let solution = relaxed.rounded();
                match problem.order(&solution) {
                    Ok(_) => match problem.total(&solution) {
                        Some(total) if total < cost => (best, cost) = (Some(solution), total),
                        _ => (),
                    },
                    Err(circle) => {
                        circles.push(circle);
                        open.push(Branch { lower_bound, ..branch });
                    }
                }
            }
        }
    }
    Solved { solution: best, lower_bound: None }
}

/// A choice, by class and number.
type Taken = (usize, usize);

struct Branch {
    /// Choices that are or are not to be taken.
    fixed: Vec<(Taken, bool)>,
    lower_bound: f64,
}

/// Classes of which each needs the next, and the last one the first.
type Circle = Vec<usize>;

/// Classes that may need each other.
fn circles_of_two(problem: &Problem) -> Vec<Circle> {
    let needs: BTreeSet<(usize, usize)> = problem.needs().collect();
    needs.iter().filter(|(a, b)| a < b && needs.contains(&(*b, *a))).map(|&(a, b)| vec![a, b]).collect()
}

/// How much of each choice the best solution takes that may take parts of choices.
struct Relaxed {
    taken: Vec<Vec<f64>>,
    cost: f64,
}

impl Relaxed {
    fn most_fractional(&self) -> Option<Taken> {
        let mut most = (INTEGRAL, None);
        for (class, taken) in self.taken.iter().enumerate() {
            for (number, taken) in taken.iter().enumerate() {
                let distance = taken.min(1.0 - taken);
                if distance > most.0 {
                    most = (distance, Some((class, number)));
                }
            }
        }
        most.1
    }

    fn rounded(&self) -> Solution {
        self.taken.iter().map(|taken| taken.iter().position(|&taken| taken > 0.5)).collect()
    }
}

/// The linear program, without choices that alone cost more than the best solution `known`.
fn relax(
    problem: &Problem,
    known: f64,
    circles: &[Circle],
    fixed: &[(Taken, bool)],
) -> Result<Relaxed, ResolutionError> {
    let classes = &problem.classes;
    // The solver's tolerances suit costs that are not far from one.
    let costs = classes.iter().flatten().map(|choice| choice.cost).filter(|&cost| cost <= known);
    let dearest = costs.fold(f64::MIN_POSITIVE, f64::max);
    let mut variables = ProblemVariables::new();
    let mut add = |(class, choices): (usize, &Vec<Choice>)| -> Vec<Variable> {
        let mut choice = |number| match fixed.iter().find(|(taken, _)| *taken == (class, number)) {
            Some((_, value)) => {
                let value = f64::from(u8::from(*value));
                variables.add(variable().min(value).max(value))
            }
            None if choices[number].cost > known => variables.add(variable().min(0.0).max(0.0)),
            None => variables.add(variable().min(0.0).max(1.0)),
        };
        (0..choices.len()).map(&mut choice).collect()
    };
    let taken: Vec<Vec<Variable>> = classes.iter().enumerate().map(&mut add).collect();
    let costs = taken.iter().flatten().zip(classes.iter().flatten());
    let objective: Expression =
        costs.map(|(&variable, choice)| variable * (choice.cost.min(dearest) / dearest)).sum();
    let mut model = variables.minimise(objective).using(solver);
    let computed = |class: usize| taken[class].iter().sum::<Expression>();
    // How many choices are taken of `class` that need `need`.
    let needing = |class: usize, need: usize| -> Expression {
        let choices = classes[class].iter().zip(&taken[class]);
        choices.filter(|(choice, _)| choice.needs.binary_search(&need).is_ok()).map(|(_, taken)| taken).sum()
    };
    for class in 0..classes.len() {
        match problem.roots.binary_search(&class) {
            Ok(_) => model.add_constraint(constraint!(computed(class) == 1.0)),
            Err(_) => model.add_constraint(constraint!(computed(class) <= 1.0)),
        };
    }
    for (class, need) in problem.needs().collect::<BTreeSet<_>>() {
        model.add_constraint(constraint!(needing(class, need) <= computed(need)));
    }
    for (class, way) in problem.ways_through() {
        model.add_constraint(constraint!(computed(class) <= computed(way)));
    }
    for circle in circles {
        // The first of them to be computed needs none of the others.
        let outside = |choice: &Choice| choice.needs.iter().all(|need| !circle.contains(need));
        let entries = |class: usize| {
            let choices = classes[class].iter().zip(&taken[class]);
            choices.filter(|(choice, _)| outside(choice)).map(|(_, taken)| taken).sum::<Expression>()
        };
        for &class in circle {
            let entered: Expression = circle.iter().map(|&class| entries(class)).sum();
            model.add_constraint(constraint!(computed(class) <= entered));
        }
    }
    let answer = model.solve()?;
    let taken: Vec<Vec<f64>> =
        taken.iter().map(|taken| taken.iter().map(|&variable| answer.value(variable)).collect()).collect();
    let costs = taken.iter().flatten().zip(classes.iter().flatten());
    Ok(Relaxed { cost: costs.map(|(taken, choice)| taken * choice.cost).sum(), taken })
}
