//! Kernels that are not made yet, by the target's cost model.

use ir::TensorType;
use loops::{Definition, Expr, Source, Stage};
use ops::AnyOp;
use ops::shape::Layout;
use schedule::{Destination, Operand, View, estimate};
use targets::Target;

/// What the stages of a definition may read, all of it in row-major order: its tables, operands of types `inputs`, its
/// own stages.
pub fn dense_sources(op: &AnyOp, definition: &Definition, inputs: &[TensorType]) -> Vec<Operand> {
    let tables = definition.tables.iter().enumerate();
    let tables = tables.map(|(k, table)| dense(Source::Table(k), &table.ty, true));
    let operands = inputs.iter().enumerate();
    let operands = operands.map(|(k, ty)| dense(Source::Operand(k), ty, is_weight(op, k, ty)));
    let stages = definition.stages.iter().enumerate();
    let stages = stages.map(|(k, stage)| dense(Source::Stage(k), &stage.ty(), false));
    tables.chain(operands).chain(stages).collect()
}

/// Cycles of a stage over dense sources whose result goes to `view` of a buffer of `len` elements.
pub fn stage(stage: &Stage, sources: &[Operand], view: &View, len: usize, target: &Target) -> f64 {
    estimate(stage, sources, &Destination { view: view.clone(), len }, target).cycles(target)
}

/// Cycles of copying a tensor that lies at `from` in a buffer of `len` elements to `to`.
pub fn copy(ty: &TensorType, from: &View, len: usize, to: &View, target: &Target) -> f64 {
    let index: Vec<Expr> = (0..ty.rank()).map(Expr::Axis).collect();
    let stage = Stage::map(ty.dtype, ty.shape.clone(), Expr::read(Source::Operand(0), index));
    let source = Source::Operand(0);
    let operand = Operand { source, dtype: ty.dtype, view: from.clone(), len, constant: false };
    let destination = Destination { view: to.clone(), len: ty.elements() };
    estimate(&stage, &[operand], &destination, target).cycles(target)
}

fn dense(source: Source, ty: &TensorType, constant: bool) -> Operand {
    let view = View::contiguous(&ty.shape);
    Operand { source, dtype: ty.dtype, view, len: ty.elements(), constant }
}

/// Whether an operand is surely known at compile time, so that it may be stored in any order: a cost is asked by types
/// alone. The weights of operators on feature maps are, and matrices of rank 2 beside a product's left operand.
fn is_weight(op: &AnyOp, k: usize, ty: &TensorType) -> bool {
    match op {
        AnyOp::Fused(fused) => k < fused.root_operands && is_weight(&fused.root, k, ty),
        AnyOp::Chain(chain) => chain.reader(k).is_some_and(|(link, k)| is_weight(&link.op, k, ty)),
        AnyOp::Matmul(_) => k > 0 && ty.rank() <= 2,
        _ => k > 0 && op.in_layout(Layout::ChannelsFirst).is_some(),
    }
}
