//! Bringing near what is wanted soon: the next block of packed constants while the present one is used, and the places of
//! a register tile's results while they are summed.
//!
//! A block of constants is gone over once for every register tile that reads it. Each of those passes asks for its
//! share of the lines of the next block, spread over its own steps: what comes from afar then comes beside the
//! arithmetic, at the rate of all passes and not of the first.

use loops::affine::Affine;
use loops::{Expr, Stmt};

use super::Emitter;
use crate::Loop;

/// Bytes of a cache line.
const LINE: usize = 64;

/// What the present register tile asks for.
#[derive(Debug, Clone)]
pub(super) struct Share {
    packing: usize,
    /// The first element that this pass asks for, in a register.
    first: Expr,
    /// Elements between what two steps of the reduction ask for.
    step: usize,
    /// Lines that one step asks for.
    lines: usize,
}

impl Emitter<'_> {
    /// The shares of a register tile: of every packed constant that several tiles read.
    pub(super) fn shares(&mut self) -> Vec<Share> {
        if !self.schedule.prefetch {
            return vec![];
        }
        (0..self.packings.len()).filter_map(|packing| self.share(packing)).collect()
    }

    fn share(&mut self, number: usize) -> Option<Share> {
        let (packing, _) = &self.packings[number];
        let bytes = self.flat.operands[packing.buffer.0 as usize].dtype.bytes();
        let per_line = LINE / bytes;
        let steps = packing.within();
        let block = packing.within() * (self.schedule.lanes * self.schedule.vectors);
        // The loops inside the one over blocks, and the passes that they make.
        let place = self.schedule.order.iter().position(|&l| l == Loop::Axis(packing.vector_axis()))?;
        let inner: Vec<usize> = self.schedule.order[place + 1..]
            .iter()
            .filter_map(|l| if let Loop::Axis(axis) = l { Some(*axis) } else { None })
            .collect();
        let size = |axis: usize| if Some(axis) == self.schedule.tile_axis { self.schedule.tile } else { 1 };
        let (mut pass, mut passes) = (Affine::constant(0), 1);
        for &axis in inner.iter().rev() {
            let turn = match size(axis) {
                1 => self.axes[axis].clone(),
                tile => self.axes[axis].clone() / Expr::int(tile as i64),
            };
            pass = pass.plus(&Affine::of(&turn), passes);
            passes *= self.flat.axes[axis].extent.div_ceil(size(axis)) as i64;
        }
        let lines = block.div_ceil(per_line).div_ceil(passes as usize);
        let unroll = self.schedule.unroll * self.schedule.group;
        let lines = lines.div_ceil(steps.div_ceil(unroll));
        let step = lines * per_line;
        let each = steps.div_ceil(unroll) * step;
        let mut axes = self.axes.clone();
        packing.reduction.iter().for_each(|&axis| axes[axis] = Expr::int(0));
        let next =
            packing.address(&axes, 0).plus(&Affine::constant(block as i64), 1).plus(&pass, each as i64);
        let index = loops::Type { dtype: ir::DType::I64, lanes: 1 };
        let first = self.bind(index, next.to_expr());
        Some(Share { packing: number, first, step, lines })
    }

    /// Asks for what the finish of the register tile will read, and for where its results go. Row by row they lie too far
    /// apart for the hardware to foresee, and the reduction's loops are there to wait behind: a tenth of the time of
    /// ResNet-50's expansions, which add what they skipped, on an AMD Zen 3.
    pub(super) fn ask_for_results(&mut self) {
        let Some(vector_axis) = self.schedule.vector_axis.filter(|_| self.target.costs.overlap) else {
            return;
        };
        let Some(cache) = self.target.caches.get(1).map(|cache| cache.bytes) else { return };
        let along = Expr::Axis(vector_axis);
        let mut places = vec![(self.result, Affine::of(&self.flat.result), self.flat.result_len)];
        self.finish.any(&mut |node| {
            if let Expr::Load { buffer, index, .. } = node {
                let operand = &self.flat.operands[buffer.0 as usize];
                let address = Affine::of(index);
                if !operand.constant && address.coefficient(&along) == 1 && !address.hides(&along) {
                    places.push((*buffer, address, operand.len));
                }
            }
            false
        });
        for (buffer, address, elements) in places {
            let bytes = self.buffers[buffer.0 as usize].dtype.bytes();
            if elements * bytes <= cache / 4 {
                continue;
            }
            for place in self.places() {
                if (place.first * bytes).is_multiple_of(LINE) {
                    let index = self.address(&address, place);
                    self.push(Stmt::Prefetch { buffer, index });
                }
            }
        }
    }

    /// What one step of the reduction's innermost loop asks for.
    pub(super) fn ask(&mut self, shares: &[Share]) {
        for share in shares {
            let (packing, buffer) = &self.packings[share.packing];
            let mut steps = Affine::constant(0);
            let mut stride = 1;
            for &axis in packing.reduction.iter().rev() {
                steps = steps.plus(&Affine::of(&self.axes[axis]), stride);
                stride *= packing.steps(axis) as i64;
            }
            let buffer = *buffer;
            let per_step = (share.step / (self.schedule.unroll * self.schedule.group)) as i64;
            for line in 0..share.lines {
                let at = Affine::of(&share.first)
                    .plus(&steps, per_step)
                    .plus(&Affine::constant((line * share.step / share.lines) as i64), 1);
                self.push(Stmt::Prefetch { buffer, index: at.to_expr() });
            }
        }
    }
}
