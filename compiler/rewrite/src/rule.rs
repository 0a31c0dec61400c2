use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use egg::{Applier, Id, Language, PatternAst, SearchMatches, Searcher, Subst, Symbol, Var};
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
    /// Whether one of the terms is never worse than the node.
    replaces: bool,
}

impl Found {
    pub fn equal(&mut self, term: Term) {
        self.equal.push(term);
    }

    /// As [`Found::equal`], for a term that is never worse than the node: no rule looks at that any more.
    pub fn instead(&mut self, term: Term) {
        self.equal.push(term);
        self.replaces = true;
    }

    pub fn instead_if(&mut self, term: Option<Term>) {
        if let Some(term) = term {
            self.instead(term);
        }
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
        let replaced = &self.egraph.analysis.replaced;
        let nodes = self.egraph[class].nodes.iter();
        nodes.filter(|node| replaced.is_empty() || !replaced.contains(*node)).filter_map(Node::op)
    }

    /// All forms of `class` that are a `T`.
    pub fn forms_of<T: Op + 'a>(&self, class: Id) -> impl Iterator<Item = (&'a T, &'a [Id])> + use<'a, T>
    where
        &'a T: TryFrom<&'a AnyOp>,
    {
        self.forms(class).filter_map(|(op, args)| Some((<&T>::try_from(op).ok()?, args)))
    }

    /// The classes with a form that reads `class` and that somebody needs, ascending.
    pub fn users(&self, class: Id) -> Vec<Id> {
        let idle = &self.egraph.analysis.idle;
        let users = self.egraph[class].parents().map(|user| self.egraph.find(user));
        let mut users: Vec<Id> = users.filter(|user| !idle.contains(user)).collect();
        users.sort_unstable();
        users.dedup();
        users
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
    fn search_eclass_with_limit(
        &self,
        egraph: &EGraph,
        class: Id,
        _: usize,
    ) -> Option<SearchMatches<'_, Node>> {
        let whole = || SearchMatches { eclass: class, substs: vec![Subst::default()], ast: None };
        (!egraph.analysis.idle.contains(&class)).then(whole)
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
        let mut replaced: Vec<Node> = vec![];
        for node in egraph[class].nodes.iter().filter(|node| !egraph.analysis.replaced.contains(*node)) {
            (self.apply)(&Site { egraph, class, node }, &mut found);
            if std::mem::take(&mut found.replaces) {
                replaced.push(node.clone());
            }
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
        for node in replaced {
            // What was said may be the node itself, or what it replaced.
            let known = &egraph.analysis.replaced;
            let nodes = &egraph[egraph.find(class)].nodes;
            if nodes.iter().any(|other| *other != node && !known.contains(other)) {
                egraph.analysis.replaced.insert(node);
            }
        }
        if !changed.is_empty() {
            *egraph.analysis.applied.entry((self.name, origins)).or_default() += changed.len();
        }
        changed
    }
}

/// Finds the classes that no rule need look at: the outputs at `roots` need them only through nodes that were replaced.
pub(crate) fn find_idle(egraph: &mut EGraph, roots: &[Id]) {
    let replaced = std::mem::take(&mut egraph.analysis.replaced);
    let current = |node: Node| node.map_children(|child| egraph.find(child));
    let replaced: HashSet<Node> = replaced.into_iter().map(current).collect();
    let mut needed: HashSet<Id> = HashSet::new();
    let mut work: Vec<Id> = roots.iter().map(|&root| egraph.find(root)).collect();
    while let Some(class) = work.pop() {
        if needed.insert(class) {
            let nodes = egraph[class].nodes.iter().filter(|node| !replaced.contains(*node));
            work.extend(nodes.flat_map(|node| node.children()).map(|&child| egraph.find(child)));
        }
    }
    egraph.analysis.idle = egraph.classes().map(|class| class.id).filter(|id| !needed.contains(id)).collect();
    egraph.analysis.replaced = replaced;
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
