//! Random problems, solved every way.

use proptest::prelude::*;

use super::exact::{Effort, Way};
use super::problem::{Choice, Problem, Solution};
use super::solve;

/// Classes with a few choices each; what they need is mostly of lower number, so that solutions exist, and circles too.
fn problems(classes: usize) -> impl Strategy<Value = Problem> {
    let need = (any::<prop::sample::Index>(), prop::bool::weighted(0.2));
    // Few different costs: ties, and shared classes that decide.
    let choice = (0u32..6, proptest::collection::vec(need, 0..4));
    let class = proptest::collection::vec(choice, 1..4);
    let roots = proptest::collection::vec(any::<prop::sample::Index>(), 1..3);
    (proptest::collection::vec(class, 1..=classes), roots).prop_map(|(classes, roots)| {
        let count = classes.len();
        let ascending = |mut numbers: Vec<usize>| {
            numbers.sort_unstable();
            numbers.dedup();
            numbers
        };
        let choice = |class: usize, number: usize, (cost, needs): (u32, Vec<(prop::sample::Index, bool)>)| {
            let need = |(index, anywhere): (prop::sample::Index, bool)| match anywhere {
                true => Some(index.index(count)),
                false => (class > 0).then(|| index.index(class)),
            };
            let needs = ascending(needs.into_iter().filter_map(need).collect());
            Choice { cost: f64::from(cost), needs, takes: vec![(class, number)] }
        };
        let class = |(class, choices): (usize, Vec<_>)| {
            choices.into_iter().enumerate().map(|(number, parts)| choice(class, number, parts)).collect()
        };
        Problem {
            classes: classes.into_iter().enumerate().map(class).collect(),
            roots: ascending(roots.into_iter().map(|root| root.index(count)).collect()),
        }
    })
}

/// The least cost, by trying every solution.
fn brute_force(problem: &Problem) -> Option<f64> {
    let mut best: Option<f64> = None;
    let mut solution: Solution = vec![Some(0); problem.classes.len()];
    loop {
        if let Some(cost) = problem.total(&solution)
            && best.is_none_or(|best| cost < best)
        {
            best = Some(cost);
        }
        let Some(next) = (0..solution.len())
            .find(|&class| solution[class].is_some_and(|number| number + 1 < problem.classes[class].len()))
        else {
            return best;
        };
        solution[..next].fill(Some(0));
        solution[next] = solution[next].map(|number| number + 1);
    }
}

/// What the whole problem's solution costs, and whether all parts say that nothing is cheaper.
fn cost(problem: &Problem, effort: &Effort) -> Option<(f64, f64, bool)> {
    let (solution, parts) = solve(problem, effort)?;
    let cost = problem.total(&solution).expect("a solution of the parts is one of the whole");
    let lower_bound: f64 = parts.iter().map(|part| part.lower_bound).sum();
    assert!((parts.iter().map(|part| part.cost).sum::<f64>() - cost).abs() < 1e-6, "{parts:?} cost {cost}");
    Some((cost, lower_bound, parts.iter().all(|part| part.is_optimal())))
}

/// Nothing is enumerated: the solver has all of it.
const BY_SOLVER: Effort = Effort { enumerated: 0, largest: 10_000, work: 200_000 };
const BY_GREED: Effort = Effort { enumerated: 0, largest: 0, work: 0 };

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn exact_solutions_are_the_best_there_are(problem in problems(9)) {
        let best = brute_force(&problem);
        for effort in [Effort::default(), BY_SOLVER] {
            let found = cost(&problem, &effort);
            prop_assert_eq!(found.map(|(cost, _, _)| cost), best, "{:?}", problem);
            prop_assert!(found.is_none_or(|(_, _, optimal)| optimal));
        }
        // Without being made smaller or cut first.
        if let Some(best) = best {
            let (solution, part) = problem.solve(&BY_SOLVER).expect("there is a solution");
            prop_assert_eq!((problem.total(&solution), part.lower_bound), (Some(best), best));
        }
    }

    #[test]
    fn greedy_solutions_are_solutions(problem in problems(9)) {
        let best = brute_force(&problem);
        let greedy = problem.greedy();
        prop_assert_eq!(greedy.is_some(), best.is_some());
        for (best, greedy) in best.into_iter().zip(greedy) {
            prop_assert!(problem.total(&greedy).is_some_and(|cost| cost >= best));
            let (cost, lower_bound, _) = cost(&problem, &BY_GREED).expect("there is a solution");
            prop_assert!(lower_bound <= best && best <= cost, "{} {} {}", lower_bound, best, cost);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn exact_is_never_worse_than_greedy(problem in problems(60)) {
        let greedy = problem.greedy().and_then(|greedy| problem.total(&greedy));
        for effort in [Effort::default(), BY_GREED] {
            let exact = cost(&problem, &effort);
            prop_assert_eq!(greedy.is_some(), exact.is_some());
            for (greedy, (exact, lower_bound, _)) in greedy.into_iter().zip(exact) {
                prop_assert!(lower_bound <= exact && exact <= greedy, "{} {} {}", lower_bound, exact, greedy);
            }
        }
    }
}

fn choice(cost: f64, needs: &[usize], class: usize, number: usize) -> Choice {
    Choice { cost, needs: needs.to_vec(), takes: vec![(class, number)] }
}

/// Two outputs could each be computed alone, or both from something that neither would pay for alone.
fn shared() -> Problem {
    Problem {
        classes: vec![
            vec![choice(5.0, &[], 0, 0)],
            vec![choice(3.0, &[], 1, 0), choice(0.0, &[0], 1, 1)],
            vec![choice(3.0, &[], 2, 0), choice(0.0, &[0], 2, 1)],
        ],
        roots: vec![1, 2],
    }
}

#[test]
fn what_is_shared_is_paid_once() {
    assert_eq!(cost(&shared(), &Effort::default()), Some((5.0, 5.0, true)));
}

#[test]
fn a_class_that_all_ways_lead_through_cuts() {
    // Two problems of the first kind, one on top of the other through class 3.
    let mut problem = shared();
    problem.classes.push(vec![choice(1.0, &[1, 2], 3, 0)]);
    problem.classes.push(vec![choice(5.0, &[3], 4, 0)]);
    for class in [5, 6] {
        problem.classes.push(vec![choice(3.0, &[3], class, 0), choice(0.5, &[4], class, 1)]);
    }
    problem.roots = vec![5, 6];
    let parts = problem.clone().parts().expect("there is a solution");
    assert!(parts.len() >= 2 && parts.iter().all(|part| part.choices() < problem.choices()), "{parts:?}");
    assert_eq!(cost(&problem, &Effort::default()), Some((12.0, 12.0, true)));
}

#[test]
fn what_too_much_effort_would_take_is_bounded() {
    let problem = shared();
    let (solution, part) = problem.solve(&BY_GREED).expect("there is a solution");
    assert_eq!(part.way, Way::Greedy);
    assert!(part.lower_bound <= 5.0 && problem.total(&solution).is_some_and(|cost| cost >= 5.0));
}
