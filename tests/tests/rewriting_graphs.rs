//! Random small graphs mean the same after rewriting.

use std::collections::BTreeSet;

use ir::Tensor;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use rewrite::{DefaultCost, Options, optimize, rules, saturate};
use tests::classes::check_classes;
use tests::random_graphs::{any_step, build};
use tests::values::{cancelled, compare, inputs};

/// Within what all rules together may round; values grow by products, and differences cancel.
fn same(a: &[Tensor], b: &[Tensor]) -> Result<(), String> {
    a.iter().zip(b).try_for_each(|(a, b)| if cancelled(a, b) { Ok(()) } else { compare(a, b, 1e-4) })
}

/// The tests below would prove little if the graphs gave the rules nothing to do.
#[test]
fn random_graphs_make_most_rules_fire() {
    let mut runner = TestRunner::deterministic();
    let steps = proptest::collection::vec(any_step(), 4..12);
    let mut fired = BTreeSet::new();
    for _ in 0..500 {
        let graph = build(&steps.new_tree(&mut runner).unwrap().current(), &[]);
        let saturated = saturate(&graph, &rules::phases(), &Options::default()).unwrap();
        fired.extend(saturated.fired.into_iter().map(|(rule, _)| rule));
    }
    let all = rules::all();
    let silent: Vec<&str> = all.iter().map(|rule| rule.name).filter(|name| !fired.contains(*name)).collect();
    assert!(silent.len() * 3 <= all.len(), "{} of {} rules never fire: {silent:?}", silent.len(), all.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn rewriting_keeps_the_meaning(
        steps in proptest::collection::vec(any_step(), 1..12),
        outputs in proptest::collection::vec(any::<Index>(), 0..3),
        seed in 1u64..100,
    ) {
        let graph = build(&steps, &outputs);
        let optimized = optimize(&graph, &DefaultCost::default(), &Options::default());
        let optimized = optimized.map_err(|err| TestCaseError::fail(format!("{err}\n{}", ir::print(&graph))))?;
        prop_assert_eq!(ir::verify(&optimized.graph), Ok(()));
        let inputs = inputs(&graph, seed);
        let result = same(&ops::evaluate(&graph, &inputs), &ops::evaluate(&optimized.graph, &inputs));
        prop_assert_eq!(result, Ok(()), "{}\n{}", ir::print(&graph), ir::print(&optimized.graph));
        let again = optimize(&graph, &DefaultCost::default(), &Options::default());
        prop_assert_eq!(again.map(|again| ir::print(&again.graph)), Ok(ir::print(&optimized.graph)));
    }

    #[test]
    fn classes_of_random_graphs_are_sound(steps in proptest::collection::vec(any_step(), 1..8), seed in 1u64..100) {
        let graph = build(&steps, &[]);
        let saturated = saturate(&graph, &rules::phases(), &Options::default());
        let saturated = saturated.map_err(|err| TestCaseError::fail(format!("{err}\n{}", ir::print(&graph))))?;
        let sound = check_classes(&saturated, &rules::all(), seed);
        prop_assert_eq!(sound, Ok(()), "{}", ir::print(&graph));
    }
}
