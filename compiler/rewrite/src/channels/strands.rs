//! Backward: which channels belong together, and which of these are ever read with an effect.

use std::collections::HashMap;

use ir::{NodeId, Value};
use ops::Graph;

use super::ConstantChannels;
use super::analysis::Analysis;
use super::flow::{Contraction, Flow};

/// The channels of all values in strands, and what becomes of each.
pub struct Strands {
    /// The number of each value's first channel, and how many there are.
    places: HashMap<Value, (usize, usize)>,
    /// Per channel one of its own strand; the strand's first stands for it and points to itself.
    parents: Vec<usize>,
    /// Per strand, at its first channel.
    live: Vec<bool>,
    zero: Vec<bool>,
}

/// A sum that reads channels: it has an effect on each output's strand.
struct Reader<'a> {
    contraction: &'a Contraction,
    x: Value,
    result: Value,
    /// The inputs that had no effect so far, each with its strand.
    unread: Vec<(usize, usize)>,
}

/// The fewest channels that a tensor is left with if it had more: kernels for a single channel sum in another order
/// (docs/numerics.md).
const FEWEST: usize = 2;

/// The share of its channels by which a tensor may have more than it needs: they cost less than rows that do not begin
/// where a vector does (MobileNetV2's depthwise maps take 15 µs with 936 channels and 25 with 933 on an AMD Zen 3).
const FILLED: usize = 16;

impl Strands {
    pub fn of(
        graph: &Graph,
        order: &[NodeId],
        analysis: &Analysis,
        constants: ConstantChannels,
        at_once: usize,
    ) -> Strands {
        let mut strands = Strands::numbered(graph, order, analysis);
        let mut readers = strands.tie(graph, order, analysis);
        strands.settle(analysis);
        let mut by_output: HashMap<usize, Vec<(usize, usize)>> = HashMap::new();
        for (number, reader) in readers.iter_mut().enumerate() {
            let strand = |input| (input, strands.strand(reader.x, input));
            reader.unread = (0..reader.contraction.inputs).map(strand).collect();
            for output in 0..reader.contraction.outputs {
                let strand = strands.strand(reader.result, output);
                by_output.entry(strand).or_default().push((number, output));
            }
        }
        let mut work: Vec<usize> = (0..strands.live.len()).filter(|&strand| strands.live[strand]).collect();
        loop {
            while let Some(strand) = work.pop() {
                for &(reader, output) in by_output.get(&strand).into_iter().flatten() {
                    let found = strands.read(&mut readers[reader], output, analysis, constants);
                    work.extend(found);
                }
            }
            match strands.missing(order, graph, at_once) {
                Some(missing) => {
                    missing.iter().for_each(|&strand| strands.live[strand] = true);
                    work = missing;
                }
                None => return strands,
            }
        }
    }

    fn numbered(graph: &Graph, order: &[NodeId], analysis: &Analysis) -> Strands {
        let mut places = HashMap::new();
        let mut next = 0;
        for value in values(graph, order) {
            if let Some(axis) = analysis.axis(value) {
                let channels = graph.ty(value).shape[axis];
                places.insert(value, (next, channels));
                next += channels;
            }
        }
        Strands { places, parents: (0..next).collect(), live: vec![false; next], zero: vec![false; next] }
    }

    /// Ties what goes together, marks what has to stay, and gives the sums that read channels.
    fn tie<'a>(&mut self, graph: &Graph, order: &[NodeId], analysis: &'a Analysis) -> Vec<Reader<'a>> {
        let mut readers = vec![];
        for &id in order {
            let Some(flow) = analysis.flows.get(&id) else { continue };
            let operands = graph.operands(id);
            let result = Value { node: id, result: 0 };
            match flow {
                Flow::Opaque => operands.iter().for_each(|&operand| self.keep(operand)),
                Flow::Carried(carried) => {
                    for (&operand, along) in operands.iter().zip(&carried.along) {
                        match (along, self.places.get(&operand)) {
                            (Some(_), Some(&(_, channels))) => {
                                (0..channels).for_each(|c| self.join((operand, c), (result, c)));
                            }
                            _ => self.keep(operand),
                        }
                    }
                }
                Flow::Contracted(contraction) => {
                    // The only output's sum is vectorized along the channels: with fewer of them its order is another.
                    let reorders = contraction.outputs < FEWEST;
                    match analysis.axis(operands[0]) {
                        Some(axis) if axis == contraction.summed && !reorders => {
                            readers.push(Reader { contraction, x: operands[0], result, unread: vec![] });
                        }
                        _ => self.keep(operands[0]),
                    }
                }
                Flow::Grouped { group, contraction } => {
                    let each = contraction.outputs / group;
                    let outputs = |g: usize| g * each..(g + 1) * each;
                    (0..*group)
                        .for_each(|g| outputs(g).for_each(|o| self.join((result, g * each), (result, o))));
                    if analysis.axis(operands[0]) == Some(contraction.summed) {
                        for c in 0..group * contraction.inputs {
                            self.join((operands[0], c), (result, c / contraction.inputs * each));
                        }
                    } else {
                        self.keep(operands[0]);
                        self.keep(result);
                    }
                }
                Flow::Placed { origins, .. } => {
                    operands
                        .iter()
                        .filter(|operand| analysis.axis(**operand).is_none())
                        .for_each(|&operand| self.keep(operand));
                    for (result, origins) in origins.iter().enumerate() {
                        for (c, origin) in origins.iter().enumerate() {
                            if let Some((operand, channel)) = origin {
                                self.join((operands[*operand], *channel), (Value { node: id, result }, c));
                            }
                        }
                    }
                }
            }
        }
        graph.outputs().iter().for_each(|(_, value)| self.keep(*value));
        readers
    }

    /// Every channel of `value` has to stay.
    fn keep(&mut self, value: Value) {
        if let Some(&(first, channels)) = self.places.get(&value) {
            self.live[first..first + channels].fill(true);
        }
    }

    fn join(&mut self, a: (Value, usize), b: (Value, usize)) {
        let (a, b) = (self.strand(a.0, a.1), self.strand(b.0, b.1));
        // The first stands for all, so that the order of joining does not matter.
        self.parents[a.max(b)] = a.min(b);
    }

    /// The strand of a value's channel.
    fn strand(&mut self, value: Value, channel: usize) -> usize {
        let mut at = self.places[&value].0 + channel;
        while self.parents[at] != at {
            self.parents[at] = self.parents[self.parents[at]];
            at = self.parents[at];
        }
        at
    }

    /// Every channel points to its strand, which knows what is known of any of its channels.
    fn settle(&mut self, analysis: &Analysis) {
        for (value, &(first, channels)) in &self.places {
            for channel in 0..channels {
                self.zero[first + channel] = analysis.channels[value].at(channel).is_zero();
            }
        }
        for at in 0..self.parents.len() {
            let strand = self.parents[self.parents[at]];
            self.parents[at] = strand;
            self.live[strand] |= self.live[at];
            self.zero[strand] |= self.zero[at];
        }
    }

    /// What `output` of a sum reads with an effect becomes live; the strands that were not before.
    fn read(
        &mut self,
        reader: &mut Reader,
        output: usize,
        analysis: &Analysis,
        constants: ConstantChannels,
    ) -> Vec<usize> {
        let mut found = vec![];
        let values = &analysis.channels[&reader.x];
        let contraction = reader.contraction;
        reader.unread.retain(|&(input, strand)| {
            if self.live[strand] {
                return false;
            }
            let x = constants.activation(values.at(input));
            let mut weights = contraction.weights(output, input);
            // Zero times a number is zero; zero times infinity is not.
            let has_effect = match x.is_zero() {
                true => !weights.all(f64::is_finite),
                false => !x.is_finite() || weights.any(|weight| weight != 0.0),
            };
            if has_effect {
                self.live[strand] = true;
                found.push(strand);
            }
            !has_effect
        });
        found
    }

    /// The strands that have to stay because the first such value would be left with too few, or with nearly a multiple of
    /// `at_once`.
    fn missing(&mut self, order: &[NodeId], graph: &Graph, at_once: usize) -> Option<Vec<usize>> {
        values(graph, order).find_map(|value| {
            let &(_, channels) = self.places.get(&value)?;
            let kept = self.kept(value).len();
            let even = kept.next_multiple_of(at_once);
            let wanted = if even - kept <= kept / FILLED { even } else { kept };
            let wanted = wanted.max(FEWEST).min(channels);
            let mut missing: Vec<usize> = (0..channels).map(|c| self.strand(value, c)).collect();
            missing.retain(|&strand| !self.live[strand]);
            missing.truncate(wanted - kept);
            missing.sort_unstable();
            missing.dedup();
            (!missing.is_empty()).then_some(missing)
        })
    }

    /// Whether a channel of `value` stays.
    fn stays(&self, value: Value, channel: usize) -> bool {
        self.places.get(&value).is_none_or(|&(first, _)| self.live[self.parents[first + channel]])
    }

    /// The channels of `value` that stay, of which it must have some; ascending.
    pub fn kept(&self, value: Value) -> Vec<usize> {
        let channels = self.places.get(&value).map_or(0, |&(_, channels)| channels);
        (0..channels).filter(|&channel| self.stays(value, channel)).collect()
    }

    /// How many channels of `value` go because they are always zero, or tied to one that is.
    pub fn zeros(&self, value: Value) -> usize {
        let Some(&(first, channels)) = self.places.get(&value) else { return 0 };
        let strands = (first..first + channels).map(|channel| self.parents[channel]);
        strands.filter(|&strand| !self.live[strand] && self.zero[strand]).count()
    }

    pub fn any_dropped(&self) -> bool {
        self.parents.iter().any(|&strand| !self.live[strand])
    }
}

/// All results of all nodes, in the graph's order.
fn values<'a>(graph: &'a Graph, order: &'a [NodeId]) -> impl Iterator<Item = Value> + 'a {
    order.iter().flat_map(|&node| (0..graph.node(node).types.len()).map(move |result| Value { node, result }))
}
