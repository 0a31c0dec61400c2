//! Dot products of pairs of halfwords. Bytes are widened two at a time, even and odd ones apart: a row's activations
//! once, into a scratch buffer, the weights each time they are read, in the order of the scratch.

use super::{
    BufferId, Contraction, Expr, Ids, Stmt, Unfit, bits, call, folded, load, packed, place, read_only, result,
};
use crate::{Argument, Arranged};
use ir::DType;
use loops::{Access, Buffer, Nest, Reg, Source, Stage, Type};
use targets::Target;
use targets::instructions::{INSTRUCTIONS, Instruction, Meaning};

const ACTIVATIONS: BufferId = BufferId(0);
const WEIGHTS: BufferId = BufferId(1);
const RESULT: BufferId = BufferId(2);
const WIDENED: BufferId = BufferId(3);

/// Rows and columns of the register tile: four sums, two words of weights, four pairs of activations and two
/// addresses are what thirteen registers hold.
const ROWS: usize = 2;
const COLUMNS: usize = 2;
/// Bytes that are widened at a time, to as many pairs as there are widening instructions.
const GROUP: usize = 4;
/// Groups per iteration of the inner loop.
const UNROLL: usize = 4;

struct Pairs<'a> {
    contraction: &'a Contraction,
    dot: &'a Instruction,
    /// The even bytes and the odd bytes of a word.
    widen: [&'a Instruction; 2],
}

pub(super) fn nest(
    name: &str,
    contraction: &Contraction,
    dot: &Instruction,
    target: &Target,
) -> Result<Arranged, Unfit> {
    for operand in [&contraction.activations, &contraction.weights] {
        if operand.dtype != DType::I8 {
            return Err(Unfit(format!("{} takes i8, widened, not {}", dot.name, operand.dtype)));
        }
    }
    let widening = |offset: usize| {
        let found = INSTRUCTIONS.iter().find(|instruction| {
            instruction.meaning == Meaning::Widen { stride: 2, offset }
                && instruction.arguments == [Type::vector(DType::I8, GROUP)]
                && instruction.result == dot.arguments[1]
                && target.instructions.iter().any(|name| name == instruction.name)
        });
        found.ok_or_else(|| Unfit(format!("target {} does not widen what {} takes", target.name, dot.name)))
    };
    let pairs = Pairs { contraction, dot, widen: [widening(0)?, widening(1)?] };
    let buffers = vec![
        read_only("x", DType::I8, contraction.activations.len),
        read_only("w", DType::I8, pairs.weights().ty().elements()),
        result(contraction),
        Buffer {
            name: "widened".to_string(),
            dtype: DType::I32,
            len: pairs.groups() * ROWS * 2,
            access: Access::Scratch,
        },
    ];
    let arguments = vec![
        Argument::Source(Source::Operand(0)),
        packed(pairs.weights()),
        Argument::Result,
        Argument::Scratch(0),
    ];
    Ok(Arranged { nest: Nest { name: name.to_string(), buffers, body: pairs.body() }, arguments })
}

impl Pairs<'_> {
    /// Groups along the last reduction axis.
    fn depth_groups(&self) -> usize {
        self.contraction.depth.div_ceil(GROUP)
    }

    /// Groups of the whole reduction.
    fn groups(&self) -> usize {
        self.contraction.outer_steps() * self.depth_groups()
    }

    /// `[block of columns, outer reduction, group, column in the block, k in the group]`.
    fn weights(&self) -> Stage {
        let blocks = self.contraction.columns.div_ceil(COLUMNS);
        let domain = [blocks, self.contraction.outer_steps(), self.depth_groups(), COLUMNS, GROUP];
        let column = Expr::Axis(0) * Expr::int(COLUMNS as i64) + Expr::Axis(3);
        let k = Expr::Axis(2) * Expr::int(GROUP as i64) + Expr::Axis(4);
        Stage::map(DType::I8, domain, self.contraction.weight(&column, &Expr::Axis(1), &k))
    }

    fn body(&self) -> Vec<Stmt> {
        Ids::default().row_tiles(&self.contraction.rows, ROWS, &mut |ids, rows| {
            let mut body = self.widen_rows(ids, rows);
            body.extend(ids.tiles(self.contraction.columns, COLUMNS, &mut |ids, column, columns| {
                self.tile(ids, rows, &column, columns)
            }));
            body
        })
    }

    /// Fills the scratch: `[group, even or odd pair, row]`; missing bytes are zero.
    fn widen_rows(&self, ids: &mut Ids, rows: &[Vec<Expr>]) -> Vec<Stmt> {
        ids.over(&self.contraction.outer, &[], &mut |ids, outer| {
            ids.tiles(self.contraction.depth, GROUP, &mut |ids, k, valid| {
                let first = outer
                    .iter()
                    .zip(&self.contraction.outer)
                    .fold(Expr::int(0), |sum, (axis, &extent)| sum * Expr::int(extent as i64) + axis.clone());
                let position = first * Expr::int((self.depth_groups() * GROUP) as i64) + k.clone();
                let mut body = Vec::new();
                for (r, row) in rows.iter().enumerate() {
                    let axes = row.iter().cloned().chain([Expr::int(0)]);
                    let axes: Vec<Expr> = axes.chain(outer.iter().cloned()).chain([k.clone()]).collect();
                    let word = load(ACTIVATIONS, self.contraction.activations.at(&axes), GROUP, valid);
                    let word = ids.declare(&mut body, Type::vector(DType::I8, GROUP), word);
                    for (half, widen) in self.widen.iter().enumerate() {
                        let value = bits(DType::I32, call(widen, vec![Expr::Reg(word)]));
                        let index = self.widened(&position, r, half);
                        body.push(Stmt::Store { buffer: WIDENED, index, value, valid: 1 });
                    }
                }
                body
            })
        })
    }

    /// The scratch's place of a pair; `k` is `GROUP` times the group, and a group takes as many places.
    fn widened(&self, k: &Expr, row: usize, half: usize) -> Expr {
        folded(k.clone() + Expr::int((half * ROWS + row) as i64))
    }

    fn tile(&self, ids: &mut Ids, rows: &[Vec<Expr>], column: &Expr, columns: usize) -> Vec<Stmt> {
        let mut body = Vec::new();
        let zero = || Expr::constant(DType::I32, 0.0);
        let sums: Vec<Vec<Reg>> = rows
            .iter()
            .map(|_| (0..columns).map(|_| ids.declare(&mut body, Type::scalar(DType::I32), zero())).collect())
            .collect();
        let depth = self.groups() * GROUP;
        body.extend(ids.tiles(depth, GROUP * UNROLL, &mut |ids, k, extent| {
            let groups = (0..extent).step_by(GROUP);
            groups
                .flat_map(|g| self.group(ids, &sums, column, &folded(k.clone() + Expr::int(g as i64))))
                .collect()
        }));
        for (row, sums) in rows.iter().zip(&sums) {
            for (c, &sum) in sums.iter().enumerate() {
                let index = place(self.contraction, row, column.clone() + Expr::int(c as i64));
                body.push(Stmt::Store { buffer: RESULT, index, value: Expr::Reg(sum), valid: 1 });
            }
        }
        body
    }

    /// One group of the whole reduction, from its element `k` on, in all sums.
    fn group(&self, ids: &mut Ids, sums: &[Vec<Reg>], column: &Expr, k: &Expr) -> Vec<Stmt> {
        let pair = self.dot.arguments[1];
        let depth = Expr::int((self.groups() * GROUP) as i64);
        let mut body = Vec::new();
        let words: Vec<Reg> = (0..sums[0].len())
            .map(|c| {
                let index = column.clone() * depth.clone() + k.clone() * Expr::int(COLUMNS as i64);
                let word = load(WEIGHTS, index + Expr::int((c * GROUP) as i64), GROUP, GROUP);
                ids.declare(&mut body, Type::vector(DType::I8, GROUP), word)
            })
            .collect();
        // One half after the other: no more than one pair of each row is held at a time.
        for (half, widen) in self.widen.iter().enumerate() {
            let activations: Vec<Reg> = (0..sums.len())
                .map(|row| {
                    let pairs = load(WIDENED, self.widened(k, row, half), 1, 1);
                    ids.declare(&mut body, pair, bits(pair.dtype, pairs))
                })
                .collect();
            for (c, &word) in words.iter().enumerate() {
                let weights = ids.declare(&mut body, pair, call(widen, vec![Expr::Reg(word)]));
                for (sums, &activations) in sums.iter().zip(&activations) {
                    let args = vec![Expr::Reg(sums[c]), Expr::Reg(activations), Expr::Reg(weights)];
                    body.push(Stmt::Set { reg: sums[c], value: call(self.dot, args) });
                }
            }
        }
        body
    }
}
