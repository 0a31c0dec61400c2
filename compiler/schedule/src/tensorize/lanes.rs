//! Dot products of groups in every lane: a tile of rows by vectors of columns in registers, four activations broadcast
//! at a time.

use super::{
    BufferId, Contraction, Expr, Ids, Stmt, Unfit, bits, call, load, packed, place, read_only, result,
};
use crate::{Argument, Arranged};
use ir::DType;
use loops::{Binary, Fold, Nest, Reg, Source, Stage, Type};
use targets::Target;
use targets::instructions::Instruction;

const ACTIVATIONS: BufferId = BufferId(0);
const WEIGHTS: BufferId = BufferId(1);
const RESULT: BufferId = BufferId(2);
const CORRECTION: BufferId = BufferId(3);

/// How the contraction is laid over the registers.
struct Tiling<'a> {
    contraction: &'a Contraction,
    instruction: &'a Instruction,
    /// Elements that one lane sums.
    group: usize,
    lanes: usize,
    rows: usize,
    vectors: usize,
    /// The instruction takes unsigned activations and ours are signed: they are raised by 128, and the weights' sums
    /// times 128 are taken off at compile time.
    raised: bool,
}

pub(super) fn nest(
    name: &str,
    contraction: &Contraction,
    instruction: &Instruction,
    group: usize,
    target: &Target,
) -> Result<Arranged, Unfit> {
    let taken = instruction.arguments[1].dtype;
    let raised = match (contraction.activations.dtype, taken) {
        (have, taken) if have == taken => false,
        (DType::I8, DType::U8) => true,
        (have, taken) => return Err(Unfit(format!("{} takes {taken}, not {have}", instruction.name))),
    };
    if taken.bits() as usize * group != 32 {
        return Err(Unfit(format!("{} does not sum 32 bits in a lane", instruction.name)));
    }
    let lanes = instruction.result.lanes;
    let vectors = contraction.columns.div_ceil(lanes).min(4);
    // Accumulators, one vector of weights per column, activations in two.
    let most = (target.vector.registers.saturating_sub(vectors + 2) / vectors).clamp(1, 8);
    let rows = even_tile(contraction.rows.last().copied().unwrap_or(1), most);
    let tiling = Tiling { contraction, instruction, group, lanes, rows, vectors, raised };

    let mut buffers = vec![
        read_only("x", contraction.activations.dtype, contraction.activations.len),
        read_only("w", contraction.weights.dtype, tiling.weights().ty().elements()),
        result(contraction),
    ];
    let mut arguments =
        vec![Argument::Source(Source::Operand(0)), packed(tiling.weights()), Argument::Result];
    if raised {
        buffers.push(read_only("correction", DType::I32, tiling.padded_columns()));
        arguments.push(packed(tiling.correction()));
    }
    Ok(Arranged { nest: Nest { name: name.to_string(), buffers, body: tiling.body() }, arguments })
}

/// The largest tile up to `most` that divides `extent`, if that is no less than half of it.
fn even_tile(extent: usize, most: usize) -> usize {
    (most.div_ceil(2)..=most).rev().find(|tile| extent.is_multiple_of(*tile)).unwrap_or(most)
}

impl Tiling<'_> {
    fn block(&self) -> usize {
        self.vectors * self.lanes
    }

    fn padded_columns(&self) -> usize {
        self.contraction.columns.next_multiple_of(self.block())
    }

    fn groups(&self) -> usize {
        self.contraction.depth.div_ceil(self.group)
    }

    /// `[block of columns, outer reduction, group, column in the block, k in the group]`.
    fn weights(&self) -> Stage {
        let domain = [
            self.padded_columns() / self.block(),
            self.contraction.outer_steps(),
            self.groups(),
            self.block(),
            self.group,
        ];
        let column = Expr::Axis(0) * Expr::int(self.block() as i64) + Expr::Axis(3);
        let k = Expr::Axis(2) * Expr::int(self.group as i64) + Expr::Axis(4);
        let body = self.contraction.weight(&column, &Expr::Axis(1), &k);
        Stage::map(self.contraction.weights.dtype, domain, body)
    }

    /// What raising the activations by 128 added to each column's sum, negated.
    fn correction(&self) -> Stage {
        let contraction = self.contraction;
        let weight = contraction.weight(&Expr::Axis(0), &Expr::Axis(1), &Expr::Axis(2)).cast(DType::I32);
        let reduction = [contraction.outer_steps(), contraction.depth];
        let raised = Expr::Folded * Expr::constant(DType::I32, -128.0);
        Stage::reduce(DType::I32, [self.padded_columns()], Fold::Sum, reduction, weight)
            .finished(DType::I32, &raised)
    }

    fn body(&self) -> Vec<Stmt> {
        Ids::default().row_tiles(&self.contraction.rows, self.rows, &mut |ids, rows| {
            ids.tiles(self.contraction.columns, self.block(), &mut |ids, column, columns| {
                self.tile(ids, rows, &column, columns)
            })
        })
    }

    /// The sums of some rows by `columns` columns from `column` on.
    fn tile(&self, ids: &mut Ids, rows: &[Vec<Expr>], column: &Expr, columns: usize) -> Vec<Stmt> {
        let vectors = columns.div_ceil(self.lanes);
        let along = |v: usize| column.clone() + Expr::int((v * self.lanes) as i64);
        let mut body = Vec::new();
        let sums: Vec<Vec<Reg>> = rows
            .iter()
            .map(|_| {
                let start = |v: usize| match self.raised {
                    true => load(CORRECTION, along(v), self.lanes, self.lanes),
                    false => self.splat(Expr::constant(DType::I32, 0.0)),
                };
                (0..vectors).map(|v| ids.declare(&mut body, self.instruction.result, start(v))).collect()
            })
            .collect();
        body.extend(ids.over(&self.contraction.outer, &[], &mut |ids, outer| {
            let depth = self.contraction.depth;
            ids.tiles(depth, self.group, &mut |ids, k, valid| {
                self.step(ids, &sums, rows, column, outer, &k, valid)
            })
        }));
        for (row, sums) in rows.iter().zip(&sums) {
            for (v, &sum) in sums.iter().enumerate() {
                let valid = (columns - v * self.lanes).min(self.lanes);
                let index = place(self.contraction, row, along(v));
                body.push(Stmt::Store { buffer: RESULT, index, value: Expr::Reg(sum), valid });
            }
        }
        body
    }

    /// One group of `k`, `valid` of it, in all the tile's sums.
    #[allow(clippy::too_many_arguments, reason = "one point of the iteration space")]
    fn step(
        &self,
        ids: &mut Ids,
        sums: &[Vec<Reg>],
        rows: &[Vec<Expr>],
        column: &Expr,
        outer: &[Expr],
        k: &Expr,
        valid: usize,
    ) -> Vec<Stmt> {
        let [_, a, b] = [0, 1, 2].map(|k| self.instruction.arguments[k]);
        let outer_position = outer
            .iter()
            .zip(&self.contraction.outer)
            .fold(Expr::int(0), |sum, (axis, &extent)| sum * Expr::int(extent as i64) + axis.clone());
        let depth = self.groups() * self.group;
        let position = outer_position * Expr::int(depth as i64) + k.clone();
        let steps = Expr::int((self.contraction.outer_steps() * depth) as i64);
        let base = column.clone() * steps + position * Expr::int(self.block() as i64);

        let mut body = Vec::new();
        let weights: Vec<Reg> = (0..sums[0].len())
            .map(|v| {
                let index = base.clone() + Expr::int((v * b.lanes) as i64);
                ids.declare(&mut body, b, load(WEIGHTS, index, b.lanes, b.lanes))
            })
            .collect();
        for (row, sums) in rows.iter().zip(sums) {
            let axes: Vec<Expr> = row
                .iter()
                .cloned()
                .chain([Expr::int(0)])
                .chain(outer.iter().cloned())
                .chain([k.clone()])
                .collect();
            let group = load(ACTIVATIONS, self.contraction.activations.at(&axes), self.group, valid);
            let mut groups = self.splat(bits(DType::I32, group));
            if self.raised {
                let high_bits = Expr::constant(DType::I32, f64::from(0x8080_8080_u32 as i32));
                groups = Expr::binary(Binary::Xor, groups, self.splat(high_bits));
            }
            let activations = ids.declare(&mut body, a, bits(a.dtype, groups));
            for (&sum, &weights) in sums.iter().zip(&weights) {
                let args = vec![Expr::Reg(sum), Expr::Reg(activations), Expr::Reg(weights)];
                body.push(Stmt::Set { reg: sum, value: call(self.instruction, args) });
            }
        }
        body
    }

    fn splat(&self, value: Expr) -> Expr {
        let Type { lanes, .. } = self.instruction.result;
        Expr::Broadcast { value: Box::new(value), lanes }
    }
}
