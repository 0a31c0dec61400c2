//! Forward: what each channel of each value may hold.

use std::collections::HashMap;

use ir::{DType, NodeId, NodeKind, Tensor, Value};
use loops::Source;
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
            Flow::Opaque => types.iter().map(|ty| Channels::whole(Interval::any(ty.dtype))).collect(),
            Flow::Carried(carried) => vec![self.carried(graph, &operands, carried)],
            Flow::Contracted(contraction) | Flow::Grouped { contraction, .. } => {
                let x = self.read_by(flow, contraction, &operands, constants);
                vec![Channels { axis: Some(contraction.axis), values: sums(contraction, x, types[0].dtype) }]
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

    /// What outputs read as their inputs: within the bound that is taken for granted, and zero besides where operand 0
    /// is padded.
    fn read_by<'a>(
        &'a self,
        flow: &Flow,
        contraction: &'a Contraction,
        operands: &[Value],
        constants: ConstantChannels,
    ) -> impl Fn(usize, usize) -> Interval + 'a {
        let x = self.channels.get(&operands[0]);
        // A group's inputs lie behind those of the groups before it.
        let each = match flow {
            Flow::Grouped { group, .. } => contraction.outputs / group,
            _ => contraction.outputs,
        };
        move |o, c| {
            let channel = o / each * contraction.inputs + c;
            let value = match x {
                Some(x) if x.axis == Some(contraction.summed) => x.at(channel),
                Some(x) => x.hull(DType::F32),
                None => Interval::any(DType::F32),
            };
            let value = constants.activation(value);
            if contraction.padded { value.hull(Interval::ZERO) } else { value }
        }
    }

    fn carried(&self, graph: &Graph, operands: &[Value], carried: &Carried) -> Channels {
        let result = carried.definition.results[0];
        let channels = carried.definition.stages[result].domain[carried.axis];
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
        let table = |table: &Tensor| (Interval::around(table.scalars()), table.ty.dtype);
        let mut reads = ChannelOf {
            operands: operands.iter().zip(&carried.along).map(operand).collect(),
            tables: carried.definition.tables.iter().map(table).collect(),
            channel: 0,
            stages: vec![],
            folded: None,
        };
        let mut values = Vec::with_capacity(channels);
        for channel in 0..channels {
            reads.channel = channel;
            reads.stages.clear();
            for stage in &carried.definition.stages {
                let (mut value, mut dtype) = evaluate(&stage.body, &reads);
                if let Some(kind) = stage.fold {
                    value = fold(kind, value, stage.reduction.iter().product(), dtype);
                }
                if let Some(finish) = &stage.finish {
                    reads.folded = Some((value, dtype));
                    (value, dtype) = evaluate(finish, &reads);
                }
                reads.stages.push((value, dtype));
            }
            values.push(reads.stages[result].0);
        }
        Channels { axis: Some(carried.axis), values }
    }
}

/// One channel's way through a definition.
struct ChannelOf {
    /// Of each operand one interval a channel, or one for all; and its type.
    operands: Vec<(Vec<Interval>, DType)>,
    tables: Vec<(Interval, DType)>,
    channel: usize,
    stages: Vec<(Interval, DType)>,
    folded: Option<(Interval, DType)>,
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
    let Some(axis) = axis else { return vec![Interval::around(tensor.scalars())] };
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

/// Each output of a contraction, of what `x` says that output `o` reads as input `c`.
fn sums(contraction: &Contraction, x: impl Fn(usize, usize) -> Interval, dtype: DType) -> Vec<Interval> {
    let mut totals = vec![Interval::ZERO; contraction.outputs];
    let mut magnitudes = vec![0.0; contraction.outputs];
    for (o, c) in contraction.pairs() {
        let x = x(o, c);
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
