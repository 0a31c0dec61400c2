use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use egg::{DidMerge, Id, Language};
use ir::{Scalar, Tensor, TensorType};
use ops::{AnyOp, Meaning, OpKind};

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
    /// The constants' numbers by their digests.
    numbers: HashMap<u64, Vec<usize>>,
    /// The first rule that equated two things of different type, or built something that is of none: a bug in it.
    pub broken: Option<String>,
    /// Rules that nearly applied: the rule, the nodes of the original graph it was at, and why it did not.
    pub declined: BTreeSet<Declined>,
    /// How often each rule said something new, by the nodes of the original graph that it was about.
    pub applied: BTreeMap<(&'static str, BTreeSet<usize>), usize>,
    /// Nodes in whose place their class has one that is never worse: rules look at them no more.
    pub(crate) replaced: HashSet<Node>,
    /// Classes that no output needs but through replaced nodes.
    pub(crate) idle: HashSet<Id>,
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
        let alike = self.numbers.entry(digest(tensor)).or_default();
        let number = alike.iter().copied().find(|&number| self.constants[number] == *tensor).unwrap_or(next);
        if number == next {
            alike.push(next);
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
    /// The value of every element, of a constant that is the same everywhere.
    pub uniform: Option<Scalar>,
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
        let uniform = match node {
            Node::Constant(k) => uniform(&egraph.analysis.constants[*k]),
            Node::Apply(op, args) if constant => {
                let operands: Option<Vec<(TensorType, Scalar)>> =
                    args.iter().map(|arg| Some((of(arg).ty().clone(), of(arg).uniform?))).collect();
                operands.and_then(|operands| uniform_result(op, &operands))
            }
            _ => None,
        };
        // Rules are checked before anything is added, so this happens only to a broken graph.
        let types = types.unwrap_or_else(|err| {
            egraph.analysis.broken.get_or_insert(err);
            vec![TensorType::new(ir::DType::Bool, [0])]
        });
        Class { types: types.into(), constant, uniform, origins: BTreeSet::new() }
    }

    fn merge(&mut self, a: &mut Class, b: Class) -> DidMerge {
        if a.types != b.types {
            self.broken.get_or_insert(format!("{:?} was equated with {:?}", a.types, b.types));
        }
        let before = (a.constant, a.uniform.is_some());
        a.constant |= b.constant;
        // Two computations of one value may round differently: either will do.
        a.uniform = a.uniform.or(b.uniform);
        // Origins say nothing about parents: they are merged without waking them.
        a.origins.extend(&b.origins);
        let now = (a.constant, a.uniform.is_some());
        DidMerge(now != before, now != (b.constant, b.uniform.is_some()))
    }
}

/// Of a tensor's type and of some of its bytes: hashing all of a large model's weights would take longer than
/// rewriting it.
fn digest(tensor: &Tensor) -> u64 {
    const SAMPLES: usize = 64;
    let mut hasher = DefaultHasher::new();
    tensor.ty.hash(&mut hasher);
    let stride = tensor.data.len().div_ceil(SAMPLES).max(8);
    tensor.data.chunks(stride).for_each(|part| part[..part.len().min(8)].hash(&mut hasher));
    hasher.finish()
}

fn uniform(tensor: &Tensor) -> Option<Scalar> {
    let mut elements = tensor.data.chunks_exact(tensor.ty.dtype.bytes());
    let first = elements.next()?;
    elements.all(|element| element == first).then(|| Scalar::from_le_bytes(tensor.ty.dtype, first))
}

/// What an elementwise operator or a view makes of operands that are each the same everywhere.
fn uniform_result(op: &AnyOp, operands: &[(TensorType, Scalar)]) -> Option<Scalar> {
    let types: Vec<TensorType> = operands.iter().map(|(ty, _)| ty.clone()).collect();
    match op.meaning(&types) {
        Meaning::Reshape | Meaning::View(_) => operands.first().map(|(_, value)| *value),
        Meaning::Concat { .. } => None,
        Meaning::Compute(_) => {
            Map::of(op, &types).filter(|_| !operands.is_empty())?;
            let tensors: Vec<Tensor> = operands.iter().map(|(_, value)| Tensor::scalar(*value)).collect();
            let scalars: Vec<TensorType> = tensors.iter().map(|tensor| tensor.ty.clone()).collect();
            let results = op.infer(&scalars).ok()?;
            (results.len() == 1 && results[0].rank() == 0)
                .then(|| op.eval(&tensors.iter().collect::<Vec<_>>())[0].get(0))
        }
    }
}
