//! Narrow storage: what convolutions and matrix products read is kept in half as many bits.
//!
//! No equality, and therefore no rule: results change. An `F32` tensor that a product is taken of is stored as
//! bfloat16 or as a half float, rounded once to nearest even where it is computed; weights are rounded at compile time.
//! Where time counts more than memory, products that take much longer so stay as they are. Products are exact in `F32`
//! and are summed there, as all other arithmetic is done in `F32`: kernels widen what they read and round what they
//! store. Inputs and outputs of the model stay as they are.

use std::collections::{HashMap, HashSet};

use ir::{DType, NodeId, NodeKind, Scalar, Tensor, TensorType, Value};
use loops::{Expr, Source};
use ops::ops::cast::Cast;
use ops::ops::fused::{Fused, Prologue};
use ops::{AnyOp, Graph, Meaning};

use crate::{CostModel, Error};

/// What the operands of convolutions and matrix products are stored in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// As the model has them.
    #[default]
    F32,
    /// bfloat16: the range of `F32`, 8 bits of significand.
    Bf16,
    /// IEEE half: 11 bits of significand; what is beyond 65504 becomes infinite.
    F16,
}

const WIDE: DType = DType::F32;

/// `graph` in `precision`, with the same inputs and outputs.
pub(crate) fn store(graph: Graph, precision: Precision, cost: &dyn CostModel) -> Result<Graph, Error> {
    match precision {
        Precision::F32 => Ok(graph),
        Precision::Bf16 => Storing::new(&graph, DType::BF16, cost).graph(),
        Precision::F16 => Storing::new(&graph, DType::F16, cost).graph(),
    }
}

/// The operands that `op` multiplies with each other and sums.
fn factors(op: &AnyOp) -> &'static [usize] {
    match op {
        AnyOp::Conv(_) | AnyOp::ConvTranspose(_) | AnyOp::Matmul(_) => &[0, 1],
        AnyOp::Attention(_) => &[0, 1, 2],
        AnyOp::Fused(fused) => factors(&fused.root),
        _ => &[],
    }
}

struct Storing<'g> {
    old: &'g Graph,
    /// What is stored narrow is stored in this.
    narrow_type: DType,
    cost: &'g dyn CostModel,
    /// Operators that take products of narrow operands.
    multiplying: HashSet<NodeId>,
    /// The values of the old graph that products are taken of.
    narrow: HashSet<Value>,
    new: Graph,
    /// Each value of the old graph as it is stored in the new one, and what it was converted to beside.
    places: HashMap<Value, Value>,
    converted: HashMap<(Value, DType), Value>,
}

impl<'g> Storing<'g> {
    fn new(old: &'g Graph, narrow_type: DType, cost: &'g dyn CostModel) -> Storing<'g> {
        let (places, converted) = (HashMap::new(), HashMap::new());
        let multiplying = multiplying(old, narrow_type, cost);
        Storing {
            old,
            narrow_type,
            cost,
            narrow: narrow(old, &multiplying),
            multiplying,
            new: Graph::new(old.name.clone()),
            places,
            converted,
        }
    }

    fn graph(mut self) -> Result<Graph, Error> {
        // Before all else, so that they keep their order.
        for &id in self.old.inputs() {
            let node = self.old.node(id);
            let input = self.new.input(node.name.clone(), node.types[0].clone());
            self.places.insert(Value { node: id, result: 0 }, input);
        }
        for id in self.old.order() {
            let node = self.old.node(id);
            match &node.kind {
                NodeKind::Input => {}
                NodeKind::Constant(tensor) => {
                    let constant = self.new.constant(node.name.clone(), tensor.clone());
                    self.places.insert(Value { node: id, result: 0 }, constant);
                }
                NodeKind::Apply(op) => self.apply(id, op)?,
            }
        }
        for (name, value) in self.old.outputs() {
            let value = self.stored_as(*value, self.old.ty(*value).dtype, name)?;
            self.new.output(name.clone(), value);
        }
        self.new.drop_dead();
        Ok(self.new)
    }

    fn apply(&mut self, id: NodeId, op: &AnyOp) -> Result<(), Error> {
        let node = self.old.node(id);
        let operands = self.old.operands(id);
        let types = self.old.types(&operands);
        let result = Value { node: id, result: 0 };
        let mut reads = Vec::new();
        let op = if matches!(op.meaning(&types), Meaning::Compute(_)) {
            let one_result = node.types.len() == 1;
            // A result that is an output as well stays as exact as it was computed.
            let is_output = self.old.outputs().iter().any(|(_, output)| *output == result);
            let round = one_result && self.narrow.contains(&result) && !is_output;
            let converted = Conversions {
                op,
                operands: &types,
                result: &node.types[0],
                widened: vec![],
                round,
                narrow_type: self.narrow_type,
            };
            let converted = match one_result {
                true => self.cheapest(converted, id, &operands),
                false => converted,
            };
            for (k, &value) in operands.iter().enumerate() {
                let narrow = converted.widened.contains(&k);
                let dtype = if narrow { self.narrow_type } else { types[k].dtype };
                reads.push(self.stored_as(value, dtype, &node.name)?);
            }
            converted.op()
        } else {
            // A look at what is stored wide stays one; its readers convert what they see.
            let follows = |&value: &Value| {
                self.dtype(value) == self.narrow_type
                    || self.new.constant_value(self.places[&value]).is_some()
            };
            let narrow = self.narrow.contains(&result) && operands.iter().any(follows);
            for (&value, ty) in operands.iter().zip(&types) {
                reads.push(self.stored_as(
                    value,
                    if narrow { self.narrow_type } else { ty.dtype },
                    &node.name,
                )?);
            }
            op.clone()
        };
        let results = self.add(&node.name, op, &reads)?;
        self.places
            .extend(results.into_iter().enumerate().map(|(k, value)| (Value { node: id, result: k }, value)));
        Ok(())
    }

    /// The operator `id` with all operands narrow that products are taken of; but weights only if none becomes infinite,
    /// and what would have to be converted first (an input of the model) only if that pays. It does not for what is seen
    /// in another order than it is stored in, an image in NCHW most of all: it would be converted element by element.
    fn cheapest<'o>(
        &self,
        mut conversions: Conversions<'o>,
        id: NodeId,
        operands: &[Value],
    ) -> Conversions<'o> {
        let multiplies = self.multiplying.contains(&id);
        let mut to_convert = Vec::new();
        for (k, &value) in operands.iter().enumerate() {
            let ty = &conversions.operands[k];
            let is_factor = multiplies && reads_as_stored(conversions.op, k) && self.narrow.contains(&value);
            let constant = self.new.constant_value(self.places[&value]);
            let is_there = self.dtype(value) == self.narrow_type
                || self.converted.contains_key(&(value, self.narrow_type));
            match is_factor {
                true if is_there => conversions.widened.push(k),
                true if constant.is_some_and(|tensor| fits(tensor, self.narrow_type)) => {
                    conversions.widened.push(k)
                }
                true if constant.is_some() || self.is_view(value) => {}
                true => to_convert.push(k),
                false if ty.dtype == WIDE && self.dtype(value) == self.narrow_type => {
                    conversions.widened.push(k)
                }
                false => {}
            }
        }
        for k in to_convert {
            let mut with = conversions.clone();
            with.widened.push(k);
            let (wide, narrow) = (&with.operands[k], with.operands[k].with_dtype(self.narrow_type));
            let cast =
                self.cost.cost(&Cast { to: self.narrow_type }.into(), std::slice::from_ref(wide), &[narrow]);
            if with.cost(self.cost) + cast < conversions.cost(self.cost) {
                conversions = with;
            }
        }
        conversions
    }

    fn is_view(&self, value: Value) -> bool {
        let NodeKind::Apply(op) = &self.old.node(value.node).kind else { return false };
        let types = self.old.types(&self.old.operands(value.node));
        matches!(op.meaning(&types), Meaning::View(_))
    }

    fn add(&mut self, name: &str, op: AnyOp, operands: &[Value]) -> Result<Vec<Value>, Error> {
        self.new.apply(name, op, operands).map_err(|error| Error::internal(format!("{name}: {error}")))
    }

    /// What a value of the old graph is stored in.
    fn dtype(&self, value: Value) -> DType {
        self.new.ty(self.places[&value]).dtype
    }

    /// A value of the old graph in this type, for the node called `reader`.
    fn stored_as(&mut self, value: Value, dtype: DType, reader: &str) -> Result<Value, Error> {
        if self.dtype(value) == dtype {
            return Ok(self.places[&value]);
        }
        if let Some(&known) = self.converted.get(&(value, dtype)) {
            return Ok(known);
        }
        let stored = self.places[&value];
        let converted = match self.new.constant_value(stored).map(|tensor| rounded(tensor, dtype)) {
            Some(tensor) => self.new.constant(self.old.node(value.node).name.clone(), tensor),
            None => self.add(reader, Cast { to: dtype }.into(), &[stored])?[0],
        };
        self.converted.insert((value, dtype), converted);
        Ok(converted)
    }
}

/// `op` over operands of which those in `widened` are narrow, and with a result that is rounded to be so if `round`.
#[derive(Clone)]
struct Conversions<'o> {
    narrow_type: DType,
    op: &'o AnyOp,
    operands: &'o [TensorType],
    result: &'o TensorType,
    widened: Vec<usize>,
    round: bool,
}

impl Conversions<'_> {
    fn cost(&self, cost: &dyn CostModel) -> f64 {
        let stored = |(k, ty): (usize, &TensorType)| match self.widened.contains(&k) {
            true => ty.with_dtype(self.narrow_type),
            false => ty.clone(),
        };
        let operands: Vec<TensorType> = self.operands.iter().enumerate().map(stored).collect();
        let result = if self.round { self.result.with_dtype(self.narrow_type) } else { self.result.clone() };
        cost.cost(&self.op(), &operands, &[result])
    }

    fn op(&self) -> AnyOp {
        if self.widened.is_empty() && !self.round {
            return self.op.clone();
        }
        let mut fused = match self.op {
            AnyOp::Fused(fused) => fused.clone(),
            root => Fused {
                root: Box::new(root.clone()),
                root_operands: self.operands.len(),
                epilogue: Expr::Folded,
                dtype: self.result.dtype,
                prologues: vec![],
            },
        };
        let widen = |expr: &Expr| {
            expr.rewrite(&mut |node| match node {
                Expr::Read { source: Source::Operand(k), .. } if self.widened.contains(k) => {
                    Some(node.clone().cast(WIDE))
                }
                _ => None,
            })
        };
        fused.epilogue = widen(&fused.epilogue);
        fused.prologues.iter_mut().for_each(|prologue| prologue.body = widen(&prologue.body));
        for &operand in self.widened.iter().filter(|&&k| k < fused.root_operands) {
            if !fused.prologues.iter().any(|prologue| prologue.operand == operand) {
                let index: Vec<Expr> = (0..self.operands[operand].rank()).map(Expr::Axis).collect();
                let body = Expr::read(Source::Operand(operand), index).cast(WIDE);
                fused.prologues.push(Prologue { operand, body, dtype: WIDE });
            }
        }
        if self.round {
            (fused.epilogue, fused.dtype) = (fused.epilogue.cast(self.narrow_type), self.narrow_type);
        }
        fused.into()
    }
}

/// An operator is left with wide operands if it then takes less than this share of what it takes with narrow ones. Not
/// any gain will do: what is narrow takes half the way to memory for its other readers, too.
const FASTER: f64 = 0.8;

/// The operators that take products, and should do so of narrow operands. Not those whose form for wide ones is much
/// faster: Winograd's, or any where numbers have to be widened one by one.
fn multiplying(graph: &Graph, narrow_type: DType, cost: &dyn CostModel) -> HashSet<NodeId> {
    let pays = |id: &NodeId| {
        let node = graph.node(*id);
        let NodeKind::Apply(op) = &node.kind else { return false };
        let types = graph.types(&graph.operands(*id));
        let factors: Vec<usize> = (0..types.len()).filter(|&k| reads_as_stored(op, k)).collect();
        let with = |widened| {
            let result = &node.types[0];
            Conversions { narrow_type, op, operands: &types, result, widened, round: false }.cost(cost)
        };
        !factors.is_empty() && (cost.short_of_memory() || with(vec![]) >= FASTER * with(factors))
    };
    graph.order().into_iter().filter(pays).collect()
}

/// The values that products are taken of, and all that share memory with them: what is only seen differently, and
/// parts of a whole.
fn narrow(graph: &Graph, multiplying: &HashSet<NodeId>) -> HashSet<Value> {
    let mut readers: HashMap<Value, Vec<NodeId>> = HashMap::new();
    let mut work = Vec::new();
    let mut shares: HashSet<NodeId> = HashSet::new();
    for id in graph.order() {
        let NodeKind::Apply(op) = &graph.node(id).kind else { continue };
        let operands = graph.operands(id);
        let types = graph.types(&operands);
        if !matches!(op.meaning(&types), Meaning::Compute(_)) {
            shares.insert(id);
            operands.iter().for_each(|&value| readers.entry(value).or_default().push(id));
        }
        let factors = (0..operands.len()).filter(|&k| multiplying.contains(&id) && reads_as_stored(op, k));
        work.extend(factors.map(|k| operands[k]));
    }
    let mut narrow = HashSet::new();
    while let Some(value) = work.pop() {
        if graph.ty(value).dtype != WIDE || !narrow.insert(value) {
            continue;
        }
        let around = readers.get(&value).into_iter().flatten().copied();
        for id in around.chain(shares.contains(&value.node).then_some(value.node)) {
            work.extend((0..graph.node(id).types.len()).map(|result| Value { node: id, result }));
            work.extend(graph.operands(id));
        }
    }
    narrow
}

/// Whether `op` multiplies its `operand`-th operand with others and sums, with no other work on it before.
fn reads_as_stored(op: &AnyOp, operand: usize) -> bool {
    let worked_on = matches!(op, AnyOp::Fused(fused) if fused.prologues.iter().any(|prologue| prologue.operand == operand));
    factors(op).contains(&operand) && !worked_on
}

/// Whether what is finite stays so.
fn fits(tensor: &Tensor, dtype: DType) -> bool {
    tensor
        .scalars()
        .map(Scalar::as_f64)
        .all(|x| !x.is_finite() || Scalar::from_f64(dtype, x).as_f64().is_finite())
}

/// To nearest, ties to even.
fn rounded(tensor: &Tensor, dtype: DType) -> Tensor {
    let bytes = tensor.scalars().flat_map(|x| Scalar::from_f64(dtype, x.as_f64()).to_le_bytes()).collect();
    Tensor::new(tensor.ty.with_dtype(dtype), bytes)
}
