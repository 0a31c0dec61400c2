//! How an operator's results have their channels from its operands': read from the operator's meaning, or where that
//! does not say it plainly, from one function a kind.

use ir::{DType, NodeId, NodeKind, Tensor, TensorType, Value};
use loops::{Definition, Expr, Source};
use ops::ops::conv::Conv;
use ops::ops::max_pool::MaxPool;
use ops::ops::pad::PadMode;
use ops::shape::{LayoutAxes, Pool};
use ops::{AnyOp, Graph};

/// Per channel of a result the operand that it comes from and its number there; `None` where it comes from none.
pub type Origins = Vec<Option<(usize, usize)>>;

/// What happens to the channels of a node's operands.
#[derive(Debug, Clone, PartialEq)]
pub enum Flow {
    /// Channel `c` of the results is computed from channel `c` of the operands, and from nothing else that has
    /// channels.
    Carried(Carried),
    /// Each channel of the result is a sum over all channels of operand 0.
    Contracted(Contraction),
    /// A convolution of groups of channels, each on its own.
    Grouped { group: usize, contraction: Contraction },
    /// The channels themselves, in other places: per result, along which axis and from where.
    Placed { axis: usize, origins: Vec<Origins> },
    /// All may depend on all.
    Opaque,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Carried {
    /// Per operand the axis of its channels; a constant's is cut with the others.
    pub along: Vec<Option<usize>>,
    /// Per stage of the definition.
    pub stages: Vec<Option<usize>>,
    pub definition: Definition,
    /// Of the result.
    pub axis: usize,
    /// Whether each fold has an element that is there, so that what stands for those outside has no part in it where it
    /// is the fold's neutral element.
    pub occupied: bool,
}

/// A convolution or a matrix product with constant weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Contraction {
    /// The axis of operand 0 that is summed over.
    pub summed: usize,
    /// Of the result.
    pub axis: usize,
    /// Channels of the result, and of operand 0 that each sums over.
    pub outputs: usize,
    pub inputs: usize,
    /// Whether elements outside of operand 0 are read as zero.
    pub padded: bool,
    weights: Tensor,
    /// Weights between neighbouring outputs and between neighbouring inputs; taps lie side by side.
    strides: [usize; 2],
    taps: usize,
    /// One per output, or none.
    pub bias: Vec<f64>,
}

impl Contraction {
    /// Terms of the sum that each element of the result is.
    pub fn terms(&self) -> usize {
        self.inputs * self.taps
    }

    /// What output `o` multiplies input `c` with, one weight per tap.
    pub fn weights(&self, o: usize, c: usize) -> impl Iterator<Item = f64> + '_ {
        let first = o * self.strides[0] + c * self.strides[1];
        (0..self.taps).map(move |tap| self.weight(first + tap))
    }

    fn weight(&self, element: usize) -> f64 {
        match (self.weights.ty.dtype, self.weights.data.get(4 * element..4 * element + 4)) {
            // The usual case, and there may be a hundred million of them.
            (DType::F32, Some(&[a, b, c, d])) => f64::from(f32::from_le_bytes([a, b, c, d])),
            _ => self.weights.get(element).as_f64(),
        }
    }

    /// All outputs with all inputs, in the order in which their weights lie in memory.
    pub fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (outputs, inputs) = (self.outputs, self.inputs);
        let by_output = self.strides[0] > self.strides[1];
        let (outer, inner) = if by_output { (outputs, inputs) } else { (inputs, outputs) };
        let pair = move |a, b| if by_output { (a, b) } else { (b, a) };
        (0..outer).flat_map(move |a| (0..inner).map(move |b| pair(a, b)))
    }
}

impl Flow {
    /// Into how many parts a contraction's channels fall.
    pub fn groups(&self) -> usize {
        match self {
            Flow::Grouped { group, .. } => *group,
            _ => 1,
        }
    }

    /// What `id` does, if `axis_of` tells along which axis each of its operands has channels.
    pub fn of(graph: &Graph, id: NodeId, axis_of: impl Fn(Value) -> Option<usize>) -> Flow {
        let NodeKind::Apply(op) = &graph.node(id).kind else { return Flow::Opaque };
        let operands = graph.operands(id);
        let axes: Vec<Option<usize>> = operands.iter().map(|&value| axis_of(value)).collect();
        let node = Node { graph, operands, axes, results: &graph.node(id).types };
        let flow = match op {
            AnyOp::Conv(conv) => node.convolved(conv),
            AnyOp::Matmul(_) => node.multiplied(),
            AnyOp::Reshape(_) => node.reshaped(),
            AnyOp::Concat(concat) if node.axes.contains(&Some(concat.axis)) => node.joined(concat.axis),
            AnyOp::Slice(slice) => node.cut(|axis| {
                let whole = slice.starts[axis] == 0 && slice.steps[axis] == 1;
                let whole = whole && slice.shape[axis] == node.ty(0).shape[axis];
                (!whole && slice.steps[axis] == 1).then(|| vec![(slice.starts[axis], slice.shape[axis])])
            }),
            AnyOp::Split(split) => node.cut(|axis| {
                let start = |k: usize| split.sizes[..k].iter().sum();
                (axis == split.axis)
                    .then(|| split.sizes.iter().enumerate().map(|(k, &size)| (start(k), size)).collect())
            }),
            AnyOp::Pad(pad) if pad.mode == PadMode::Constant => node.extended(&pad.pads),
            _ => None,
        };
        flow.or_else(|| node.carried(op)).unwrap_or(Flow::Opaque)
    }
}

/// A node with what its kind's function needs to know.
struct Node<'a> {
    graph: &'a Graph,
    operands: Vec<Value>,
    /// Along which each operand has channels.
    axes: Vec<Option<usize>>,
    results: &'a [TensorType],
}

impl Node<'_> {
    fn ty(&self, operand: usize) -> &TensorType {
        self.graph.ty(self.operands[operand])
    }

    fn constant(&self, operand: usize) -> Option<&Tensor> {
        self.graph.constant_value(*self.operands.get(operand)?)
    }

    fn convolved(&self, conv: &Conv) -> Option<Flow> {
        let weights = self.constant(1)?;
        let bias = match self.operands.get(2) {
            Some(_) => self.constant(2)?.to_f64s(),
            None => vec![],
        };
        let (outputs, inputs) = (weights.ty.shape[0], weights.ty.shape[1]);
        let taps: usize = weights.ty.shape[2..].iter().product();
        let LayoutAxes { channel, .. } = conv.layout.axes(self.ty(0).rank());
        let contraction = Contraction {
            summed: channel,
            axis: channel,
            outputs,
            inputs,
            padded: conv.window.pads.iter().any(|&pads| pads != (0, 0)),
            weights: weights.clone(),
            strides: [inputs * taps, taps],
            taps,
            bias,
        };
        Some(match conv.group {
            1 => Flow::Contracted(contraction),
            group => Flow::Grouped { group, contraction },
        })
    }

    fn multiplied(&self) -> Option<Flow> {
        let weights =
            self.constant(1).filter(|weights| weights.ty.rank() == 2 && weights.ty.dtype.is_float())?;
        let (inputs, outputs) = (weights.ty.shape[0], weights.ty.shape[1]);
        let last = self.ty(0).rank() - 1;
        // Rows that are channels are carried.
        if self.axes[0].is_some_and(|axis| axis != last) {
            return None;
        }
        Some(Flow::Contracted(Contraction {
            summed: last,
            axis: last,
            outputs,
            inputs,
            padded: false,
            weights: weights.clone(),
            strides: [1, outputs],
            taps: 1,
            bias: vec![],
        }))
    }

    /// Channels that stay an axis, or are flattened with its neighbours into one.
    fn reshaped(&self) -> Option<Flow> {
        let from = self.axes[0]?;
        let (x, y) = (&self.ty(0).shape, &self.results[0].shape);
        let channels = x[from];
        let outer: usize = x[..from].iter().product();
        let inner: usize = x[from + 1..].iter().product();
        // The one axis of the result whose elements hold a whole number of repetitions of all channels.
        let axis = (0..y.len()).find(|&axis| {
            let (before, after): (usize, usize) =
                (y[..axis].iter().product(), y[axis + 1..].iter().product());
            y[axis] > 1
                && before > 0
                && after > 0
                && outer.is_multiple_of(before)
                && inner.is_multiple_of(after)
                && y[axis] == outer / before * channels * (inner / after)
        })?;
        let repeats = inner / y[axis + 1..].iter().product::<usize>();
        let origins = (0..y[axis]).map(|element| Some((0, element / repeats % channels))).collect();
        Some(Flow::Placed { axis, origins: vec![origins] })
    }

    fn joined(&self, axis: usize) -> Option<Flow> {
        let mut origins = vec![];
        for (operand, &value) in self.operands.iter().enumerate() {
            let movable = self.axes[operand] == Some(axis);
            if !movable && self.graph.constant_value(value).is_none() {
                return None;
            }
            origins.extend((0..self.ty(operand).shape[axis]).map(|c| movable.then_some((operand, c))));
        }
        Some(Flow::Placed { axis, origins: vec![origins] })
    }

    /// Pieces of the channels: `pieces` says of an axis where each begins and how long it is.
    fn cut(&self, pieces: impl Fn(usize) -> Option<Vec<(usize, usize)>>) -> Option<Flow> {
        let axis = self.axes[0]?;
        let origins = |(start, size)| (start..start + size).map(|c| Some((0, c))).collect();
        Some(Flow::Placed { axis, origins: pieces(axis)?.into_iter().map(origins).collect() })
    }

    /// More channels before and after.
    fn extended(&self, pads: &[(i64, i64)]) -> Option<Flow> {
        let axis = self.axes[0]?;
        let (before, after) = pads[axis];
        let (before, after) = (usize::try_from(before).ok()?, usize::try_from(after).ok()?);
        if before + after == 0 || pads.iter().enumerate().any(|(k, &pad)| k != axis && pad != (0, 0)) {
            return None;
        }
        let own = (0..self.ty(0).shape[axis]).map(|c| Some((0, c)));
        let none = std::iter::repeat(None);
        let origins = none.clone().take(before).chain(own).chain(none.take(after)).collect();
        Some(Flow::Placed { axis, origins: vec![origins] })
    }

    /// Whether every stage of the operator's definition reads what has channels where it writes the same channel, and
    /// an operator of fewer channels is to be had.
    fn carried(&self, op: &AnyOp) -> Option<Flow> {
        self.axes.iter().flatten().next()?;
        let types = self.graph.types(&self.operands);
        let [result] = self.results else { return None };
        let definition = op.meaning(&types).definition(&types, self.results);
        let mut along = self.axes.clone();
        let mut stages: Vec<Option<usize>> = vec![];
        for stage in &definition.stages {
            let mut walk = Walk { node: self, along: &mut along, stages: &stages, axis: None };
            let axis =
                walk.channel(&stage.body).or(walk.channel(stage.finish.as_ref().unwrap_or(&Expr::Folded)));
            walk.axis = axis.filter(|&axis| axis < stage.domain.len());
            let follows = axis == walk.axis
                && walk.follows(&stage.body)
                && stage.finish.as_ref().is_none_or(|finish| walk.follows(finish));
            follows.then_some(())?;
            stages.push(axis);
        }
        // Again, now that it is known which constants are cut: all of their reads must agree.
        let mut agrees = definition.stages.iter().zip(&stages).map(|(stage, &axis)| {
            let mut walk = Walk { node: self, along: &mut along, stages: &stages, axis };
            walk.follows(&stage.body) && stage.finish.as_ref().is_none_or(|finish| walk.follows(finish))
        });
        agrees.all(|agrees| agrees).then_some(())?;
        let axis = stages[*definition.results.first()?]?;
        let fewer = |k: usize| match along[k] {
            Some(axis) => shorter(&types[k], axis, types[k].shape[axis].checked_sub(1)?),
            None => Some(types[k].clone()),
        };
        let fewer: Vec<TensorType> = (0..types.len()).map(fewer).collect::<Option<_>>()?;
        let wanted = shorter(result, axis, result.shape[axis].checked_sub(1)?)?;
        let narrow = with_extent(op, axis, wanted.shape[axis]);
        (narrow.infer(&fewer).ok()? == [wanted]).then_some(())?;
        Some(Flow::Carried(Carried { along, stages, definition, axis, occupied: occupied(op) }))
    }
}

/// Whether no window lies outside of the map altogether.
fn occupied(op: &AnyOp) -> bool {
    let AnyOp::MaxPool(MaxPool { pool: Pool { kernel, window, .. } }) = op else { return false };
    let overlaps = |(k, &(before, after)): (usize, &(usize, usize))| {
        window.dilations[k] == 1 && before < kernel[k] && after < kernel[k]
    };
    window.pads.iter().enumerate().all(overlaps)
}

fn shorter(ty: &TensorType, axis: usize, extent: usize) -> Option<TensorType> {
    let mut shape = ty.shape.clone();
    *shape.get_mut(axis)? = extent;
    Some(ty.with_shape(shape))
}

/// `op` for fewer channels, where it states their number although it only carries them.
pub fn with_extent(op: &AnyOp, axis: usize, extent: usize) -> AnyOp {
    let mut op = op.clone();
    let stated = match &mut op {
        AnyOp::Slice(slice) => slice.shape.get_mut(axis),
        AnyOp::Expand(expand) => expand.shape.get_mut(axis),
        AnyOp::Resize(resize) => resize.shape.get_mut(axis),
        _ => None,
    };
    if let Some(stated) = stated {
        *stated = extent;
    }
    op
}

/// Goes through a stage's expressions.
struct Walk<'a, 'g> {
    node: &'a Node<'g>,
    along: &'a mut Vec<Option<usize>>,
    stages: &'a [Option<usize>],
    /// Of the stage; `None` as long as it is not known.
    axis: Option<usize>,
}

impl Walk<'_, '_> {
    /// The axis at which a value with channels is read first.
    fn channel(&self, expr: &Expr) -> Option<usize> {
        if let Expr::Read { source, index } = expr {
            let known = match *source {
                Source::Operand(k) => self.along[k],
                Source::Stage(k) => self.stages[k],
                Source::Table(_) => None,
            };
            return match index.get(known?) {
                Some(Expr::Axis(axis)) => Some(*axis),
                _ => None,
            };
        }
        expr.children().into_iter().find_map(|child| self.channel(child))
    }

    /// Whether channels are read at the stage's own channel alone, and the channel's number is used for nothing else.
    fn follows(&mut self, expr: &Expr) -> bool {
        match expr {
            Expr::Axis(axis) => Some(*axis) != self.axis,
            Expr::Read { source, index } => {
                let own = |i: &Expr| self.axis.is_some_and(|axis| *i == Expr::Axis(axis));
                let place = index.iter().position(own);
                let others = index.iter().enumerate().filter(|(at, _)| Some(*at) != place);
                let elsewhere: Vec<&Expr> = others.map(|(_, i)| i).collect();
                if !elsewhere.into_iter().all(|i| self.follows(i)) {
                    return false;
                }
                match *source {
                    Source::Stage(k) => self.stages[k] == place,
                    Source::Table(_) => place.is_none(),
                    Source::Operand(k) if self.along[k].is_some() => self.along[k] == place,
                    Source::Operand(_) if place.is_none() => true,
                    // A constant is cut along with the others.
                    Source::Operand(k) => {
                        self.along[k] = place;
                        self.node.constant(k).is_some()
                    }
                }
            }
            other => other.children().into_iter().all(|child| self.follows(child)),
        }
    }
}
