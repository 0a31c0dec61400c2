//! Steps of a reduction in groups, each of them one instruction on every accumulator.

use ir::{DType, Scalar};
use loops::affine::Affine;
use loops::{Binary, BufferId, Expr, Fold, Reg, Type};

use super::Emitter;
use super::matrix::Product;
use super::value::{Place, Together};
use crate::choose::lane_steps;
use crate::dot::{Dot, WORD};

impl Emitter<'_> {
    /// The innermost reduction axis: whole groups in a loop, then what is left with zeros beside it.
    pub(super) fn groups(&mut self, dot: &Dot, fold: Fold, accumulators: &[Reg]) {
        let (axis, group) = (dot.axis, dot.group);
        let extent = self.flat.axes[axis].extent;
        if let Some(Product { depth, .. }) = self.in_matrices() {
            return self.steps(axis, (0, extent), depth, |e| e.accumulate(fold, accumulators));
        }
        let whole = extent / group * group;
        let mut rest = whole..extent;
        if self.unrolled.contains(&axis) {
            rest = 0..extent;
        } else if whole > 0 {
            let steps = self.schedule.unroll;
            let unroll = if (whole / group).is_multiple_of(steps) { steps } else { 1 };
            let together = lane_steps(self.flat, self.schedule, self.target) == Some(unroll);
            let bounds = (Expr::int(0), Expr::int(whole as i64));
            self.for_loop(bounds, group * unroll, (0, (whole - group * unroll) as i64), |e, var| {
                e.axes[axis] = var.clone();
                e.ask(&e.shares.clone());
                for step in 0..unroll {
                    let ahead = Expr::int((step * group) as i64);
                    e.axes[axis] = if step == 0 { var.clone() } else { var.clone() + ahead };
                    e.together = together.then(|| Together { axis, first: var.clone(), step, steps: unroll });
                    e.accumulate(fold, accumulators);
                }
                e.together = None;
            });
        }
        for k in rest.step_by(group) {
            self.axes[axis] = Expr::int(k as i64);
            self.accumulate(fold, accumulators);
        }
    }

    /// An accumulator with the products of a group added to it in every lane.
    pub(super) fn group(&mut self, dot: &Dot, accumulator: Reg, place: Place) -> Expr {
        let valid = self.valid_steps(dot);
        let (buffer, address) = &dot.shared;
        let lanes = self.schedule.lanes;
        let of_group = |of: BufferId| Type::vector(self.buffers[of.0 as usize].dtype, lanes * dot.group);
        let (shared_type, packed_type) = (of_group(*buffer), of_group(dot.packed.0));
        let index = Box::new(self.address(address, Place { lanes: 1, valid: 1, ..place }));
        let group = Expr::Load { buffer: *buffer, index, lanes: dot.group, valid };
        let word = self.bind(Type::scalar(WORD), bits(WORD, group));
        let words = Expr::Broadcast { value: Box::new(word), lanes };
        let shared = self.bind(shared_type, bits(shared_type.dtype, words));
        let packed = self.packed(dot, packed_type, place, 0);
        let sum = Expr::Reg(accumulator);
        match dot.instruction {
            Some(instruction) => {
                Expr::Instruction { name: instruction.name.to_owned(), args: vec![sum, shared, packed] }
            }
            None => halves(shared, packed, lanes)
                .into_iter()
                .fold(sum, |sum, (a, b)| Expr::MulAdd(Box::new(a), Box::new(b), Box::new(sum))),
        }
    }

    /// Steps of the group here that there are: only the last one, at a known place, may be incomplete.
    pub(super) fn valid_steps(&self, dot: &Dot) -> usize {
        match &self.axes[dot.axis] {
            Expr::Const(first) => {
                dot.group.min(self.flat.axes[dot.axis].extent.saturating_sub(first.as_i64() as usize))
            }
            _ => dot.group,
        }
    }

    /// The packed factor's groups for the lanes of `place` from `lane` on.
    pub(super) fn packed(&mut self, dot: &Dot, ty: Type, place: Place, lane: usize) -> Expr {
        let (buffer, address) = &dot.packed;
        let axes = self.axes_at(Place { first: 0, ..place });
        // A dot product is chosen for what is packed alone.
        let found = self.packings.iter().find(|(p, _)| p.buffer == *buffer && p.address == *address);
        let (index, buffer) = found.map_or((Expr::int(0), *buffer), |(packing, packed)| {
            let first = packing.address(&axes, place.first);
            (first.plus(&Affine::constant((lane * dot.group) as i64), 1).to_expr(), *packed)
        });
        self.bind(ty, Expr::Load { buffer, index: Box::new(index), lanes: ty.lanes, valid: ty.lanes })
    }
}

/// What the low and the high halves of the words of two vectors of bfloat16 stand for: the bits above are a float's.
fn halves(a: Expr, b: Expr, lanes: usize) -> [(Expr, Expr); 2] {
    let of_words = |op: Binary, value: &Expr, with: u32| {
        let with = Expr::Const(Scalar::from_i64(WORD, i64::from(with as i32)));
        let with = Expr::Broadcast { value: Box::new(with), lanes };
        bits(DType::F32, Expr::binary(op, bits(WORD, value.clone()), with))
    };
    let low = |value: &Expr| of_words(Binary::ShiftLeft, value, 16);
    let high = |value: &Expr| of_words(Binary::And, value, 0xFFFF_0000);
    [(low(&a), low(&b)), (high(&a), high(&b))]
}

fn bits(dtype: DType, value: Expr) -> Expr {
    Expr::Bits(dtype, Box::new(value))
}
