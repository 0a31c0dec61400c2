//! Convolutions of 3×3 taps by Winograd's algorithm: a form of a kernel with fewer products and other roundings.
//!
//! The map is computed in tiles of `m × m` outputs. Of each tile `(m + 2)²` sums of inputs are multiplied, channel by
//! channel, with as many sums of the weights, which are known beforehand; sums of the products are the outputs. Blocks
//! of whole rows of tiles pass through five stages, of whose results only one block exists:
//!
//! | stage | elements | what it is |
//! |---|---|---|
//! | padded | rows × columns × channels | the block's part of the input, zeros around it |
//! | columns | tile row × point × column × channels | sums along the columns |
//! | input | point × point × tile × channels | sums along the rows of those |
//! | products | point × point × tile × outputs | a matrix product for each pair of points |
//! | rows | point × tile × output × outputs | sums along the rows |
//!
//! Sums along the columns of the last are the result. Rounding: docs/numerics.md.

mod lower;
mod recognize;
mod transform;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use targets::Target;

use crate::choose;
use crate::estimate::{Estimate, Modelled, travel};
use crate::flat::Flat;
pub(crate) use lower::lower;
use recognize::Convolution;
use transform::Transforms;

/// How a convolution goes through tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Winograd {
    /// Outputs of a tile along each side: 2, 4 or 6.
    pub outputs: usize,
    /// Rows of tiles in a block.
    pub rows: usize,
}

/// Sides of tiles that are chosen without being asked for. Of 6×6 the roundings are several times those of 4×4
/// (docs/numerics.md).
const USUAL: [usize; 2] = [2, 4];

/// Sides of tiles that a schedule may have.
const ALL: [usize; 3] = [2, 4, 6];

/// The form with the fewest modelled cycles, and those; `None` where no tiles of this kind can make the stage.
pub(crate) fn cheapest(flat: &Flat, target: &Target) -> Option<(Winograd, Estimate)> {
    let convolution = convolution(flat, target)?;
    let forms = forms_of(&convolution, &USUAL).into_iter();
    let priced = forms.filter_map(|form| Some((form, estimate(&convolution, form, target)?)));
    priced.min_by(|(_, a), (_, b)| a.cycles(target).total_cmp(&b.cycles(target)))
}

/// The forms that are worth a try; none where no tiles of this kind can make the stage.
pub(crate) fn usual_forms(flat: &Flat, target: &Target) -> Vec<Winograd> {
    convolution(flat, target).map_or(vec![], |convolution| forms_of(&convolution, &USUAL))
}

/// All forms that make the stage.
pub(crate) fn all_forms(flat: &Flat, target: &Target) -> Vec<Winograd> {
    convolution(flat, target).map_or(vec![], |convolution| forms_of(&convolution, &ALL))
}

fn convolution<'a>(flat: &'a Flat, target: &Target) -> Option<Convolution<'a>> {
    // Several times the weights of the direct form: only for machines with memory to spare.
    Convolution::of(flat).filter(|_| target.winograd && target.caches.len() >= 2)
}

fn forms_of(convolution: &Convolution, sides: &[usize]) -> Vec<Winograd> {
    let of_side = |&outputs: &usize| {
        let rows = convolution.height().div_ceil(outputs);
        // The same number of blocks as some number of rows gives, evenly.
        let mut heights: Vec<usize> = (1..=rows).map(|blocks| rows.div_ceil(blocks)).collect();
        heights.dedup();
        heights.into_iter().map(move |rows| Winograd { outputs, rows })
    };
    sides.iter().flat_map(of_side).collect()
}

/// What tiles of this form take.
pub(crate) fn of(flat: &Flat, form: Winograd, target: &Target) -> Option<Estimate> {
    estimate(&Convolution::of(flat)?, form, target)
}

/// The machine as the stages of a block find it: with its threads where one block is the whole map, with one of them else.
fn of_stages<'t>(convolution: &Convolution, form: Winograd, target: &'t Target) -> Cow<'t, Target> {
    if blocks(convolution, form) == 1 { Cow::Borrowed(target) } else { target.on_one_thread() }
}

/// Blocks of the map.
fn blocks(convolution: &Convolution, form: Winograd) -> usize {
    convolution.height().div_ceil(form.outputs).div_ceil(form.rows)
}

/// Extents of a block of tiles.
#[derive(Debug, Clone, Copy)]
struct Block {
    /// Rows of tiles, and tiles in each.
    rows: usize,
    across: usize,
    outputs: usize,
    points: usize,
    inputs: usize,
    channels: usize,
}

impl Block {
    fn of(convolution: &Convolution, form: Winograd) -> Option<Block> {
        let points = Transforms::of(form.outputs)?.points();
        Some(Block {
            rows: form.rows,
            across: convolution.width().div_ceil(form.outputs),
            outputs: form.outputs,
            points,
            inputs: convolution.inputs(),
            channels: convolution.channels(),
        })
    }

    fn tiles(self) -> usize {
        self.rows * self.across
    }

    /// Columns of the padded input, and rows of it.
    fn padded(self) -> (usize, usize) {
        let reach = self.points - self.outputs;
        (self.across * self.outputs + reach, self.rows * self.outputs + reach)
    }

    /// Elements of the stages, in their order.
    fn stages(self) -> [usize; 5] {
        let (columns, rows) = self.padded();
        let squared = self.points * self.points;
        [
            rows * columns * self.inputs,
            self.rows * self.points * columns * self.inputs,
            squared * self.tiles() * self.inputs,
            squared * self.tiles() * self.channels,
            self.points * self.tiles() * self.outputs * self.channels,
        ]
    }
}

/// Sums for one vector of a transform's result, about: half of the terms are shared.
const OPERATIONS: f64 = 3.0;

fn estimate(convolution: &Convolution, form: Winograd, target: &Target) -> Option<Estimate> {
    let block = Block::of(convolution, form)?;
    let tile_rows = convolution.height().div_ceil(form.outputs);
    let stages = block.stages();
    let flat = lower::product(convolution, block);
    let schedule = choose::default_schedule(&flat, &of_stages(convolution, form, target));
    let compute = Modelled::new(&flat, &schedule, target).compute() + transforms(block, target);
    let bytes = |elements: usize| elements * 4;
    // Each stage is written and read again.
    let between: f64 = stages.iter().map(|&elements| 2.0 * travel(bytes(elements), false, target)).sum();
    let weights = bytes(block.points * block.points * block.inputs * block.channels);
    let outermost = target.caches.len().checked_sub(2).and_then(|level| target.caches.get(level));
    let readings = match outermost {
        Some(cache) if weights <= cache.bytes / 2 => 1,
        _ => blocks(convolution, form),
    };
    let result = convolution.height() * convolution.width();
    let ends = travel(bytes(result * block.inputs), false, target)
        + travel(bytes(result * block.channels), false, target);
    let height_in_blocks = tile_rows as f64 / form.rows as f64;
    // Threads share out blocks, of which some may have one more than others, or the stages of a single one.
    let count = blocks(convolution, form);
    let threads = if count == 1 { 1 } else { target.threads.max(1) };
    let uneven = (count.div_ceil(threads) * threads) as f64 / count as f64;
    Some(Estimate {
        compute: uneven * height_in_blocks * compute,
        memory: height_in_blocks * between + readings as f64 * travel(weights, true, target) + ends,
        start: target.costs.start,
    })
}

/// Cycles of a block's stages but the products.
fn transforms(block: Block, target: &Target) -> f64 {
    let lanes = (target.vector.bits as usize / 32).max(1);
    let costs = &target.costs;
    // Vectors that are read and written in one step, and how many steps there are for so many elements.
    let steps = |read: usize, written: usize, elements: usize| {
        let (read, written) = (read as f64, written as f64);
        let operations = if read > 1.0 { OPERATIONS * written } else { 0.0 };
        let busy = (operations / costs.vector).max(read / costs.loads).max(written);
        busy.max((operations + read + written) / costs.issue) * elements.div_ceil(lanes) as f64
    };
    let (points, outputs) = (block.points, block.outputs);
    let [padded, ..] = block.stages();
    let row = block.padded().0 * block.inputs;
    steps(1, 1, padded)
        + steps(points, points, block.rows * row)
        + steps(points, points, points * block.tiles() * block.inputs)
        + steps(points, outputs, points * block.tiles() * block.channels)
        + steps(points, outputs, outputs * block.tiles() * block.channels)
}
