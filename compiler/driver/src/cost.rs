//! What an operator costs on the target at hand: the price that rewriting compares forms by.

use std::cell::RefCell;
use std::collections::HashMap;

use ir::TensorType;
use loops::affine::Affine;
use loops::{Definition, Expr, Source, Stage};
use ops::{AnyOp, Meaning};
use rewrite::CostModel;
use schedule::{Destination, Estimate, Operand, View};
use targets::Target;

use crate::price;

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
                let free = |(index, ty): (&Vec<Expr>, &TensorType)| {
                    self.reads_any_stride() || keeps_rows(index, &inputs[0], ty)
                };
                if views.iter().zip(outputs).all(free) {
                    return LOOK * bytes(outputs);
                }
                let definition = Meaning::View(views).definition(inputs, outputs);
                self.kernels(op, &definition, inputs)
            }
            Meaning::Compute(definition) => self.kernels(op, &definition, inputs) + ARENA * bytes(outputs),
        }
    }

    /// Without vectors an element costs the same wherever it lies.
    fn reads_any_stride(&self) -> bool {
        self.target.vector.bits == 0
    }

    /// The stages of a definition over dense tensors: one kernel where lowering makes one of them, else each its own.
    fn kernels(&self, op: &AnyOp, definition: &Definition, inputs: &[TensorType]) -> f64 {
        let sources = price::dense_sources(op, definition, inputs);
        if let AnyOp::Chain(chain) = op {
            return self.lines(definition, chain.rows, &sources);
        }
        if let Some(estimate) = self.rows(definition, &sources) {
            return estimate.cycles(self.target);
        }
        let stages = definition.stages.iter().filter(|stage| stage.ty().elements() > 0);
        let cycles = |stage: &Stage| {
            let ty = stage.ty();
            price::stage(stage, &sources, &View::contiguous(&ty.shape), ty.elements(), self.target)
        };
        stages.map(cycles).sum()
    }

    fn rows(&self, definition: &Definition, sources: &[Operand]) -> Option<Estimate> {
        let empty = |stage: &Stage| stage.ty().elements() == 0;
        let ty = definition.stages.last().filter(|_| definition.stages.len() > 1)?.ty();
        if definition.results != [definition.stages.len() - 1] || definition.stages.iter().any(empty) {
            return None;
        }
        let place = Destination { view: View::contiguous(&ty.shape), len: ty.elements() };
        schedule::default_blocks(definition, &place, self.target)?;
        Some(schedule::estimate_rows(definition, &given(sources), &place, self.target))
    }

    /// A chain, where what it keeps from memory is worth it: there is none to wait for without caches.
    fn lines(&self, definition: &Definition, rows: usize, sources: &[Operand]) -> f64 {
        let Some(ty) = definition.stages.last().map(Stage::ty).filter(|_| self.target.caches.len() > 1)
        else {
            return f64::INFINITY;
        };
        let place = Destination { view: View::contiguous(&ty.shape), len: ty.elements() };
        let estimate = schedule::estimate_lines(definition, rows, &given(sources), &place, self.target);
        estimate.map_or(f64::INFINITY, |estimate| estimate.cycles(self.target))
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

    /// Microcontrollers have no caches: before large memories there are some.
    fn short_of_memory(&self) -> bool {
        self.target.caches.is_empty()
    }

    /// Sums are of 32 bits, whatever is summed. Where no lines are fetched, it makes no difference where a row begins.
    fn channels_at_once(&self) -> usize {
        let lanes = self.target.vector.bits as usize / 32;
        if self.target.caches.is_empty() { 1 } else { lanes.max(1) }
    }
}

/// The sources that are no stages of the definition itself.
fn given(sources: &[Operand]) -> Vec<Operand> {
    sources.iter().filter(|source| !matches!(source.source, Source::Stage(_))).cloned().collect()
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
