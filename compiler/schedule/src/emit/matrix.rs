//! Register tiles whose accumulators are matrix registers (AMX): blocks of many rows, and the instruction that adds the
//! product of two matrices to one.

use ir::{DType, Scalar};
use loops::{Expr, Fold, Reg, Stmt, Type};
use targets::Target;
use targets::instructions::Instruction;

use super::tile::Held;
use super::value::Place;
use super::{Emitter, Row};
use crate::dot::{self, Dot};
use crate::flat::Flat;
use crate::{Matrix, Schedule};

/// How matrices are multiplied.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product {
    pub instruction: &'static Instruction,
    /// Rows of an accumulator.
    pub rows: usize,
    /// Steps of the innermost reduction axis that one product takes.
    pub depth: usize,
    /// Elements between rows of the factor that is the same for all columns.
    stride: usize,
}

/// Rows at most that are left of the accumulators, and go without matrices, in one register tile.
const LEFT_OVER: usize = 8;

impl Product {
    pub fn of(flat: &Flat, schedule: &Schedule, target: &Target) -> Option<Product> {
        let Matrix { rows, depth } = schedule.matrix?;
        let instruction = dot::matrix(flat, schedule.vector_axis, schedule.lanes, target)?;
        let stride = dot::row_stride(flat, schedule.vector_axis, schedule.tile_axis?)?;
        Some(Product { instruction, rows, depth, stride })
    }
}

impl Emitter<'_> {
    /// How the current register tile multiplies matrices, if it does: where its rows fill whole accumulators.
    pub(super) fn in_matrices(&self) -> Option<Product> {
        self.product.filter(|product| self.rows.is_multiple_of(product.rows))
    }

    /// The register tiles of `rest` rows from `at` on, which are fewer than a tile has.
    pub(super) fn left_over(&self, mut at: usize, rest: usize) -> Vec<Row> {
        let Some(product) = self.product else { return vec![Row { at, rows: rest }] };
        let mut tiles = Vec::new();
        let mut rest = rest;
        let whole = rest / product.rows * product.rows;
        while rest > 0 {
            let rows = if tiles.is_empty() && whole > 0 { whole } else { rest.min(LEFT_OVER) };
            tiles.push(Row { at, rows });
            (at, rest) = (at + rows, rest - rows);
        }
        tiles
    }

    /// The register tile's sums in matrices, and its results.
    pub(super) fn matrix_tile(&mut self, product: Product, fold: Fold) {
        let (per_row, lanes) = (self.vectors.len(), self.schedule.lanes);
        let ty = Type::vector(self.flat.folded, product.rows * lanes);
        let accumulators: Vec<Reg> = (0..self.rows / product.rows * per_row)
            .map(|_| {
                let zeros = self.constant_vector(Scalar::from_f64(ty.dtype, 0.0), ty.lanes);
                self.register(ty, zeros)
            })
            .collect();
        let axes: Vec<usize> = self.flat.axes_where(true).collect();
        self.ask_for_results();
        self.shares = Vec::new();
        self.reduction(fold, &axes, &accumulators);
        let together = self.together_in(&[&self.finish]);
        self.side_by_side(&self.places(), together, |e, &place| {
            let block = place.row / product.rows * per_row + place.first / lanes;
            let matrix = Box::new(Expr::Reg(accumulators[block]));
            let first = place.row % product.rows * lanes;
            let row = Expr::Shuffle { a: matrix.clone(), b: matrix, lanes: (first..first + lanes).collect() };
            let sum = e.bind(Type::vector(ty.dtype, lanes), row);
            let value = e.finished((sum, lanes), place);
            e.store(value, place);
        });
    }

    /// The product of one step in all accumulators; rows at which the guards do not hold add nothing.
    pub(super) fn accumulate_matrices(&mut self, dot: &Dot, product: Product, accumulators: &[Reg]) {
        let (per_row, lanes) = (self.vectors.len(), self.schedule.lanes);
        for (of_rows, first) in accumulators.chunks(per_row).zip((0..self.rows).step_by(product.rows)) {
            let Some(a) = self.matrix_rows(dot, product, first) else { continue };
            for (v, &reg) in of_rows.iter().enumerate() {
                let b = self.packed_matrix(dot, product, v * lanes);
                let args = vec![Expr::Reg(reg), a.clone(), b];
                let value = Expr::Instruction { name: product.instruction.name.to_owned(), args };
                self.push(Stmt::Set { reg, value });
            }
        }
    }

    /// The rows' own factor from `first` on; `None` where the guards hold for none of them.
    fn matrix_rows(&mut self, dot: &Dot, product: Product, first: usize) -> Option<Expr> {
        let Product { rows, depth, stride, .. } = product;
        let (buffer, address) = &dot.shared;
        let row_type = Type::vector(self.buffers[buffer.0 as usize].dtype, depth);
        let ty = Type { lanes: rows * depth, ..row_type };
        let place = |row: usize| Place { row, first: 0, lanes: 1, valid: 1 };
        let held: Vec<Held> = (first..first + rows).map(|row| self.held(place(row))).collect();
        if held.iter().all(|held| matches!(held, Held::Never)) {
            return None;
        }
        if held.iter().all(|held| matches!(held, Held::Always)) {
            let index = Box::new(self.address(address, place(first)));
            return Some(self.bind(ty, Expr::Rows { buffer: *buffer, index, stride, rows, lanes: depth }));
        }
        let zeros = |e: &mut Self| e.constant_vector(Scalar::from_f64(row_type.dtype, 0.0), depth);
        let load = |e: &mut Self, row: usize| {
            let index = Box::new(e.address(address, place(row)));
            Expr::Load { buffer: *buffer, index, lanes: depth, valid: depth }
        };
        let mut parts = Vec::new();
        for (held, row) in held.into_iter().zip(first..) {
            let part = match held {
                Held::Never => zeros(self),
                Held::Always => {
                    let row = load(self, row);
                    self.bind(row_type, row)
                }
                Held::If(condition) => {
                    let nothing = zeros(self);
                    let reg = self.register(row_type, nothing);
                    let then = self.block(|e| {
                        let value = load(e, row);
                        e.push(Stmt::Set { reg, value });
                    });
                    self.push(Stmt::If { condition, then, otherwise: vec![] });
                    Expr::Reg(reg)
                }
            };
            parts.push(part);
        }
        Some(self.bind(ty, Expr::Concat(parts)))
    }

    /// The packed factor for the columns from `first` on.
    fn packed_matrix(&mut self, dot: &Dot, product: Product, first: usize) -> Expr {
        let (buffer, address) = &dot.packed;
        let dtype: DType = self.buffers[buffer.0 as usize].dtype;
        let axes = self.axes_at(Place { row: 0, first: 0, lanes: 1, valid: 1 });
        // Matrices are multiplied with what is packed alone.
        let found = self.packings.iter().find(|(p, _)| p.buffer == *buffer && p.address == *address);
        let (index, buffer, stride) = found.map_or((Expr::int(0), *buffer, 0), |(packing, packed)| {
            (packing.address(&axes, first).to_expr(), *packed, packing.group_stride())
        });
        let (rows, lanes) = (product.depth / dot.group, self.schedule.lanes * dot.group);
        let ty = Type::vector(dtype, rows * lanes);
        self.bind(ty, Expr::Rows { buffer, index: Box::new(index), stride, rows, lanes })
    }
}
