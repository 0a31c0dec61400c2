//! Cutting a problem where all ways lead through one class, and into what hangs together.

use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::unionfind::UnionFind;

use super::problem::Problem;

impl Problem {
    /// Problems without anything in common whose best solutions are a best one of this together, made as small as they
    /// get; `None` if a root has no finite form.
    pub fn parts(self) -> Option<Vec<Problem>> {
        let mut problem = self.reduced()?;
        while problem.cut() {
            problem = problem.reduced()?;
        }
        Some(problem.components())
    }

    /// What every solution computes becomes a root, and stops being a need of others: it is there anyway. Only within
    /// a strongly connected component needs stay as they are, for circles must be seen. Returns whether that changed
    /// anything.
    fn cut(&mut self) -> bool {
        let always = self.always();
        let component = self.strong_components();
        let mut changed = false;
        for (class, choices) in self.classes.iter_mut().enumerate() {
            for choice in choices {
                let before = choice.needs.len();
                choice.needs.retain(|need| {
                    component[*need] == component[class] || always.binary_search(need).is_err()
                });
                changed |= choice.needs.len() != before;
            }
        }
        self.roots = always;
        changed
    }

    /// For each class the number of its strongly connected component.
    fn strong_components(&self) -> Vec<usize> {
        let edges = self.needs().map(|(class, need)| (class as u32, need as u32));
        let mut graph: DiGraph<(), ()> = DiGraph::from_edges(edges);
        while graph.node_count() < self.classes.len() {
            graph.add_node(());
        }
        let mut component = vec![0; self.classes.len()];
        for (number, members) in petgraph::algo::tarjan_scc(&graph).into_iter().enumerate() {
            members.into_iter().map(NodeIndex::index).for_each(|class| component[class] = number);
        }
        component
    }

    /// One problem for each set of classes that needs connect, by their first class.
    fn components(&self) -> Vec<Problem> {
        let mut sets = UnionFind::<usize>::new(self.classes.len());
        for (class, need) in self.needs() {
            sets.union(class, need);
        }
        let mut members: std::collections::BTreeMap<usize, Vec<usize>> = Default::default();
        let mut first: Vec<Option<usize>> = vec![None; self.classes.len()];
        for class in 0..self.classes.len() {
            let first = *first[sets.find(class)].get_or_insert(class);
            members.entry(first).or_default().push(class);
        }
        members.values().map(|members| self.among(members)).collect()
    }
}
