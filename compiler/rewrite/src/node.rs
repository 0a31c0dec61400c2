use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use egg::{DidMerge, Id, Language};
use ir::{Tensor, TensorType};
use ops::{AnyOp, OpKind};

use crate::EGraph;
use crate::map::Map;

/// An e-node. A class of an operator with several results stands for all of them; `Proj` picks one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    /// The graph's `k`-th input.
    Input(usize),
    /// The `k`-th of [`Facts::constants`].
    Constant(usize),
    Apply(Arc<AnyOp>, Vec<Id>),
    Proj(usize, [Id; 1]),
}

impl Node {
    pub fn apply(op: impl Into<AnyOp>, args: Vec<Id>) -> Node {
        Node::Apply(Arc::new(op.into()), args)
    }

    /// The operator and its operands, if it is one.
    pub fn op(&self) -> Option<(&AnyOp, &[Id])> {
        match self {
            Node::Apply(op, args) => Some((op, args)),
            _ => None,
        }
    }
}

/// What nodes have in common that are the same but for attributes and operands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Discriminant {
    Input,
    Constant,
    Apply(OpKind, usize),
    Proj,
}

impl Language for Node {
    type Discriminant = Discriminant;

    fn discriminant(&self) -> Discriminant {
        match self {
            Node::Input(_) => Discriminant::Input,
            Node::Constant(_) => Discriminant::Constant,
            Node::Apply(op, args) => Discriminant::Apply(op.kind(), args.len()),
            Node::Proj(..) => Discriminant::Proj,
        }
    }

    fn matches(&self, other: &Node) -> bool {
        match (self, other) {
            (Node::Apply(op, args), Node::Apply(op2, args2)) => op == op2 && args.len() == args2.len(),
            (Node::Proj(k, _), Node::Proj(k2, _)) => k == k2,
            _ => self == other,
        }
    }

    fn children(&self) -> &[Id] {
        match self {
            Node::Input(_) | Node::Constant(_) => &[],
            Node::Apply(_, args) => args,
            Node::Proj(_, arg) => arg,
        }
    }

    fn children_mut(&mut self) -> &mut [Id] {
        match self {
            Node::Input(_) | Node::Constant(_) => &mut [],
            Node::Apply(_, args) => args,
            Node::Proj(_, arg) => arg,
        }
    }
}

/// The e-class analysis, and what nodes refer to by number.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub inputs: Vec<TensorType>,
    pub constants: Vec<Tensor>,
    numbers: HashMap<Tensor, usize>,
    /// The first rule that equated two things of different type, or built something that is of none: a bug in it.
    pub broken: Option<String>,
    /// Rules that nearly applied: the rule, the nodes of the original graph it was at, and why it did not.
    pub declined: BTreeSet<Declined>,
    /// How often each rule said something new, by the nodes of the original graph that it was about.
    pub applied: BTreeMap<(&'static str, BTreeSet<usize>), usize>,
    /// Whether results are elementwise, by operator and types; filled when asked.
    pub(crate) maps: RefCell<Maps>,
}

/// Of an operator over operands of these types.
type Maps = HashMap<(Arc<AnyOp>, Vec<TensorType>), Option<Arc<Map>>>;

/// Why a rule did not apply although it nearly did.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Declined {
    pub rule: &'static str,
    /// Of the original graph.
    pub nodes: BTreeSet<usize>,
    pub reason: String,
}

impl Facts {
    pub fn new(inputs: Vec<TensorType>) -> Facts {
        Facts { inputs, ..Facts::default() }
    }

    /// The node that is `tensor`; equal tensors are one node.
    pub fn constant(&mut self, tensor: &Tensor) -> Node {
        let next = self.constants.len();
        let number = *self.numbers.entry(tensor.clone()).or_insert(next);
        if number == next {
            self.constants.push(tensor.clone());
        }
        Node::Constant(number)
    }
}

/// What is known of a class: it holds for each of its nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct Class {
    /// Of each result.
    pub types: Arc<[TensorType]>,
    /// Whether no input has a part in it, so that it is known before the model runs.
    pub constant: bool,
    /// The nodes of the original graph that this is, or that the rule was applied to which brought it.
    pub origins: BTreeSet<usize>,
}

impl Class {
    /// The type of a single result.
    pub fn ty(&self) -> &TensorType {
        &self.types[0]
    }
}

impl egg::Analysis<Node> for Facts {
    type Data = Class;

    fn make(egraph: &mut EGraph, node: &Node, _: Id) -> Class {
        let of = |id: &Id| &egraph[*id].data;
        let types: Result<Vec<TensorType>, String> = match node {
            Node::Input(k) => Ok(vec![egraph.analysis.inputs[*k].clone()]),
            Node::Constant(k) => Ok(vec![egraph.analysis.constants[*k].ty.clone()]),
            Node::Proj(k, [arg]) => {
                of(arg).types.get(*k).map(|ty| vec![ty.clone()]).ok_or(format!("no result {k}"))
            }
            Node::Apply(op, args) => {
                let inputs: Vec<TensorType> = args.iter().map(|arg| of(arg).ty().clone()).collect();
                op.infer(&inputs).map_err(|err| format!("{op:?} over {inputs:?}: {err}"))
            }
        };
        let constant = match node {
            Node::Input(_) => false,
            _ => node.children().iter().all(|arg| of(arg).constant),
        };
        // Rules are checked before anything is added, so this happens only to a broken graph.
        let types = types.unwrap_or_else(|err| {
            egraph.analysis.broken.get_or_insert(err);
            vec![TensorType::new(ir::DType::Bool, [0])]
        });
        Class { types: types.into(), constant, origins: BTreeSet::new() }
    }

    fn merge(&mut self, a: &mut Class, b: Class) -> DidMerge {
        if a.types != b.types {
            self.broken.get_or_insert(format!("{:?} was equated with {:?}", a.types, b.types));
        }
        let before = a.constant;
        a.constant |= b.constant;
        // Origins say nothing about parents: they are merged without waking them.
        a.origins.extend(&b.origins);
        DidMerge(a.constant != before, a.constant != b.constant)
    }
}
