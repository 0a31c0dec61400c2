//! Soundness of rewriting: all forms of a class have one value.

use std::collections::HashMap;

use egg::{Id, Language};
use ir::Tensor;
use rewrite::{EGraph, Node, Rule, Saturated};

use crate::values::{cancelled, compare, integers};

/// Holds every node of every class to the one value of its class: a rule that equates two things that differ is caught
/// wherever it fired, whether or not extraction would have picked its result.
///
/// Inputs are random integers; what differs must be allowed by one of the rules that fired.
pub fn check_classes(saturated: &Saturated, rules: &[Rule], seed: u64) -> Result<(), String> {
    let fired = |rule: &&Rule| saturated.fired.iter().any(|(name, _)| name == rule.name);
    let tolerance = rules.iter().filter(fired).map(|rule| rule.tolerance).fold(0.0, f64::max);
    let egraph = &saturated.entered.egraph;
    let mut classes: Vec<Id> = egraph.classes().map(|class| class.id).collect();
    classes.sort_unstable();
    // The first form of a class that can be evaluated gives its value, every other is held to it.
    let mut values: HashMap<Id, Vec<Tensor>> = HashMap::new();
    let mut checked: HashMap<Id, Vec<bool>> = HashMap::new();
    let mut grew = true;
    while std::mem::take(&mut grew) {
        for &class in &classes {
            let nodes = &egraph[class].nodes;
            for (number, node) in nodes.iter().enumerate() {
                let done = &mut checked.entry(class).or_insert_with(|| vec![false; nodes.len()])[number];
                let operands: Option<Vec<&Vec<Tensor>>> =
                    node.children().iter().map(|&child| values.get(&egraph.find(child))).collect();
                let Some(operands) = operands.filter(|_| !*done) else { continue };
                *done = true;
                grew = true;
                let value = evaluate(egraph, node, &operands, seed);
                match values.get(&class) {
                    None => {
                        values.insert(class, value);
                    }
                    Some(known) => known.iter().zip(&value).try_for_each(|(known, value)| {
                        if tolerance > 0.0 && cancelled(known, value) {
                            return Ok(());
                        }
                        compare(known, value, tolerance)
                            .map_err(|err| format!("{node:?} is not {:?}: {err}", nodes[0]))
                    })?,
                }
            }
        }
    }
    match classes.iter().find(|class| !values.contains_key(class)) {
        None => Ok(()),
        Some(class) => {
            Err(format!("class {class} has no form that can be evaluated: {:?}", egraph[*class].nodes))
        }
    }
}

fn evaluate(egraph: &EGraph, node: &Node, operands: &[&Vec<Tensor>], seed: u64) -> Vec<Tensor> {
    match node {
        Node::Input(k) => vec![integers(&egraph.analysis.inputs[*k], seed * 1000 + *k as u64)],
        Node::Constant(k) => vec![egraph.analysis.constants[*k].clone()],
        Node::Proj(k, _) => vec![operands[0][*k].clone()],
        Node::Apply(op, _) => op.eval(&operands.iter().map(|results| &results[0]).collect::<Vec<_>>()),
    }
}

#[cfg(test)]
mod tests {
    use ops::ops::{abs::Abs, relu::Relu};
    use rewrite::{Found, Options, Site, Term, saturate};

    use super::*;

    fn relu_is_abs(site: &Site, found: &mut Found) {
        if let Some((_, &[x])) = site.is::<Relu>() {
            found.equal(Term::apply(Abs, [x.into()]));
        }
    }

    /// The test of the test: an unsound rule is caught although extraction may never take what it adds.
    #[test]
    fn a_wrong_rule_is_caught() {
        let text = "graph @g(%x: f32[8]) { %y = relu %x : f32[8] return %y }";
        let graph = ir::parse(text).unwrap();
        let wrong = Rule { name: "relu-is-abs", tolerance: 1e-5, apply: relu_is_abs };
        let saturated = saturate(&graph, &[vec![wrong]], &Options::default()).unwrap();
        assert_eq!(saturated.fired, [("relu-is-abs".to_owned(), 1)]);
        let error = check_classes(&saturated, &[wrong], 1).unwrap_err();
        assert!(error.contains("Abs") && error.contains("Relu"), "{error}");
        let right = saturate(&graph, &[], &Options::default()).unwrap();
        assert_eq!(check_classes(&right, &[], 1), Ok(()));
    }
}
