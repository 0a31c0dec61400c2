use std::collections::BTreeSet;
use std::sync::Arc;

use egg::{Applier, Id, PatternAst, SearchMatches, Searcher, Subst, Symbol, Var};
use ir::{Scalar, Tensor, TensorType};
use ops::{AnyOp, Op, OpKind};

use crate::map::Map;
use crate::node::Declined;
use crate::{EGraph, Facts, Node};

/// A way to say the same thing differently.
#[derive(Clone, Copy)]
pub struct Rule {
    pub name: &'static str,
    /// How far floats may be off what they were, relative to the largest of a tensor: 0 where nothing is rounded
    /// differently.
    pub tolerance: f64,
    /// Looks at one node of one class and tells what else the class is.
    pub apply: fn(&Site, &mut Found),
}

/// An expression over classes, for a rule to say what something equals.
#[derive(Debug, Clone)]
pub enum Term {
    Class(Id),
    Constant(Tensor),
    Apply(AnyOp, Vec<Term>),
    Proj(usize, Box<Term>),
}

impl Term {
    pub fn apply(op: impl Into<AnyOp>, args: impl IntoIterator<Item = Term>) -> Term {
        Term::Apply(op.into(), args.into_iter().collect())
    }
}

impl From<Id> for Term {
    fn from(class: Id) -> Term {
        Term::Class(class)
    }
}

/// What a rule has to say about a site.
#[derive(Default)]
pub struct Found {
    pub equal: Vec<Term>,
    /// Why the rule did not apply although it nearly did.
    pub declined: Vec<String>,
}

impl Found {
    pub fn equal(&mut self, term: Term) {
        self.equal.push(term);
    }

    pub fn declined(&mut self, reason: impl Into<String>) {
        self.declined.push(reason.into());
    }
}

/// A node of a class, as a rule sees it.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    pub egraph: &'a EGraph,
    pub class: Id,
    pub node: &'a Node,
}

impl<'a> Site<'a> {
    /// The node's operator and operands, if it is a `T`.
    pub fn is<T: Op + 'a>(&self) -> Option<(&'a T, &'a [Id])>
    where
        &'a T: TryFrom<&'a AnyOp>,
    {
        let (op, args) = self.node.op()?;
        Some((<&T>::try_from(op).ok()?, args))
    }

    /// All forms of `class` that are an operator.
    pub fn forms(&self, class: Id) -> impl Iterator<Item = (&'a AnyOp, &'a [Id])> + use<'a> {
        self.egraph[class].nodes.iter().filter_map(Node::op)
    }

    /// All forms of `class` that are a `T`.
    pub fn forms_of<T: Op + 'a>(&self, class: Id) -> impl Iterator<Item = (&'a T, &'a [Id])> + use<'a, T>
    where
        &'a T: TryFrom<&'a AnyOp>,
    {
        self.forms(class).filter_map(|(op, args)| Some((<&T>::try_from(op).ok()?, args)))
    }

    pub fn ty(&self, class: Id) -> &'a TensorType {
        self.egraph[class].data.ty()
    }

    pub fn types(&self, classes: &[Id]) -> Vec<TensorType> {
        classes.iter().map(|&class| self.ty(class).clone()).collect()
    }

    /// Of the site's own class.
    pub fn result(&self) -> &'a TensorType {
        self.ty(self.class)
    }

    /// The node as an elementwise map over its operands, if it is one.
    pub fn map(&self) -> Option<Arc<Map>> {
        let Node::Apply(op, args) = self.node else { return None };
        let key = (Arc::clone(op), self.types(args));
        if let Some(known) = self.egraph.analysis.maps.borrow().get(&key) {
            return known.clone();
        }
        let map = Map::of(op, &key.1).map(Arc::new);
        self.egraph.analysis.maps.borrow_mut().insert(key, map.clone());
        map
    }

    /// The value of every element of `class`, if it is a constant that is the same everywhere.
    pub fn uniform(&self, class: Id) -> Option<f64> {
        self.egraph[class].data.uniform.map(Scalar::as_f64)
    }

    pub fn is_constant(&self, class: Id) -> bool {
        self.egraph[class].data.constant
    }

    /// The value of `class`, if the model has it as a constant.
    pub fn tensor(&self, class: Id) -> Option<&'a Tensor> {
        self.egraph[class].nodes.iter().find_map(|node| match node {
            Node::Constant(number) => self.egraph.analysis.constants.get(*number),
            _ => None,
        })
    }

    pub fn same(&self, a: Id, b: Id) -> bool {
        self.egraph.find(a) == self.egraph.find(b)
    }
}

/// `rule` as egg runs it: every class is a match, and applying it asks the rule about each node in turn.
pub(crate) fn rewrite(rule: Rule) -> egg::Rewrite<Node, Facts> {
    match egg::Rewrite::new(rule.name, Everywhere, rule) {
        Ok(rewrite) => rewrite,
        Err(err) => unreachable!("no variables, none unbound: {err}"),
    }
}

struct Everywhere;

impl Searcher<Node, Facts> for Everywhere {
    fn search_eclass_with_limit(&self, _: &EGraph, class: Id, _: usize) -> Option<SearchMatches<'_, Node>> {
        Some(SearchMatches { eclass: class, substs: vec![Subst::default()], ast: None })
    }

    fn vars(&self) -> Vec<Var> {
        vec![]
    }
}

impl Applier<Node, Facts> for Rule {
    fn apply_one(
        &self,
        egraph: &mut EGraph,
        class: Id,
        _: &Subst,
        _: Option<&PatternAst<Node>>,
        _: Symbol,
    ) -> Vec<Id> {
        let class = egraph.find(class);
        let mut found = Found::default();
        for node in &egraph[class].nodes {
            (self.apply)(&Site { egraph, class, node }, &mut found);
        }
        for reason in found.declined {
            let nodes = egraph[class].data.origins.clone();
            egraph.analysis.declined.insert(Declined { rule: self.name, nodes, reason });
        }
        let origins = egraph[class].data.origins.clone();
        let mut changed = vec![];
        for term in &found.equal {
            match insert(egraph, term, &origins) {
                Ok(id) if egraph[id].data.types == egraph[class].data.types => {
                    if egraph.union_trusted(class, id, self.name) {
                        changed.push(id);
                    }
                }
                Ok(id) => {
                    let (is, says) = (&egraph[class].data.types, &egraph[id].data.types);
                    let message = format!("rule {}: {is:?} is said to equal {says:?}: {term:?}", self.name);
                    egraph.analysis.broken.get_or_insert(message);
                }
                Err(err) => {
                    egraph.analysis.broken.get_or_insert(format!("rule {}: {err}", self.name));
                }
            }
        }
        if !changed.is_empty() {
            *egraph.analysis.applied.entry((self.name, origins)).or_default() += changed.len();
        }
        changed
    }
}

pub(crate) fn is_view(op: &AnyOp) -> bool {
    matches!(op.kind(), OpKind::Transpose | OpKind::Reshape)
}

/// The class of `term`; what is new and does work gets `origins`.
pub(crate) fn insert(egraph: &mut EGraph, term: &Term, origins: &BTreeSet<usize>) -> Result<Id, String> {
    let node = match term {
        Term::Class(id) => return Ok(egraph.find(*id)),
        Term::Constant(tensor) => egraph.analysis.constant(tensor),
        Term::Proj(k, of) => Node::Proj(*k, [insert(egraph, of, origins)?]),
        Term::Apply(op, args) => {
            let args =
                args.iter().map(|arg| insert(egraph, arg, origins)).collect::<Result<Vec<Id>, String>>()?;
            let types: Vec<TensorType> = args.iter().map(|&arg| egraph[arg].data.ty().clone()).collect();
            op.infer(&types).map_err(|err| format!("{op:?} over {types:?}: {err}"))?;
            Node::apply(op.clone(), args)
        }
    };
    let known = egraph.lookup(node.clone());
    // A transpose before or after some work is not that work.
    let works = matches!(&node, Node::Apply(op, _) if !is_view(op));
    let id = egraph.add(node);
    if known.is_none() && works {
        egraph[id].data.origins.extend(origins);
    }
    Ok(id)
}
