//! Constants in the order in which the register tile reads them.

use ir::TensorType;
use loops::affine::Affine;
use loops::{BufferId, Definition, Expr, Source, Stage};

use crate::Schedule;
use crate::flat::Flat;

/// A constant operand that is stored as `[other axes..., vector block, reduction..., block]`, the last block filled up
/// with zeros: the register tile then reads whole vectors from consecutive addresses. Where an instruction sums a group of
/// steps in every lane, it is `[..., reduction..., group of the innermost one, block, place in the group]`.
#[derive(Debug, Clone)]
pub struct Packing {
    /// The load it stands for.
    pub buffer: BufferId,
    pub address: Affine,
    /// The domain axes other than the vector axis that the operand depends on, outermost first.
    pub outer: Vec<usize>,
    /// The reduction axes it depends on, outermost first.
    pub reduction: Vec<usize>,
    vector_axis: usize,
    /// Elements along the vector axis of one register tile.
    block: usize,
    /// Steps of the last reduction axis that lie side by side for each lane; missing ones are zeros.
    group: usize,
    extents: Vec<usize>,
}

/// Which loads of the body are better packed under `schedule`.
pub fn packings(flat: &Flat, schedule: &Schedule) -> Vec<Packing> {
    let Some(vector_axis) = schedule.vector_axis.filter(|&axis| !flat.axes[axis].reduction) else {
        return vec![];
    };
    let mut packings: Vec<Packing> = Vec::new();
    flat.body.any(&mut |node| {
        if let Expr::Load { buffer, index, .. } = node {
            let address = Affine::of(index);
            let known = packings.iter().any(|p| p.buffer == *buffer && p.address == address);
            if !known && wants_packing(flat, *buffer, &address, vector_axis) {
                let used = |axis: &usize| address.coefficient(&Expr::Axis(*axis)) != 0;
                packings.push(Packing {
                    buffer: *buffer,
                    outer: flat.axes_where(false).filter(|a| *a != vector_axis).filter(used).collect(),
                    reduction: flat.axes_where(true).filter(used).collect(),
                    address,
                    vector_axis,
                    block: schedule.lanes * schedule.vectors,
                    group: schedule.group,
                    extents: flat.axes.iter().map(|axis| axis.extent).collect(),
                });
            }
        }
        false
    });
    packings
}

/// A constant that moves along the vector axis and is folded over, or is not dense along that axis.
pub fn wants_packing(flat: &Flat, buffer: BufferId, address: &Affine, vector_axis: usize) -> bool {
    let moves = |axis: usize| address.coefficient(&Expr::Axis(axis)) != 0;
    let affine = address.over_axes(flat.axes.len()).is_some();
    flat.operands[buffer.0 as usize].constant
        && flat.fold.is_some()
        && affine
        && moves(vector_axis)
        && (flat.axes_where(true).any(moves) || address.coefficient(&Expr::Axis(vector_axis)) != 1)
}

impl Packing {
    fn blocks(&self) -> usize {
        self.extents[self.vector_axis].div_ceil(self.block)
    }

    /// Elements between a group of steps and the next one.
    pub fn group_stride(&self) -> usize {
        self.group * self.block
    }

    /// The axis that blocks are taken of.
    pub fn vector_axis(&self) -> usize {
        self.vector_axis
    }

    /// Elements of one lane of a block.
    pub fn within(&self) -> usize {
        self.reduction.iter().map(|&axis| self.steps(axis)).product()
    }

    /// Elements along a reduction axis: whole groups along the last one.
    pub fn steps(&self, axis: usize) -> usize {
        let group = if self.reduction.last() == Some(&axis) { self.group } else { 1 };
        self.extents[axis].next_multiple_of(group)
    }

    /// Elements of the packed constant.
    pub fn len(&self) -> usize {
        let product = |axes: &[usize]| axes.iter().map(|&axis| self.extents[axis]).product::<usize>();
        product(&self.outer) * self.blocks() * self.within() * self.block
    }

    /// The packed address at a point: `axes` gives each axis's place, `vector` the first lane's within the block
    /// that starts at `axes[vector axis]`, which is a multiple of the block; on the last reduction axis a group's first.
    pub fn address(&self, axes: &[Expr], vector: usize) -> Affine {
        let within = self.within() as i64;
        let block = self.block as i64;
        let mut sum =
            Affine::constant((vector * self.group) as i64).plus(&Affine::of(&axes[self.vector_axis]), within);
        let mut stride = self.blocks() as i64 * within * block;
        for &axis in self.outer.iter().rev() {
            sum = sum.plus(&Affine::of(&axes[axis]), stride);
            stride *= self.extents[axis] as i64;
        }
        let mut stride = block;
        for &axis in self.reduction.iter().rev() {
            sum = sum.plus(&Affine::of(&axes[axis]), stride);
            stride *= self.steps(axis) as i64;
        }
        sum
    }

    /// How the packed constant follows from the original, which is read flattened.
    pub fn definition(&self, flat: &Flat) -> (Source, Definition) {
        let operand = &flat.operands[self.buffer.0 as usize];
        let mut domain: Vec<usize> = self.outer.iter().map(|&axis| self.extents[axis]).collect();
        domain.push(self.blocks());
        domain.extend(self.reduction.iter().map(|&axis| self.steps(axis)));
        let block_axis = self.outer.len();
        let last = domain.len() - 1;
        domain.push(self.block);
        let lane = Expr::Axis(last + 1);
        let mut axes = vec![Expr::int(0); self.extents.len()];
        for (place, &axis) in self.outer.iter().enumerate() {
            axes[axis] = Expr::Axis(place);
        }
        for (place, &axis) in self.reduction.iter().enumerate() {
            axes[axis] = Expr::Axis(block_axis + 1 + place);
        }
        let mut inside = Vec::new();
        if let Some(&axis) = self.reduction.last().filter(|_| self.group > 1) {
            domain[last] /= self.group;
            domain.push(self.group);
            axes[axis] = Expr::Axis(last) * Expr::int(self.group as i64) + Expr::Axis(last + 2);
            if self.steps(axis) > self.extents[axis] {
                inside.push(axes[axis].clone().within(self.extents[axis]));
            }
        }
        let vector = Expr::Axis(block_axis) * Expr::int(self.block as i64) + lane;
        axes[self.vector_axis] = vector.clone();
        let read = Expr::read(Source::Operand(0), vec![self.address.to_expr().substitute_axes(&axes)]);
        if !self.extents[self.vector_axis].is_multiple_of(self.block) {
            inside.push(vector.within(self.extents[self.vector_axis]));
        }
        let body = match inside.into_iter().reduce(Expr::and) {
            None => read,
            Some(inside) => Expr::select(inside, read, Expr::constant(operand.dtype, 0.0)),
        };
        let ty = TensorType::new(operand.dtype, domain);
        (operand.source, Definition::single(Stage::map(ty.dtype, ty.shape, body)))
    }
}
