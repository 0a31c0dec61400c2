//! Expressions of a definition as registers of a nest.

use ir::{DType, Scalar};
use loops::affine::Affine;
use loops::{Binary, BufferId, Expr, Stmt, Type, Unary};

use super::guard::index_condition;
use super::{Emitter, computed};
use crate::math;
use crate::range::decide;

/// One vector (or scalar) of the register tile.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub row: usize,
    /// The first lane's distance from the tile's first column.
    pub first: usize,
    pub lanes: usize,
    /// Lanes that hold elements.
    pub valid: usize,
}

/// One of several steps along an axis that are written out side by side.
#[derive(Debug, Clone)]
pub struct Together {
    pub axis: usize,
    /// Where the axis stands at the first of them.
    pub first: Expr,
    pub step: usize,
    pub steps: usize,
}

impl Emitter<'_> {
    /// The place of every axis for the first lane of `place`.
    pub(super) fn axes_at(&self, place: Place) -> Vec<Expr> {
        let moved = |axis: usize, by: usize| match by {
            0 => self.axes[axis].clone(),
            _ => Affine::of(&self.axes[axis]).plus(&Affine::constant(by as i64), 1).to_expr(),
        };
        (0..self.axes.len())
            .map(|axis| match Some(axis) {
                a if a == self.schedule.tile_axis => moved(axis, place.row),
                a if a == self.schedule.vector_axis => moved(axis, place.first),
                _ => self.axes[axis].clone(),
            })
            .collect()
    }

    /// An address over axes as one over loop variables; what must be looked up for it is bound to registers.
    pub(super) fn address(&mut self, address: &Affine, place: Place) -> Expr {
        let placed = address.to_expr().substitute_axes(&self.axes_at(place));
        let resolved = placed.rewrite(&mut |node| match node {
            Expr::Load { buffer, .. } => {
                let dtype = self.buffers[buffer.0 as usize].dtype;
                Some(self.bind(Type { dtype, lanes: 1 }, node.clone()))
            }
            _ => None,
        });
        Affine::of(&resolved).to_expr()
    }

    /// `expr` at `place`: the value and its lanes, 1 where it is the same in all of them.
    pub(super) fn value(
        &mut self,
        expr: &Expr,
        place: Place,
        folded: Option<(Expr, usize)>,
    ) -> (Expr, usize) {
        match expr {
            Expr::Const(scalar) => (Expr::Const(compute_constant(*scalar)), 1),
            Expr::Axis(axis) => (self.axes_at(place)[*axis].clone(), 1),
            Expr::Folded => folded.unwrap_or((Expr::int(0), 1)),
            Expr::Load { buffer, index, .. } => self.load(*buffer, &Affine::of(index), place),
            Expr::Select { condition, then, otherwise } if index_condition(condition) => {
                self.guarded(condition, then, otherwise, place, folded)
            }
            Expr::Cast(dtype, a) => {
                let (value, lanes) = self.value(a, place, folded);
                let from = computed(self.dtype(a));
                let value = match computed(*dtype) {
                    // A half float is what its bits can hold, computed with as F32.
                    wide if wide != *dtype => value.cast(*dtype).cast(wide),
                    same if same == from => value,
                    other => value.cast(other),
                };
                (value, lanes)
            }
            Expr::Unary(op, a) => {
                let dtype = computed(self.dtype(a));
                let (value, lanes) = self.value(a, place, folded);
                (self.unary(*op, value, Type { dtype, lanes }), lanes)
            }
            Expr::Binary(op, a, b) => {
                let dtype = computed(self.dtype(a));
                let (a, b, lanes) = self.pair(a, b, place, folded);
                (self.binary(*op, a, b, Type { dtype, lanes }), lanes)
            }
            Expr::Compare(op, a, b) => {
                let (a, b, lanes) = self.pair(a, b, place, folded);
                (Expr::compare(*op, a, b), lanes)
            }
            Expr::Select { condition, then, otherwise } => {
                let (condition_value, lanes) = self.value(condition, place, folded.clone());
                let (a, b, sides) = self.pair(then, otherwise, place, folded);
                let lanes_all = lanes.max(sides);
                let condition = self.broadcast(condition, condition_value, lanes, lanes_all);
                let a = self.broadcast(then, a, sides, lanes_all);
                let b = self.broadcast(otherwise, b, sides, lanes_all);
                (Expr::select(condition, a, b), lanes_all)
            }
            other => (other.clone(), 1),
        }
    }

    fn pair(
        &mut self,
        a: &Expr,
        b: &Expr,
        place: Place,
        folded: Option<(Expr, usize)>,
    ) -> (Expr, Expr, usize) {
        let (x, x_lanes) = self.value(a, place, folded.clone());
        let (y, y_lanes) = self.value(b, place, folded);
        let lanes = x_lanes.max(y_lanes);
        let x = self.broadcast(a, x, x_lanes, lanes);
        let y = self.broadcast(b, y, y_lanes, lanes);
        (x, y, lanes)
    }

    /// `value` in `to` lanes; `expr` is what it came from, for its type.
    pub(super) fn broadcast(&mut self, expr: &Expr, value: Expr, from: usize, to: usize) -> Expr {
        if from == to {
            return value;
        }
        let ty = Type { dtype: computed(self.dtype(expr)), lanes: to };
        let wide = Expr::Broadcast { value: Box::new(value), lanes: to };
        self.bind(ty, wide)
    }

    pub(super) fn constant_vector(&mut self, scalar: Scalar, lanes: usize) -> Expr {
        match lanes {
            1 => Expr::Const(scalar),
            _ => Expr::Broadcast { value: Box::new(Expr::Const(scalar)), lanes },
        }
    }

    /// The element type of a part of the definition.
    fn dtype(&self, expr: &Expr) -> DType {
        crate::flat::dtype_of(expr, &self.flat.operands, self.flat.folded)
    }

    /// What lies at `address` (over axes), bound to a register; from the packed constant where there is one.
    fn load(&mut self, buffer: BufferId, address: &Affine, place: Place) -> (Expr, usize) {
        let packed = self.packings.iter().find(|(p, _)| p.buffer == buffer && p.address == *address);
        let (buffer, index, lanes, valid) = match packed {
            Some((packing, packed)) => {
                let axes = self.axes_at(Place { first: 0, ..place });
                (*packed, packing.address(&axes, place.first).to_expr(), place.lanes, place.lanes)
            }
            None => {
                let along = |axis| address.coefficient(&Expr::Axis(axis)) != 0;
                let lanes = if self.schedule.vector_axis.is_some_and(along) { place.lanes } else { 1 };
                let together = self.together.clone().filter(|_| lanes == 1);
                if let Some(together) = together.filter(|of| address.coefficient(&Expr::Axis(of.axis)) == 1) {
                    return (self.lane(buffer, address, place, together), 1);
                }
                (buffer, self.address(address, place), lanes, place.valid.min(lanes))
            }
        };
        let load = Expr::Load { buffer, index: Box::new(index), lanes, valid };
        (self.loaded(buffer, load, lanes), lanes)
    }

    /// What a step reads as its lane of what all of them read.
    fn lane(&mut self, buffer: BufferId, address: &Affine, place: Place, together: Together) -> Expr {
        let Together { step, steps, .. } = together;
        let index = Box::new(self.address_at_first(address, place, &together));
        let load = Expr::Load { buffer, index, lanes: steps, valid: steps };
        let vector = self.loaded(buffer, load, steps);
        let dtype = computed(self.buffers[buffer.0 as usize].dtype);
        self.bind(Type::scalar(dtype), Expr::Lane { value: Box::new(vector), lane: step })
    }

    /// Where `address` stands at the first of several steps.
    pub(super) fn address_at_first(&mut self, address: &Affine, place: Place, together: &Together) -> Expr {
        let here = std::mem::replace(&mut self.axes[together.axis], together.first.clone());
        let index = self.address(address, place);
        self.axes[together.axis] = here;
        index
    }

    /// A load as what is computed with, bound to a register.
    fn loaded(&mut self, buffer: BufferId, load: Expr, lanes: usize) -> Expr {
        let stored = self.buffers[buffer.0 as usize].dtype;
        let dtype = computed(stored);
        let value = if dtype == stored { load } else { load.cast(dtype) };
        self.bind(Type { dtype, lanes }, value)
    }

    /// A read that stands behind a question about indices: decided now, or asked at run time around the read.
    fn guarded(
        &mut self,
        condition: &Expr,
        then: &Expr,
        otherwise: &Expr,
        place: Place,
        folded: Option<(Expr, usize)>,
    ) -> (Expr, usize) {
        let condition = condition.substitute_axes(&self.axes_at(place));
        match decide(&condition, &self.ranges) {
            Some(true) => self.value(then, place, folded),
            Some(false) => self.value(otherwise, place, folded),
            None => {
                let ty = Type { dtype: computed(self.dtype(then)), lanes: place.lanes };
                let nothing = self.constant_vector(Scalar::from_f64(ty.dtype, 0.0), ty.lanes);
                let reg = self.register(ty, nothing);
                let side = |e: &mut Self, expr: &Expr, folded: Option<(Expr, usize)>| {
                    e.block(|e| {
                        let (value, lanes) = e.value(expr, place, folded);
                        let value = e.broadcast(expr, value, lanes, ty.lanes);
                        e.push(Stmt::Set { reg, value });
                    })
                };
                let then = side(self, then, folded.clone());
                let otherwise = side(self, otherwise, folded);
                self.push(Stmt::If { condition, then, otherwise });
                (Expr::Reg(reg), ty.lanes)
            }
        }
    }

    fn unary(&mut self, op: Unary, value: Expr, ty: Type) -> Expr {
        let (target, mut bind) = (self.target, |ty, value| self.bind(ty, value));
        let expanded = math::expand(op, value, ty, target, &mut bind);
        self.supported(expanded)
    }

    fn binary(&mut self, op: Binary, a: Expr, b: Expr, ty: Type) -> Expr {
        let (target, mut bind) = (self.target, |ty, value| self.bind(ty, value));
        let expanded = math::expand_binary(op, a, b, ty, target, &mut bind);
        self.supported(expanded)
    }

    /// The value, or something in its place while the first reason why there is none is kept.
    fn supported(&mut self, value: Result<Expr, math::Unsupported>) -> Expr {
        value.unwrap_or_else(|unsupported| {
            self.unsupported.get_or_insert(unsupported);
            Expr::int(0)
        })
    }
}

/// A half-float constant as the value that is computed with.
fn compute_constant(scalar: Scalar) -> Scalar {
    match computed(scalar.dtype) {
        dtype if dtype == scalar.dtype => scalar,
        dtype => Scalar::from_f64(dtype, scalar.as_f64()),
    }
}
