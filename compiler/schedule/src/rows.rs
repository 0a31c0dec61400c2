//! All stages of a definition in one nest, a block of rows at a time: of what lies between two stages only one block
//! exists.
//!
//! Each stage is lowered as usual, for the rows of one block of its domain; where the block starts is a loop variable
//! around it. A stage that is the same for all rows of a loop stands before that loop.

mod blocks;

use loops::{Compare, Definition, Expr, Source, Stage, Stmt};
use targets::Target;

pub use blocks::{default_blocks, row_axes};

use crate::choose::WORTH_THREADS;
use crate::join::Joined;
use crate::math::Unsupported;
use crate::workload::Around;
use crate::{Argument, Block, Destination, Kernel, Operand, Records, View, Workload, lower_part};

/// Loops for all stages of `definition`, whose last one is its only result, around them the `blocks`, outermost first.
///
/// `None` where that is no such definition: it has several results, or a block is none of rows ([`row_axes`]).
/// `operands` are the definition's, without its stages; `result` is where the last stage goes. Each stage is arranged as
/// `records` say, or else by default.
pub fn lower_rows(
    name: &str,
    definition: &Definition,
    blocks: &[Block],
    operands: &[Operand],
    result: &Destination,
    target: &Target,
    records: &Records,
) -> Result<Option<Kernel>, Unsupported> {
    let last = definition.stages.len() - 1;
    let axes = row_axes(definition);
    if definition.results != [last] || !blocks.iter().all(|block| axes.contains(&block.axis)) {
        return Ok(None);
    }
    let places = slots(definition).into_iter().map(Argument::Scratch).chain([Argument::Result]);
    let joined = Joined::new(places.collect());
    let mut rows = Rows { name, definition, blocks, operands, result, target, records, joined };
    let body = rows.level(&mut Vec::new())?;
    let estimate = crate::estimate_rows(definition, operands, result, target);
    let kernel = rows.joined.into_kernel(name, body, estimate);
    let in_place = kernel.arguments.iter().map(|argument| match argument {
        Argument::Source(source) => operands
            .iter()
            .any(|operand| operand.source == *source && in_place(definition, blocks, operand, result)),
        _ => false,
    });
    Ok(Some(Kernel { in_place: in_place.collect(), blocks: blocks.to_vec(), ..kernel }))
}

/// A block that has been entered.
#[derive(Clone)]
struct Entered {
    axis: usize,
    /// Its first row.
    start: Expr,
    rows: usize,
}

struct Rows<'a> {
    name: &'a str,
    definition: &'a Definition,
    blocks: &'a [Block],
    operands: &'a [Operand],
    result: &'a Destination,
    target: &'a Target,
    records: &'a Records,
    joined: Joined,
}

/// Whether the stage differs from row to row along `axis`.
fn has(stage: &Stage, axis: usize) -> bool {
    stage.domain[axis] > 1
}

impl Rows<'_> {
    /// The stages that depend on the entered blocks and on no further one, then the next block's loop.
    fn level(&mut self, entered: &mut Vec<Entered>) -> Result<Vec<Stmt>, Unsupported> {
        let mut body = Vec::new();
        for stage in 0..self.definition.stages.len() {
            if self.depth(stage) == entered.len() {
                body.extend(self.stage(stage, entered)?);
            }
        }
        let Some(&Block { axis, step }) = self.blocks.get(entered.len()) else { return Ok(body) };
        let extent = self.extent(axis);
        let whole = extent / step * step;
        let outermost = entered.is_empty() && body.is_empty();
        if outermost && self.worth_threads() && extent.div_ceil(step) > 1 {
            return self.shared_out(axis, step);
        }
        if whole > 0 {
            let var = self.joined.variable();
            entered.push(Entered { axis, start: Expr::Loop(var), rows: step });
            let inner = self.level(entered)?;
            entered.pop();
            let (from, to) = (Expr::int(0), Expr::int(whole as i64));
            body.push(Stmt::For { var, from, to, step: step as i64, parallel: false, body: inner });
        }
        if whole < extent {
            entered.push(Entered { axis, start: Expr::int(whole as i64), rows: extent - whole });
            body.extend(self.level(entered)?);
            entered.pop();
        }
        Ok(body)
    }

    fn worth_threads(&self) -> bool {
        let estimate = || crate::estimate_rows(self.definition, self.operands, self.result, self.target);
        self.target.threads > 1 && estimate().cycles(self.target) >= WORTH_THREADS
    }

    /// The blocks of the outermost loop on several threads.
    fn shared_out(&mut self, axis: usize, step: usize) -> Result<Vec<Stmt>, Unsupported> {
        let extent = self.extent(axis);
        let (count, whole) = (extent.div_ceil(step), extent / step);
        let mut joined = std::mem::replace(&mut self.joined, Joined::new(vec![]));
        let body = joined.blocks(count, self.target.threads, |joined, number| {
            std::mem::swap(&mut self.joined, joined);
            let start = number.clone() * Expr::int(step as i64);
            let mut body = self.level(&mut vec![Entered { axis, start, rows: step }])?;
            if whole < count {
                let start = whole * step;
                let rest = Entered { axis, start: Expr::int(start as i64), rows: extent - start };
                let then = self.level(&mut vec![rest])?;
                let condition = Expr::compare(Compare::Eq, number, Expr::int(whole as i64));
                body = vec![Stmt::If { condition, then, otherwise: body }];
            }
            std::mem::swap(&mut self.joined, joined);
            Ok(body)
        })?;
        self.joined = joined;
        Ok(body)
    }

    fn extent(&self, axis: usize) -> usize {
        self.definition.stages[self.definition.stages.len() - 1].domain[axis]
    }

    /// The number of blocks that a stage stands in.
    fn depth(&self, stage: usize) -> usize {
        let stage = &self.definition.stages[stage];
        self.blocks.iter().rposition(|block| has(stage, block.axis)).map_or(0, |inner| inner + 1)
    }

    /// The shape that a stage is kept in: one block, or all of the result.
    fn kept(&self, stage: usize) -> Vec<usize> {
        kept(&self.definition.stages[stage], self.blocks)
    }

    fn stage(&mut self, number: usize, entered: &[Entered]) -> Result<Vec<Stmt>, Unsupported> {
        let mut operands = self.operands.to_vec();
        for (k, earlier) in self.definition.stages[..number].iter().enumerate() {
            let shape = self.kept(k);
            operands.push(Operand {
                source: Source::Stage(k),
                dtype: earlier.dtype,
                len: shape.iter().product(),
                view: View::contiguous(&shape),
                constant: false,
            });
        }
        let last = number + 1 == self.definition.stages.len();
        let shape = self.kept(number);
        let scratch = Destination { len: shape.iter().product(), view: View::contiguous(&shape) };
        let result = if last { self.result } else { &scratch };
        let around = |block: &Entered| {
            let extent = self.extent(block.axis) / block.rows * block.rows;
            Around {
                axis: block.axis,
                extent,
                step: block.rows,
                kept: if last { extent } else { block.rows },
            }
        };
        let part = Workload {
            name: format!("{}.{}", self.name, number + 1),
            stage: self.one_block(number, entered),
            operands,
            result: result.clone(),
            around: Some(entered.iter().map(around).collect()),
        };
        let starts: Vec<Expr> = entered.iter().map(|block| block.start.clone()).collect();
        let (outer, place) = part.block_at(&starts);
        let flat = part.flat();
        let kernel = lower_part(part, &flat, self.target, self.records)?;
        Ok(self.joined.add(number, kernel, &outer, &place))
    }

    /// The stage with the rows of one block, which earlier stages hold from their first row on.
    fn one_block(&self, number: usize, entered: &[Entered]) -> Stage {
        let mut one = self.definition.stages[number].clone();
        let moving: Vec<&Entered> = entered.iter().filter(|block| has(&one, block.axis)).collect();
        let place = |expr: &Expr| {
            expr.rewrite(&mut |node| match node {
                Expr::Axis(axis) if moving.iter().any(|block| block.axis == *axis) => {
                    Some(Expr::Loop(Around::placeholder(*axis)) + Expr::Axis(*axis))
                }
                Expr::Read { source: Source::Stage(k), index } => {
                    let mut index = index.clone();
                    for block in entered {
                        let moves = has(&self.definition.stages[*k], block.axis);
                        index[block.axis] = if moves { Expr::Axis(block.axis) } else { Expr::int(0) };
                    }
                    Some(Expr::Read { source: Source::Stage(*k), index })
                }
                _ => None,
            })
        };
        let (body, finish) = (place(&one.body), one.finish.as_ref().map(place));
        for block in moving {
            one.domain[block.axis] = block.rows;
        }
        Stage { body, finish, ..one }
    }
}

/// The shape of a stage within one block.
fn kept(stage: &Stage, blocks: &[Block]) -> Vec<usize> {
    let mut shape = stage.domain.clone();
    for block in blocks.iter().filter(|block| has(stage, block.axis)) {
        shape[block.axis] = block.step;
    }
    shape
}

/// For all stages but the last the number of its scratch. A stage that reads an earlier one at its own place alone, and
/// as the last one to do so, writes over it.
fn slots(definition: &Definition) -> Vec<usize> {
    let stages = &definition.stages;
    let last = stages.len() - 1;
    let reads_stage = |stage: &Stage, k: usize, elsewhere: bool| {
        reads(stage).iter().any(|(source, index)| {
            **source == Source::Stage(k)
                && (!elsewhere || stage.fold.is_some() || !at_own_place(stage, index))
        })
    };
    let mut slots: Vec<usize> = Vec::new();
    for (number, stage) in stages[..last].iter().enumerate() {
        let written_over = (0..number).find(|&k| {
            stages[k].ty() == stage.ty()
                && reads_stage(stage, k, false)
                && !reads_stage(stage, k, true)
                && !stages[number + 1..].iter().any(|later| reads_stage(later, k, false))
        });
        slots.push(written_over.map_or(number, |k| slots[k]));
    }
    slots
}

/// Whether `index` is the place in the domain that the stage is at.
fn at_own_place(stage: &Stage, index: &[Expr]) -> bool {
    (0..stage.domain.len()).all(|axis| !has(stage, axis) || index.get(axis) == Some(&Expr::Axis(axis)))
}

/// Whether the result may take the operand's memory: they lie alike, the last stage reads each element right before it
/// writes the same place, and all others read rows of their own block, which nothing has been written to yet.
fn in_place(definition: &Definition, blocks: &[Block], operand: &Operand, result: &Destination) -> bool {
    if operand.view != result.view || operand.len != result.len {
        return false;
    }
    let last = definition.stages.len() - 1;
    definition.stages.iter().enumerate().all(|(k, stage)| {
        let own_rows = |index: &[Expr]| {
            blocks.iter().all(|block| index.get(block.axis) == Some(&Expr::Axis(block.axis)))
        };
        let fits = |expr: &Expr, folded: bool| {
            !expr.any(&mut |node| match node {
                Expr::Read { source, index } if *source == operand.source => match k == last {
                    true => folded || !at_own_place(stage, index),
                    false => !own_rows(index),
                },
                _ => false,
            })
        };
        fits(&stage.body, stage.fold.is_some())
            && stage.finish.as_ref().is_none_or(|finish| fits(finish, false))
    })
}

/// All that a stage reads, with the index.
fn reads(stage: &Stage) -> Vec<(&Source, &[Expr])> {
    [Some(&stage.body), stage.finish.as_ref()].into_iter().flatten().flat_map(reads_of).collect()
}

fn reads_of(expr: &Expr) -> Vec<(&Source, &[Expr])> {
    match expr {
        Expr::Read { source, index } => {
            vec![(source, index.as_slice())].into_iter().chain(index.iter().flat_map(reads_of)).collect()
        }
        other => other.children().into_iter().flat_map(reads_of).collect(),
    }
}
