//! Which axes are rows, and how many of them make a block.

use std::collections::BTreeMap;

use loops::{Definition, Expr, Source, Stage};
use targets::Target;

use super::{has, kept, reads, reads_of, slots};
use crate::{Block, Destination};

/// Bytes of a block where the target names no cache: little RAM, and no loops over a handful of rows.
const SMALL: usize = 16384;

/// Rows of a block whose stages read the same for all of them, at least: what is loaded once serves so many.
const SHARED_ROWS: usize = 16;

/// The axes along which every stage reads an earlier one at its own place alone, so that each row can be computed on
/// its own. Axes of one element do not count.
pub fn row_axes(definition: &Definition) -> Vec<usize> {
    let Some(last) = definition.stages.last() else { return vec![] };
    let rank = definition.stages.iter().map(|stage| stage.domain.len()).min().unwrap_or(0);
    let is_row = |axis: usize| {
        let extent = last.domain[axis];
        definition.stages.iter().all(|stage| {
            let own = |source: &Source, index: &[Expr]| match source {
                Source::Stage(k) if has(&definition.stages[*k], axis) => {
                    has(stage, axis) && index[axis] == Expr::Axis(axis)
                }
                _ => true,
            };
            matches!(stage.domain[axis], e if e == extent || e == 1)
                && reads(stage).iter().all(|(source, index)| own(source, index))
        })
    };
    (0..rank).filter(|&axis| has(last, axis) && is_row(axis)).collect()
}

/// The blocks that keep what one of them touches near: one row at a time along the axes along which least is shared,
/// several along the next; axes that need no cutting have none. `None` where even a block's scratch would be large: the
/// stages are better off as kernels of their own.
pub fn default_blocks(definition: &Definition, result: &Destination, target: &Target) -> Option<Vec<Block>> {
    let last = definition.stages.last()?;
    let regions = regions(definition);
    let mut axes = row_axes(definition);
    axes.sort_by_key(|axis| regions.iter().filter(|region| !region.rows.contains(axis)).count());
    let budget = target.caches.first().map_or(SMALL, |cache| cache.bytes);
    let mut blocks: Vec<Block> = Vec::new();
    for axis in axes {
        let (moving, still): (Vec<&Region>, Vec<&Region>) =
            regions.iter().partition(|region| region.rows.contains(&axis));
        let bytes =
            |regions: &[&Region]| regions.iter().map(|region| region.bytes(last, &blocks)).sum::<usize>();
        let (moving, still) = (bytes(&moving), bytes(&still));
        if moving + still <= budget {
            break;
        }
        let extent = last.domain[axis];
        let left = budget.saturating_sub(still).max(budget / 2);
        let fitting = left * extent / moving.max(1);
        let step = match least(definition, axis, result, target) {
            (_, unit) if unit > 1 => (fitting / unit * unit).max(unit),
            (least, _) => dividing(extent, fitting.max(least)),
        };
        if step >= extent {
            break;
        }
        blocks.push(Block { axis, step });
        if step > 1 {
            break;
        }
    }
    let scratch = |blocks: &[Block]| -> usize {
        let bytes = |stage: &Stage| kept(stage, blocks).iter().product::<usize>() * stage.dtype.bytes();
        own_memory(definition).map(bytes).sum()
    };
    let (held, whole) = (scratch(&blocks), scratch(&[]));
    (held <= 4 * budget || held <= whole / 4).then_some(blocks)
}

/// The stages but the last whose scratch is nobody else's before.
fn own_memory(definition: &Definition) -> impl Iterator<Item = &Stage> {
    let slots = slots(definition).into_iter().enumerate();
    slots.filter(|(k, slot)| k == slot).map(|(k, _)| &definition.stages[k])
}

/// The fewest rows that are worth a block, and what their number must be a multiple of: of the axis that vectors run
/// along a few vectors, of others enough to use again what all of them share.
fn least(definition: &Definition, axis: usize, result: &Destination, target: &Target) -> (usize, usize) {
    let lanes = (target.vector.bits as usize / 32).max(1);
    if result.view.strides[axis] == 1 {
        return (1, 4 * lanes);
    }
    let shared = definition.stages.iter().any(|stage| {
        let still = |(_, index): &(&Source, &[Expr])| !mentions(index, axis);
        has(stage, axis) && stage.fold.is_some() && reads_of(&stage.body).iter().any(still)
    });
    (if shared { SHARED_ROWS } else { 1 }, 1)
}

/// The largest divisor of `extent` up to `most` if it is no less than half of that, `most` else.
fn dividing(extent: usize, most: usize) -> usize {
    let most = most.clamp(1, extent);
    (most.div_ceil(2)..=most).rev().find(|step| extent.is_multiple_of(*step)).unwrap_or(most)
}

/// What a source or a stage takes of memory.
struct Region {
    /// Of one row.
    bytes: usize,
    /// The row axes that it moves along.
    rows: Vec<usize>,
}

impl Region {
    /// Within one block.
    fn bytes(&self, last: &Stage, blocks: &[Block]) -> usize {
        let step = |axis: &usize| {
            blocks.iter().find(|block| block.axis == *axis).map_or(last.domain[*axis], |block| block.step)
        };
        self.bytes * self.rows.iter().map(step).product::<usize>()
    }
}

/// All that the stages touch: each operand and table by its widest read, and the stages themselves.
fn regions(definition: &Definition) -> Vec<Region> {
    let axes = row_axes(definition);
    let mut read: BTreeMap<Source, (usize, Region)> = BTreeMap::new();
    for stage in &definition.stages {
        for (source, index) in reads(stage) {
            if matches!(source, Source::Stage(_)) {
                continue;
            }
            let extents: Vec<usize> = stage.domain.iter().chain(&stage.reduction).copied().collect();
            let used = (0..extents.len()).filter(|&axis| mentions(index, axis));
            let (rows, others): (Vec<usize>, Vec<usize>) = used.partition(|axis| axes.contains(axis));
            // Elements of operands are taken to be as wide as the stage's.
            let bytes = others.iter().map(|&axis| extents[axis]).product::<usize>() * stage.dtype.bytes();
            let whole = bytes * rows.iter().map(|&axis| extents[axis]).product::<usize>();
            if read.get(source).is_none_or(|(known, _)| *known < whole) {
                read.insert(*source, (whole, Region { bytes, rows }));
            }
        }
    }
    let stages = own_memory(definition).chain(definition.stages.last()).map(|stage| {
        let rows: Vec<usize> = axes.iter().copied().filter(|&axis| has(stage, axis)).collect();
        let others = (0..stage.domain.len()).filter(|axis| !rows.contains(axis));
        let bytes = others.map(|axis| stage.domain[axis]).product::<usize>() * stage.dtype.bytes();
        Region { bytes, rows }
    });
    read.into_values().map(|(_, region)| region).chain(stages).collect()
}

fn mentions(index: &[Expr], axis: usize) -> bool {
    index.iter().any(|index| index.any(&mut |node| *node == Expr::Axis(axis)))
}
