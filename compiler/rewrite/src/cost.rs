use ir::TensorType;
use loops::{Definition, Expr, Stage};
use ops::shape::Layout;
use ops::{AnyOp, Meaning};

/// What it takes to compute a node once. Any unit will do; costs add up.
pub trait CostModel {
    fn cost(&self, op: &AnyOp, inputs: &[TensorType], outputs: &[TensorType]) -> f64;

    /// Whether there is so little memory that what halves it is worth more time.
    fn short_of_memory(&self) -> bool {
        false
    }

    /// Channels that one instruction takes at once: with fewer of them than a multiple nothing is saved, and rows no
    /// longer begin where a vector does.
    fn channels_at_once(&self) -> usize {
        1
    }
}

/// A cost without a target: traffic, arithmetic, and a price for starting a kernel. The unit is one byte moved.
#[derive(Debug, Clone, PartialEq)]
pub struct DefaultCost {
    /// Of starting a kernel.
    pub launch: f64,
    /// Of one arithmetic operation on one element.
    pub operation: f64,
    /// By how much arithmetic is dearer over feature maps in `[n, c, spatial...]`: kernels vectorize over channels,
    /// which should be neighbours.
    pub channels_first: f64,
}

impl Default for DefaultCost {
    fn default() -> DefaultCost {
        DefaultCost { launch: 1000.0, operation: 0.25, channels_first: 4.0 }
    }
}

impl CostModel for DefaultCost {
    fn cost(&self, op: &AnyOp, inputs: &[TensorType], outputs: &[TensorType]) -> f64 {
        let bytes = |types: &[TensorType]| types.iter().map(|ty| ty.bytes() as f64).sum::<f64>();
        // Whether rows fit into one another, and what that takes, is a target's to say.
        if matches!(op, AnyOp::Chain(_)) {
            return f64::INFINITY;
        }
        match op.meaning(inputs) {
            Meaning::Reshape => 0.0,
            // A view may touch less of its operand than there is.
            Meaning::View(_) => self.launch + 2.0 * bytes(outputs),
            Meaning::Concat { .. } => self.launch + bytes(inputs) + bytes(outputs),
            Meaning::Compute(definition) => {
                let dearer =
                    if layout(op) == Some(Layout::ChannelsFirst) { self.channels_first } else { 1.0 };
                self.launch
                    + bytes(inputs)
                    + bytes(outputs)
                    + dearer * self.operation * arithmetic(&definition)
            }
        }
    }
}

/// Another model's cost, and no way around one layout: an operator that has another is too dear wherever there is a
/// choice.
pub(crate) struct InLayout<'a> {
    pub cost: &'a dyn CostModel,
    pub layout: Layout,
}

/// By how much: more than any conversion around an operator costs.
const TOO_DEAR: f64 = 1e6;

impl CostModel for InLayout<'_> {
    fn cost(&self, op: &AnyOp, inputs: &[TensorType], outputs: &[TensorType]) -> f64 {
        let cost = self.cost.cost(op, inputs, outputs);
        match layout(op) {
            Some(layout) if layout != self.layout => cost * TOO_DEAR,
            _ => cost,
        }
    }
}

/// Operations on elements, over all stages.
fn arithmetic(definition: &Definition) -> f64 {
    let stage = |stage: &Stage| {
        let points = stage.domain.iter().product::<usize>() as f64;
        let reduced = stage.reduction.iter().product::<usize>() as f64;
        // The fold itself is one operation.
        let body = operations(&stage.body) + usize::from(stage.fold.is_some());
        points * (reduced * body as f64 + stage.finish.as_ref().map_or(0, operations) as f64)
    };
    definition.stages.iter().map(stage).sum()
}

/// The operations that `expr` takes, without those that find elements.
fn operations(expr: &Expr) -> usize {
    match expr {
        Expr::Read { .. } | Expr::Const(_) | Expr::Axis(_) | Expr::Folded => 0,
        Expr::Select { then, otherwise, .. } => operations(then) + operations(otherwise),
        other => 1 + other.children().into_iter().map(operations).sum::<usize>(),
    }
}

/// Where the operator, or the root of a fused one, keeps its feature maps' channels; `None` where it has no layout.
fn layout(op: &AnyOp) -> Option<Layout> {
    match op {
        AnyOp::Fused(fused) => layout(&fused.root),
        _ => [Layout::ChannelsFirst, Layout::ChannelsLast]
            .into_iter()
            .find(|&layout| op.in_layout(layout).is_some_and(|same| same == *op)),
    }
}
