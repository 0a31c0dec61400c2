use ir::{NodeId, NodeKind, TensorType, Value};
use loops::{Definition, Expr, Stage};
use ops::shape::Layout;
use ops::{AnyOp, Graph, Meaning};

/// What it takes to compute a node once. Any unit will do; costs add up.
pub trait CostModel {
    fn cost(&self, op: &AnyOp, inputs: &[TensorType], outputs: &[TensorType]) -> f64;
}

/// What all nodes of a graph cost together.
pub fn modelled_cost(graph: &Graph, cost: &dyn CostModel) -> f64 {
    let types = |values: &[Value]| -> Vec<TensorType> {
        values.iter().map(|&value| graph.ty(value).clone()).collect()
    };
    let node = |id: NodeId| match &graph.node(id).kind {
        NodeKind::Apply(op) => cost.cost(op, &types(&graph.operands(id)), &graph.node(id).types),
        NodeKind::Input | NodeKind::Constant(_) => 0.0,
    };
    graph.order().into_iter().map(node).sum()
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
        match op.meaning(inputs) {
            Meaning::Reshape => 0.0,
            // A view may touch less of its operand than there is.
            Meaning::View(_) => self.launch + 2.0 * bytes(outputs),
            Meaning::Concat { .. } => self.launch + bytes(inputs) + bytes(outputs),
            Meaning::Compute(definition) => {
                let dearer = if channels_first(op) { self.channels_first } else { 1.0 };
                self.launch
                    + bytes(inputs)
                    + bytes(outputs)
                    + dearer * self.operation * arithmetic(&definition)
            }
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

/// Whether the operator, or the root of a fused one, has its feature maps in `[n, c, spatial...]`.
fn channels_first(op: &AnyOp) -> bool {
    match op {
        AnyOp::Fused(fused) => channels_first(&fused.root),
        _ => op.in_layout(Layout::ChannelsLast).is_some_and(|last| last != *op),
    }
}
