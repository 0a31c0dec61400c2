//! What an operator costs on the target at hand: the price that rewriting compares forms by.

use std::cell::RefCell;
use std::collections::HashMap;

use ir::TensorType;
use loops::affine::Affine;
use loops::{Definition, Expr, Source};
use ops::shape::Layout;
use ops::{AnyOp, Meaning};
use rewrite::CostModel;
use schedule::{Destination, Estimate, Operand, View, estimate};
use targets::Target;

/// Cycles of whole kernels under the default schedule, each estimated once.
pub struct TargetCost<'t> {
    target: &'t Target,
    known: RefCell<HashMap<Key, f64>>,
}

/// An operator over operands of these types.
type Key = (AnyOp, Vec<TensorType>);

/// Of every byte of a result: it takes memory while somebody still needs it. Small beside what writing it takes.
const ARENA: f64 = 0.01;

/// Of every byte that a look at an operand or a concatenation shows: most are free, some are copied after all.
const LOOK: f64 = 0.01;

impl<'t> TargetCost<'t> {
    pub fn new(target: &'t Target) -> TargetCost<'t> {
        TargetCost::with_measured(target, [])
    }

    /// With cycles that were measured, which stand for what would be estimated.
    pub fn with_measured(
        target: &'t Target,
        measured: impl IntoIterator<Item = (Key, f64)>,
    ) -> TargetCost<'t> {
        TargetCost { target, known: RefCell::new(measured.into_iter().collect()) }
    }

    fn estimated(&self, op: &AnyOp, inputs: &[TensorType], outputs: &[TensorType]) -> f64 {
        let bytes = |types: &[TensorType]| types.iter().map(|ty| ty.bytes() as f64).sum::<f64>();
        match op.meaning(inputs) {
            Meaning::Reshape => 0.0,
            Meaning::Concat { .. } => LOOK * bytes(outputs),
            Meaning::View(views) => {
                if views.iter().zip(outputs).all(|(index, ty)| keeps_rows(index, &inputs[0], ty)) {
                    return LOOK * bytes(outputs);
                }
                let definition = Meaning::View(views).definition(inputs, outputs);
                self.kernels(op, &definition, inputs)
            }
            Meaning::Compute(definition) => self.kernels(op, &definition, inputs) + ARENA * bytes(outputs),
        }
    }

    /// The stages of a definition, each a kernel over dense tensors.
    fn kernels(&self, op: &AnyOp, definition: &Definition, inputs: &[TensorType]) -> f64 {
        let dense = |source: Source, ty: &TensorType, constant: bool| Operand {
            source,
            dtype: ty.dtype,
            view: View::contiguous(&ty.shape),
            len: ty.elements(),
            constant,
        };
        let tables = definition.tables.iter().enumerate();
        let mut operands: Vec<Operand> =
            tables.map(|(k, table)| dense(Source::Table(k), &table.ty, true)).collect();
        let inputs = inputs.iter().enumerate();
        operands.extend(inputs.map(|(k, ty)| dense(Source::Operand(k), ty, is_weight(op, k, ty))));
        if let Some(estimate) = self.rows(definition, &operands) {
            return estimate.cycles(self.target);
        }
        let mut cycles = 0.0;
        for (k, stage) in definition.stages.iter().enumerate() {
            let ty = stage.ty();
            if ty.elements() > 0 {
                let place = Destination { view: View::contiguous(&ty.shape), len: ty.elements() };
                cycles += estimate(stage, &operands, &place, self.target).cycles(self.target);
            }
            operands.push(dense(Source::Stage(k), &ty, false));
        }
        cycles
    }
}

impl TargetCost<'_> {
    /// The stages as one kernel, where lowering makes one of them.
    fn rows(&self, definition: &Definition, operands: &[Operand]) -> Option<Estimate> {
        let empty = |stage: &loops::Stage| stage.ty().elements() == 0;
        let ty = definition.stages.last().filter(|_| definition.stages.len() > 1)?.ty();
        if definition.results != [definition.stages.len() - 1] || definition.stages.iter().any(empty) {
            return None;
        }
        let place = Destination { view: View::contiguous(&ty.shape), len: ty.elements() };
        schedule::default_blocks(definition, &place, self.target)?;
        Some(schedule::estimate_rows(definition, operands, &place, self.target))
    }
}

impl CostModel for TargetCost<'_> {
    fn cost(&self, op: &AnyOp, inputs: &[TensorType], outputs: &[TensorType]) -> f64 {
        let key = (op.clone(), inputs.to_vec());
        if let Some(&known) = self.known.borrow().get(&key) {
            return known;
        }
        let cost = self.estimated(op, inputs, outputs);
        self.known.borrow_mut().insert(key, cost);
        cost
    }
}

/// Whether an operand is surely known at compile time, so that it may be stored in any order: a cost is asked by types
/// alone. The weights of operators on feature maps are, and matrices of rank 2 beside a product's left operand.
fn is_weight(op: &AnyOp, k: usize, ty: &TensorType) -> bool {
    match op {
        AnyOp::Fused(fused) => k < fused.root_operands && is_weight(&fused.root, k, ty),
        AnyOp::Matmul(_) => k > 0 && ty.rank() <= 2,
        _ => k > 0 && op.in_layout(Layout::ChannelsFirst).is_some(),
    }
}

/// Whether a look at an operand goes along its last axis where the operand does: readers find whole vectors.
fn keeps_rows(index: &[Expr], operand: &TensorType, result: &TensorType) -> bool {
    let strides = operand.strides();
    let address = index
        .iter()
        .zip(&strides)
        .fold(Affine::constant(0), |sum, (index, &stride)| sum.plus(&Affine::of(index), stride as i64));
    let last = result.shape.iter().rposition(|&extent| extent > 1);
    address
        .over_axes(result.rank())
        .is_some_and(|strides| last.is_none_or(|last| matches!(strides[last], 0 | 1)))
}
