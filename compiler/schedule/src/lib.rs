//! From what a kernel computes to how: a [`loops::Definition`]'s stage and a target give a nest of loops.
//!
//! A schedule is data ([`Schedule`]); [`default_schedule`] finds a good one from the target's description alone.
//! This room knows no operator.

mod choose;
mod dot;
mod emit;
mod estimate;
mod flat;
mod join;
mod line_buffer;
pub mod math;
mod pack;
mod range;
mod rows;
mod tensorize;
mod winograd;

pub use estimate::{Estimate, estimate, estimate_rows};
pub use line_buffer::line_buffer;
pub use rows::{default_blocks, lower_rows, row_axes};
pub use tensorize::{Unfit, tensorize};
pub use winograd::Winograd;

use ir::DType;
use loops::{Definition, Nest, Source, Stage};
use serde::{Deserialize, Serialize};
use targets::Target;

/// Where a tensor's elements lie in its buffer: element `[i, j, ...]` at `offset + i · strides[0] + j · strides[1] ...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// In elements, as are the strides.
    pub offset: i64,
    pub strides: Vec<i64>,
}

impl View {
    /// Row-major and dense.
    pub fn contiguous(shape: &[usize]) -> View {
        let strides = ir::TensorType::new(DType::U8, shape).strides();
        View { offset: 0, strides: strides.into_iter().map(|s| s as i64).collect() }
    }
}

/// What a stage reads from: an operand, an earlier stage's result or a table.
#[derive(Debug, Clone)]
pub struct Operand {
    pub source: Source,
    pub dtype: DType,
    pub view: View,
    /// Elements of the buffer behind the view.
    pub len: usize,
    /// Known at compile time and dense: it may be read in another order than it is stored in.
    pub constant: bool,
}

/// Where a stage's result goes.
#[derive(Debug, Clone)]
pub struct Destination {
    pub view: View,
    pub len: usize,
}

/// A kernel as loops, and what its buffers stand for.
#[derive(Debug, Clone)]
pub struct Kernel {
    pub nest: Nest,
    /// One per buffer of the nest, in order.
    pub arguments: Vec<Argument>,
    /// Per buffer of the nest: each element of it is read only right before the same place of the result is written,
    /// so that the result may take its memory.
    pub in_place: Vec<bool>,
    /// The loops around all stages, outermost first.
    pub blocks: Vec<Block>,
    /// How each stage is arranged.
    pub stages: Vec<Schedule>,
    pub estimate: Estimate,
}

impl Kernel {
    /// The place of the result among the arguments.
    pub fn result_argument(&self) -> Option<usize> {
        self.arguments.iter().position(|argument| matches!(argument, Argument::Result))
    }

    /// How many stages run on vectors.
    pub fn vectorized(&self) -> usize {
        self.stages.iter().filter(|stage| stage.lanes > 1).count()
    }

    /// Makes the result take the memory of an argument that `in_place` allows.
    pub fn unite(&mut self, argument: usize) {
        if let Some(result) = self.result_argument() {
            emit::unite(self, argument, result);
        }
    }
}

/// A kernel as loops in a form that was asked for, without a schedule.
#[derive(Debug, Clone)]
pub struct Arranged {
    pub nest: Nest,
    /// One per buffer of the nest, in order.
    pub arguments: Vec<Argument>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    Source(Source),
    /// A constant source in another order: `packing` reads it as `Operand(0)`, flattened to one axis.
    Packed {
        source: Source,
        packing: Definition,
    },
    Result,
    /// Memory that the kernel needs while it runs, by number.
    Scratch(usize),
}

/// A loop around all stages of a definition: along an axis that they share, `step` rows at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    pub axis: usize,
    pub step: usize,
}

/// How a kernel's loops are arranged. Axes are those of the flattened stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// The axis that vectors (and the register tile's columns) run along.
    pub vector_axis: Option<usize>,
    /// Elements of one vector; 1 is scalar code.
    pub lanes: usize,
    /// Vectors per register tile along the vector axis.
    pub vectors: usize,
    /// The axis of the register tile's rows.
    pub tile_axis: Option<usize>,
    pub tile: usize,
    /// Steps of the innermost reduction loop that are written out.
    pub unroll: usize,
    /// Steps of the innermost reduction axis that one instruction sums in every lane; 1 where each is a multiply-add.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub group: usize,
    /// Reduction axes that are written out whole.
    pub unrolled_axes: Vec<usize>,
    /// The domain loops around the register tile, outermost first: an axis in whole, or in panels.
    pub order: Vec<Loop>,
    /// The iterations of the outermost loop may run on several threads.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub parallel: bool,
    /// While a block of packed constants is used, the next one is brought near.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prefetch: bool,
    /// The kernel goes through tiles of its map instead; all else then is of no account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub winograd: Option<Winograd>,
}

impl Schedule {
    /// Scalar code, one element after the other.
    pub fn plain() -> Schedule {
        Schedule {
            vector_axis: None,
            lanes: 1,
            vectors: 1,
            tile_axis: None,
            tile: 1,
            unroll: 1,
            group: 1,
            unrolled_axes: vec![],
            order: vec![],
            parallel: false,
            prefetch: false,
            winograd: None,
        }
    }
}

fn one() -> usize {
    1
}

fn is_one(group: &usize) -> bool {
    *group == 1
}

/// One loop around the register tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loop {
    /// Over the axis by its register tile (or by one, for the other axes); within a panel if there is one outside.
    Axis(usize),
    /// Over the axis by `step`; a later `Axis` of the same axis runs inside.
    Panel { axis: usize, step: usize },
}

/// Loops for `stage` by the default schedule; an error where the target cannot compute a function that it uses.
pub fn lower(
    name: &str,
    stage: &Stage,
    operands: &[Operand],
    result: &Destination,
    target: &Target,
) -> Result<Kernel, math::Unsupported> {
    let flat = flat::Flat::new(stage, operands, result);
    let schedule = choose::cheapest(&flat, target);
    let tiles = match schedule.winograd {
        Some(form) => winograd::lower(name, &flat, form, target)?,
        None => None,
    };
    let kernel = match tiles {
        Some(kernel) => kernel,
        None => emit::emit(name, &flat, &schedule, target)?,
    };
    let estimate = estimate::of(&flat, &schedule, target);
    Ok(Kernel { estimate, stages: vec![schedule], ..kernel })
}

/// Loops for `stage` as a part of a larger nest, without memory of its own.
pub(crate) fn lower_part(
    name: &str,
    stage: &Stage,
    operands: &[Operand],
    result: &Destination,
    target: &Target,
) -> Result<Kernel, math::Unsupported> {
    let flat = flat::Flat::new(stage, operands, result);
    let schedule = Schedule { parallel: false, ..choose::default_schedule(&flat, target) };
    let kernel = emit::emit(name, &flat, &schedule, target)?;
    Ok(Kernel { estimate: estimate::of(&flat, &schedule, target), ..kernel })
}
