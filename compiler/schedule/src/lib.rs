//! From what a kernel computes to how: a [`loops::Definition`]'s stage and a target give a nest of loops.
//!
//! A schedule is data ([`Schedule`]); [`default_schedule`] finds a good one from the target's description alone.
//! This room knows no operator.

mod choose;
mod dot;
mod emit;
mod estimate;
mod features;
mod flat;
mod join;
mod legal;
mod line_buffer;
pub mod math;
mod pack;
mod range;
mod records;
mod rows;
mod space;
mod tensorize;
mod winograd;
mod workload;

pub use estimate::{Estimate, estimate, estimate_rows};
pub use legal::Illegal;
pub use line_buffer::{estimate_lines, line_buffer};
pub use records::{Cost, Merged, Record, RecordError, Records, TargetKey, VERSION, merge, parse, print};
pub use rows::{default_blocks, lower_rows, row_axes};
pub use space::Space;
pub use targets::instructions::Matrix;
pub use tensorize::{Unfit, tensorize};
pub use winograd::Winograd;
pub use workload::{Around, Workload};

use ir::DType;
use loops::{Definition, Nest, Source, Stage};
use serde::{Deserialize, Serialize};
use targets::Target;

/// Where a tensor's elements lie in its buffer: element `[i, j, ...]` at `offset + i · strides[0] + j · strides[1] ...`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    pub view: View,
    pub len: usize,
}

/// A kernel as loops, and what its buffers stand for.
#[derive(Debug, Clone)]
pub struct Kernel {
    pub nest: Nest,
    /// The same on the same buffers for a machine that has the target's instructions, but no matrix registers, or may not
    /// use them; where the nest does.
    pub without_matrices: Option<Nest>,
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
    /// What was lowered, stage by stage: each may be arranged by another schedule.
    pub workloads: Vec<Workload>,
    /// Where the schedules come from.
    pub chosen: Chosen,
}

/// Where a kernel's schedules come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Chosen {
    #[default]
    Default,
    /// A record says so, of one stage at least.
    Record,
    /// A record has one that is not legal here; the default stands instead.
    Refused(Illegal),
}

impl Chosen {
    /// Of a kernel that has another stage: what is refused is worth telling most.
    fn and(self, other: Chosen) -> Chosen {
        match (self, other) {
            (refused @ Chosen::Refused(_), _) | (_, refused @ Chosen::Refused(_)) => refused,
            (Chosen::Record, _) | (_, Chosen::Record) => Chosen::Record,
            _ => Chosen::Default,
        }
    }
}

impl Kernel {
    /// The place of the result among the arguments.
    pub fn result_argument(&self) -> Option<usize> {
        self.arguments.iter().position(|argument| matches!(argument, Argument::Result))
    }

    pub(crate) fn nests_mut(&mut self) -> impl Iterator<Item = &mut Nest> {
        [&mut self.nest].into_iter().chain(self.without_matrices.as_mut())
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
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// The accumulators are matrix registers, whose products take this many rows and steps of the innermost reduction axis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix: Option<Matrix>,
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
            matrix: None,
            unrolled_axes: vec![],
            order: vec![],
            parallel: false,
            prefetch: false,
            winograd: None,
        }
    }

    /// Whether the loops that this schedule makes of a workload are right on `target`; says what is not.
    ///
    /// Every schedule that passes is written correctly, so that one from anywhere (a file, a search) can do no harm.
    pub fn check(&self, workload: &Workload, target: &Target) -> Result<(), Illegal> {
        workload.allows(self, &workload.flat(), target)
    }
}

fn one() -> usize {
    1
}

fn is_one(group: &usize) -> bool {
    *group == 1
}

/// One loop around the register tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Loop {
    /// Over the axis by its register tile (or by one, for the other axes); within a panel if there is one outside.
    Axis(usize),
    /// Over the axis by `step`; a later `Axis` of the same axis runs inside.
    Panel { axis: usize, step: usize },
}

/// Why a stage has no loops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    Illegal(Illegal),
    Unsupported(math::Unsupported),
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refused::Illegal(illegal) => illegal.fmt(f),
            Refused::Unsupported(unsupported) => unsupported.fmt(f),
        }
    }
}

impl std::error::Error for Refused {}

/// Loops for `stage` by the default schedule; an error where the target cannot compute a function that it uses.
pub fn lower(
    name: &str,
    stage: &Stage,
    operands: &[Operand],
    result: &Destination,
    target: &Target,
) -> Result<Kernel, math::Unsupported> {
    lower_with(name, stage, operands, result, target, &Records::NONE)
}

/// Loops for `stage` by the schedule that `records` have for it, or else by the default one.
pub fn lower_with(
    name: &str,
    stage: &Stage,
    operands: &[Operand],
    result: &Destination,
    target: &Target,
    records: &Records,
) -> Result<Kernel, math::Unsupported> {
    let workload = Workload::new(name, stage, operands, result);
    let flat = workload.flat();
    let (schedule, chosen) = chosen(&workload, &flat, target, records);
    Ok(Kernel { chosen, workloads: vec![workload], ..by(name, &flat, schedule, target)? })
}

/// The schedule that `records` have for a workload, or else the default one.
fn chosen(workload: &Workload, flat: &flat::Flat, target: &Target, records: &Records) -> (Schedule, Chosen) {
    let recorded = (!records.is_empty()).then(|| records.schedule(&workload.key())).flatten();
    match recorded.map(|known| workload.allows(known, flat, target).map(|()| known)) {
        Some(Ok(known)) => (known.clone(), Chosen::Record),
        Some(Err(illegal)) => (workload.default_schedule(flat, target), Chosen::Refused(illegal)),
        None => (workload.default_schedule(flat, target), Chosen::Default),
    }
}

/// Loops for a workload by a schedule from anywhere.
pub fn lower_by(workload: &Workload, schedule: &Schedule, target: &Target) -> Result<Kernel, Refused> {
    let flat = workload.flat();
    workload.allows(schedule, &flat, target).map_err(Refused::Illegal)?;
    let kernel = by(&workload.name, &flat, schedule.clone(), target).map_err(Refused::Unsupported)?;
    Ok(if workload.is_part() { join::alone(workload, kernel) } else { kernel })
}

/// The loops of a flattened stage by a schedule that is its own, or legal.
fn by(
    name: &str,
    flat: &flat::Flat,
    schedule: Schedule,
    target: &Target,
) -> Result<Kernel, math::Unsupported> {
    let tiles = match schedule.winograd {
        Some(form) => winograd::lower(name, flat, form, target)?,
        None => None,
    };
    let kernel = match tiles {
        Some(kernel) => kernel,
        None => emit_everywhere(name, flat, &schedule, target)?,
    };
    let estimate = estimate::of(flat, &schedule, target);
    Ok(Kernel { estimate, stages: vec![schedule], ..kernel })
}

/// The loops of a schedule; beside those on matrix registers the same without.
fn emit_everywhere(
    name: &str,
    flat: &flat::Flat,
    schedule: &Schedule,
    target: &Target,
) -> Result<Kernel, math::Unsupported> {
    let kernel = emit::emit(name, flat, schedule, target)?;
    if schedule.matrix.is_none() {
        return Ok(kernel);
    }
    let vectors = choose::without_matrices(flat, schedule, target);
    let without = emit::emit(name, flat, &vectors, target)?;
    debug_assert_eq!(kernel.arguments, without.arguments, "both read what is packed");
    match kernel.arguments == without.arguments {
        true => Ok(Kernel { without_matrices: Some(without.nest), ..kernel }),
        false => Ok(without),
    }
}

/// Loops for one block of a workload that is part of a larger nest, without memory of its own. `flat` is its stage as it
/// lies in the nest, where rows may be farther apart than a search has them.
pub(crate) fn lower_part(
    part: Workload,
    flat: &flat::Flat,
    target: &Target,
    records: &Records,
) -> Result<Kernel, math::Unsupported> {
    let (schedule, chosen) = chosen(&part, flat, target, records);
    let kernel = by(&part.name, flat, schedule, target)?;
    Ok(Kernel { chosen, workloads: vec![part], ..kernel })
}
