//! Accumulators that are blocks of a few rows and columns each, and the instruction that adds the product of two blocks of
//! factors to one (bfmmla).

use ir::Scalar;
use loops::{Expr, Reg, Stmt, Type};

use super::Emitter;
use super::tile::Held;
use super::value::Place;
use crate::dot::{Block, Dot};

impl Emitter<'_> {
    /// Vectors of the register tile, row by row, as blocks: those of the first rows, vector by vector, each in its parts,
    /// then those of the next rows. Rows that are missing from the last blocks are as the last one there is.
    pub(super) fn in_blocks(&mut self, block: Block, vectors: Vec<Expr>) -> Vec<Expr> {
        let (per_row, lanes) = (self.vectors.len(), self.schedule.lanes);
        let mut blocks = Vec::new();
        for rows in vectors.chunks(block.rows * per_row) {
            for v in 0..per_row {
                let (first, last) = (&rows[v], &rows[rows.len() - per_row + v]);
                let uniform = first == last && matches!(first, Expr::Broadcast { .. });
                for part in 0..lanes / block.columns {
                    let of_row =
                        |row: usize| (0..block.columns).map(move |c| row * lanes + part * block.columns + c);
                    let lanes = (0..block.rows).flat_map(of_row);
                    blocks.push(if uniform { first.clone() } else { shuffle(first, last, lanes) });
                }
            }
        }
        blocks
    }

    /// The vectors of the register tile, row by row, that are in `blocks`.
    pub(super) fn of_blocks(&self, block: Block, blocks: &[Reg]) -> Vec<Expr> {
        let (per_row, lanes) = (self.vectors.len(), self.schedule.lanes);
        let parts = lanes / block.columns;
        let elements = block.rows * block.columns;
        let vector = |row: usize, v: usize| {
            let first = (row / block.rows * per_row + v) * parts;
            let [a, b] = [blocks[first], blocks[first + parts - 1]].map(Expr::Reg);
            let of_part = |part: usize| {
                (0..block.columns).map(move |c| part * elements + row % block.rows * block.columns + c)
            };
            shuffle(&a, &b, (0..parts).flat_map(of_part))
        };
        (0..self.rows)
            .flat_map(|row| (0..per_row).map(move |v| (row, v)))
            .map(|(row, v)| vector(row, v))
            .collect()
    }

    /// One group of steps in all blocks; rows at which the guards do not hold add nothing.
    pub(super) fn accumulate_blocks(&mut self, dot: &Dot, block: Block, blocks: &[Reg]) {
        let Some(instruction) = dot.instruction else { return };
        let [_, shared_type, packed_type] = [0, 1, 2].map(|k| instruction.arguments[k]);
        let (vectors, lanes) = (self.vectors.clone(), self.schedule.lanes);
        let parts = lanes / block.columns;
        let (step, steps) = self.together.as_ref().map_or((0, 1), |together| (together.step, together.steps));
        let of_row = |row: usize| (0..dot.group).map(move |k| (row * steps + step) * dot.group + k);
        for (of_rows, first) in blocks.chunks(vectors.len() * parts).zip((0..self.rows).step_by(block.rows)) {
            let last = (first + block.rows - 1).min(self.rows - 1);
            let [a, b] = [first, last].map(|row| self.row_groups(dot, row));
            if a.is_none() && b.is_none() {
                continue;
            }
            let [a, b] = [a, b].map(|groups| groups.unwrap_or_else(|| self.no_groups(dot)));
            let shared = self.bind(shared_type, shuffle(&a, &b, (0..block.rows).flat_map(of_row)));
            for (v, of_vector) in of_rows.chunks(parts).enumerate() {
                let place = Place { row: first, first: v * lanes, lanes, valid: vectors[v] };
                for (part, &reg) in of_vector.iter().enumerate() {
                    let packed = self.packed(dot, packed_type, place, part * block.columns);
                    let args = vec![Expr::Reg(reg), shared.clone(), packed];
                    let value = Expr::Instruction { name: instruction.name.to_owned(), args };
                    self.push(Stmt::Set { reg, value });
                }
            }
        }
    }

    /// What a row has for the group here, or for all that are loaded together; `None` where the guards do not hold.
    fn row_groups(&mut self, dot: &Dot, row: usize) -> Option<Expr> {
        let place = Place { row, first: 0, lanes: 1, valid: 1 };
        match self.held(place) {
            Held::Never => None,
            Held::Always => {
                let groups = self.load_groups(dot, place);
                Some(self.bind(self.groups_type(dot), groups))
            }
            Held::If(condition) => {
                let nothing = self.no_groups(dot);
                let reg = self.register(self.groups_type(dot), nothing);
                let then = self.block(|e| {
                    let value = e.load_groups(dot, place);
                    e.push(Stmt::Set { reg, value });
                });
                self.push(Stmt::If { condition, then, otherwise: vec![] });
                Some(Expr::Reg(reg))
            }
        }
    }

    fn load_groups(&mut self, dot: &Dot, place: Place) -> Expr {
        let (buffer, address) = &dot.shared;
        let lanes = self.groups_type(dot).lanes;
        let (index, valid) = match self.together.clone() {
            Some(together) => (self.address_at_first(address, place, &together), lanes),
            None => (self.address(address, place), self.valid_steps(dot)),
        };
        Expr::Load { buffer: *buffer, index: Box::new(index), lanes, valid }
    }

    fn groups_type(&self, dot: &Dot) -> Type {
        let steps = self.together.as_ref().map_or(1, |together| together.steps);
        Type::vector(self.buffers[dot.shared.0.0 as usize].dtype, steps * dot.group)
    }

    fn no_groups(&mut self, dot: &Dot) -> Expr {
        let Type { dtype, lanes } = self.groups_type(dot);
        self.constant_vector(Scalar::from_f64(dtype, 0.0), lanes)
    }
}

fn shuffle(a: &Expr, b: &Expr, lanes: impl Iterator<Item = usize>) -> Expr {
    Expr::Shuffle { a: Box::new(a.clone()), b: Box::new(b.clone()), lanes: lanes.collect() }
}
