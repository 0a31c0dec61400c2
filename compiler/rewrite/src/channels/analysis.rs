//! Forward: what each channel of each value may hold.

use std::collections::HashMap;

use ir::{DType, NodeId, NodeKind, Tensor, Value};
use loops::{Definition, Expr, Source};
use ops::{AnyOp, Graph};

use super::ConstantChannels;
use super::flow::{Carried, Contraction, Flow};
use super::interval::{Interval, Reads, evaluate, fold, rounding};

/// What the elements of a value may be, channel by channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Channels {
    /// Along which they lie; `None` where the value is taken as a whole.
    pub axis: Option<usize>,
    /// One for each channel, or one for all.
    pub values: Vec<Interval>,
}

impl Channels {
    fn whole(value: Interval) -> Channels {
        Channels { axis: None, values: vec![value] }
    }

    pub fn at(&self, channel: usize) -> Interval {
        match self.axis {
            Some(_) => self.values[channel],
            None => self.values[0],
        }
    }

    fn hull(&self, dtype: DType) -> Interval {
        self.values.iter().copied().reduce(Interval::hull).unwrap_or(Interval::any(dtype))
    }
}

/// What is known of a graph's channels.
pub struct Analysis {
    pub flows: HashMap<NodeId, Flow>,
    /// Of all values but the constants.
    pub channels: HashMap<Value, Channels>,
}

impl Analysis {
    pub fn of(graph: &Graph, order: &[NodeId], constants: ConstantChannels) -> Analysis {
        let mut analysis = Analysis { flows: HashMap::new(), channels: HashMap::new() };
        for &id in order {
            let node = graph.node(id);
            let results = match &node.kind {
                NodeKind::Constant(_) => continue,
                NodeKind::Input => vec![Channels::whole(constants.input(node.types[0].dtype))],
                NodeKind::Apply(_) => {
                    let flow = Flow::of(graph, id, |value| analysis.axis(value));
                    let results = analysis.results(graph, id, &flow, constants);
                    analysis.flows.insert(id, flow);
                    results
                }
            };
            for (result, channels) in results.into_iter().enumerate() {
                analysis.channels.insert(Value { node: id, result }, channels);
            }
        }
        analysis
    }

    pub fn axis(&self, value: Value) -> Option<usize> {
        self.channels.get(&value)?.axis
    }

    fn results(&self, graph: &Graph, id: NodeId, flow: &Flow, constants: ConstantChannels) -> Vec<Channels> {
        let operands = graph.operands(id);
        let types = &graph.node(id).types;
        match flow {
            Flow::Opaque => self.whole(graph, id, &operands).into_iter().map(Channels::whole).collect(),
            Flow::Carried(carried) => vec![self.carried(graph, &operands, carried)],
            Flow::Contracted(contraction) | Flow::Grouped { contraction, .. } => {
                let x = self.read_by(flow, contraction, &operands, constants);
                vec![Channels {
                    axis: Some(contraction.axis),
                    values: sums(flow, contraction, &x, types[0].dtype),
                }]
            }
            Flow::Placed { axis, origins } => origins
                .iter()
                .zip(types)
                .map(|(origins, ty)| {
                    let mut filled = filled(graph, id, &operands, *axis).into_iter();
                    let value = |origin: &Option<(usize, usize)>| match origin {
                        Some((operand, channel)) => self.channels[&operands[*operand]].at(*channel),
                        None => filled.next().unwrap_or(Interval::any(ty.dtype)),
                    };
                    Channels { axis: Some(*axis), values: origins.iter().map(value).collect() }
                })
                .collect(),
        }
    }

    /// The channels of operand 0 as sums read them: within the bound that is taken for granted, and zero besides where
    /// the operand is padded.
    fn read_by(
        &self,
        flow: &Flow,
        contraction: &Contraction,
        operands: &[Value],
        constants: ConstantChannels,
    ) -> Vec<Interval> {
        let x = self.channels.get(&operands[0]);
        let whole = x.map_or(Interval::any(DType::F32), |x| x.hull(DType::F32));
        let channel = |channel: usize| {
            let value = match x.filter(|x| x.axis == Some(contraction.summed)) {
                Some(x) => x.at(channel),
                None => whole,
            };
            let value = constants.activation(value);
            if contraction.padded { value.hull(Interval::ZERO) } else { value }
        };
        (0..flow.groups() * contraction.inputs).map(channel).collect()
    }

    /// Each result as a whole, from the operands as wholes.
    fn whole(&self, graph: &Graph, id: NodeId, operands: &[Value]) -> Vec<Interval> {
        let node = graph.node(id);
        let NodeKind::Apply(op) = &node.kind else { return vec![] };
        let types = graph.types(operands);
        let definition = op.meaning(&types).definition(&types, &node.types);
        let mut reads = self.reads(graph, operands, &vec![None; operands.len()], &definition);
        let stages = reads.run(&definition, 0);
        definition.results.iter().map(|&stage| stages[stage].0).collect()
    }

    fn carried(&self, graph: &Graph, operands: &[Value], carried: &Carried) -> Channels {
        let Carried { definition, along, axis, occupied, .. } = carried;
        let result = definition.results[0];
        let mut reads = self.reads(graph, operands, along, definition);
        reads.occupied = *occupied;
        let channels = 0..definition.stages[result].domain[*axis];
        let values = channels.map(|channel| reads.run(definition, channel)[result].0).collect();
        Channels { axis: Some(*axis), values }
    }

    fn reads(
        &self,
        graph: &Graph,
        operands: &[Value],
        along: &[Option<usize>],
        definition: &Definition,
    ) -> ChannelOf {
        let operand = |(&value, &along): (&Value, &Option<usize>)| {
            let dtype = graph.ty(value).dtype;
            let values = match (graph.constant_value(value), self.channels.get(&value)) {
                (Some(tensor), _) => of_constant(tensor, along),
                (None, Some(channels)) if along.is_some() => channels.values.clone(),
                (None, Some(channels)) => vec![channels.hull(dtype)],
                (None, None) => vec![Interval::any(dtype)],
            };
            (values, dtype)
        };
        let table = |table: &Tensor| (of_constant(table, None)[0], table.ty.dtype);
        ChannelOf {
            operands: operands.iter().zip(along).map(operand).collect(),
            tables: definition.tables.iter().map(table).collect(),
            occupied: false,
            channel: 0,
            stages: vec![],
            folded: None,
        }
    }
}

/// One channel's way through a definition.
struct ChannelOf {
    /// Of each operand one interval a channel, or one for all; and its type.
    operands: Vec<(Vec<Interval>, DType)>,
    tables: Vec<(Interval, DType)>,
    /// See [`Carried::occupied`].
    occupied: bool,
    channel: usize,
    stages: Vec<(Interval, DType)>,
    folded: Option<(Interval, DType)>,
}

impl ChannelOf {
    /// What each stage gives for a channel.
    fn run(&mut self, definition: &Definition, channel: usize) -> &[(Interval, DType)] {
        self.channel = channel;
        self.stages.clear();
        for stage in &definition.stages {
            let body = match (&stage.body, stage.fold) {
                (Expr::Select { then, otherwise, .. }, Some(kind))
                    if self.occupied && **otherwise == Expr::Const(kind.identity(stage.dtype)) =>
                {
                    then
                }
                (body, _) => body,
            };
            let (mut value, mut dtype) = evaluate(body, self);
            if let Some(kind) = stage.fold {
                value = fold(kind, value, stage.reduction.iter().product(), dtype);
            }
            if let Some(finish) = &stage.finish {
                self.folded = Some((value, dtype));
                (value, dtype) = evaluate(finish, self);
            }
            self.stages.push((value, dtype));
        }
        &self.stages
    }
}

impl Reads for ChannelOf {
    fn read(&self, source: Source) -> (Interval, DType) {
        match source {
            Source::Stage(k) => self.stages[k],
            Source::Table(k) => self.tables[k],
            Source::Operand(k) => {
                let (values, dtype) = &self.operands[k];
                (values[if values.len() == 1 { 0 } else { self.channel }], *dtype)
            }
        }
    }

    fn folded(&self) -> (Interval, DType) {
        self.folded.unwrap_or((Interval::any(DType::F64), DType::F64))
    }
}

/// A constant place by place along an axis, or all of it.
fn of_constant(tensor: &Tensor, axis: Option<usize>) -> Vec<Interval> {
    // Taken as a whole, a large one (an embedding, a matrix product's other factor) tells little for its time.
    const LARGE: usize = 1 << 16;
    let Some(axis) = axis else {
        return match tensor.ty.elements() {
            0..LARGE => vec![Interval::around(tensor.scalars())],
            _ => vec![Interval::any(tensor.ty.dtype)],
        };
    };
    let (stride, extent) = (tensor.ty.strides()[axis], tensor.ty.shape[axis]);
    let at = |place: usize| {
        let outer = (0..tensor.ty.elements() / (stride * extent)).map(move |o| (o * extent + place) * stride);
        Interval::around(outer.flat_map(|first| (first..first + stride).map(|element| tensor.get(element))))
    };
    (0..extent).map(at).collect()
}

/// The channels that come from no other value: those of a concatenation's constants, or what a pad is filled with.
fn filled(graph: &Graph, id: NodeId, operands: &[Value], axis: usize) -> Vec<Interval> {
    if let NodeKind::Apply(AnyOp::Pad(pad)) = &graph.node(id).kind {
        let value = pad.value.map_or(Interval::ZERO, Interval::of);
        return vec![value; graph.node(id).types[0].shape[axis]];
    }
    let constants = operands.iter().filter_map(|&value| graph.constant_value(value));
    constants.flat_map(|tensor| of_constant(tensor, Some(axis))).collect()
}

/// Each output of a contraction of the channels `x`.
fn sums(flow: &Flow, contraction: &Contraction, x: &[Interval], dtype: DType) -> Vec<Interval> {
    let mut totals = vec![Interval::ZERO; contraction.outputs];
    let mut magnitudes = vec![0.0; contraction.outputs];
    // A group's inputs lie behind those of the groups before it.
    let each = contraction.outputs / flow.groups();
    let firsts: Vec<usize> = (0..contraction.outputs).map(|o| o / each * contraction.inputs).collect();
    for (o, c) in contraction.pairs() {
        let x = x[firsts[o] + c];
        let (mut negative, mut positive) = (0.0, 0.0);
        for weight in contraction.weights(o, c) {
            negative += weight.min(0.0);
            positive += weight.max(0.0);
            // The minimum with a NaN is the other number.
            magnitudes[o] += weight.abs() * x.magnitude();
        }
        // Taps may fall on any elements of the channel, each its own.
        totals[o].low += positive * x.low + negative * x.high;
        totals[o].high += positive * x.high + negative * x.low;
        totals[o].nan |= !x.is_finite() || !magnitudes[o].is_finite();
    }
    let finished = |(o, total): (usize, Interval)| {
        let error = match magnitudes[o] {
            0.0 => 0.0,
            magnitude => contraction.terms() as f64 * rounding(magnitude, dtype),
        };
        let total = Interval { low: total.low - error, high: total.high + error, nan: total.nan };
        // Overflow is not followed.
        if !total.is_finite() || total.magnitude() > f64::from(f32::MAX) {
            return Interval::any(dtype);
        }
        match contraction.bias.get(o) {
            Some(&bias) if bias.is_finite() => total.add(Interval::point(bias), dtype),
            Some(_) => Interval::any(dtype),
            None => total,
        }
    };
    totals.into_iter().enumerate().map(finished).collect()
}
