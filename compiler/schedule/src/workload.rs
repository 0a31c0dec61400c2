//! A stage with the places of what it reads and writes: all that a schedule is chosen for.

use loops::affine::Affine;
use loops::{Binary, BufferId, Expr, LoopVar, Stage};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use targets::Target;

use crate::flat::Flat;
use crate::legal::{self, Illegal};
use crate::{Destination, Operand, Schedule, choose, estimate};

/// One stage to lower, complete in itself: it can be written to a file and lowered elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Of the kernel, for people.
    pub name: String,
    pub stage: Stage,
    /// What the stage may read; it need not read all.
    pub operands: Vec<Operand>,
    pub result: Destination,
    /// Of a stage that is a part of a larger nest: the loops around it, outermost first. `None`: a kernel of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub around: Option<Vec<Around>>,
}

/// A loop around a part, along an axis of which the stage has one block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Around {
    pub axis: usize,
    /// Rows of all blocks, and of one.
    pub extent: usize,
    pub step: usize,
    /// Rows of the result that there is memory for: the ones beyond go where the first ones were.
    pub kept: usize,
}

impl Around {
    /// What stands for a block's first row in a stage that is computed a block at a time.
    pub(crate) fn placeholder(axis: usize) -> LoopVar {
        LoopVar(u32::MAX - axis as u32)
    }

    /// Where the block from `row` on lies among the rows that are kept.
    pub(crate) fn slot(&self, row: Expr) -> Expr {
        match self.kept {
            kept if kept == self.step => Expr::int(0),
            kept if kept == self.extent => row,
            kept => Expr::binary(Binary::Rem, row, Expr::int(kept as i64)),
        }
    }
}

/// What two workloads share that are the same kernel.
#[derive(Serialize)]
struct Canonical<'a> {
    /// Extent, and whether it is folded over.
    axes: Vec<(usize, bool)>,
    fold: Option<loops::Fold>,
    body: Expr,
    finish: Expr,
    result: &'a Expr,
    dtype: ir::DType,
    folded: ir::DType,
    /// By first use: element type, and whether it is known at compile time.
    operands: Vec<(ir::DType, bool)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    around: Option<&'a [Around]>,
}

/// Elements and axes that a workload may have: beyond any model, and within what can be computed with.
const MOST_ELEMENTS: usize = 1 << 40;
const MOST_AXES: usize = 32;

impl Workload {
    pub fn new(name: &str, stage: &Stage, operands: &[Operand], result: &Destination) -> Workload {
        let (stage, result) = (stage.clone(), result.clone());
        Workload { name: name.to_owned(), stage, operands: operands.to_vec(), result, around: None }
    }

    /// Whether it is a part of a larger nest, with no memory or threads of its own.
    pub(crate) fn is_part(&self) -> bool {
        self.around.is_some()
    }

    /// The loops around a part.
    pub(crate) fn loops(&self) -> &[Around] {
        self.around.as_deref().unwrap_or_default()
    }

    /// The schedule that is taken where nothing else is known.
    pub(crate) fn default_schedule(&self, flat: &Flat, target: &Target) -> Schedule {
        match self.is_part() {
            true => choose::default_schedule(flat, &target.on_one_thread()),
            false => choose::cheapest(flat, target),
        }
    }

    /// Whether `schedule` is right for the workload, whose stage is `flat`.
    pub(crate) fn allows(&self, schedule: &Schedule, flat: &Flat, target: &Target) -> Result<(), Illegal> {
        legal::check(schedule, flat, target)?;
        if self.is_part() { legal::check_part(schedule) } else { Ok(()) }
    }

    /// What all of it takes by the default schedule, by the target's cost model.
    pub fn modelled_cycles(&self, target: &Target) -> f64 {
        let flat = self.flat();
        let blocks: usize = self.loops().iter().map(|around| around.extent / around.step).product();
        let schedule = self.default_schedule(&flat, target);
        blocks as f64 * estimate::of(&flat, &schedule, target).cycles(target)
    }

    /// Elements of the result that are written.
    pub fn written(&self) -> usize {
        let kept = |around: &Around| around.kept / around.step;
        self.stage.ty().elements() * self.loops().iter().map(kept).product::<usize>()
    }

    /// The block from `rows` on, one for each loop around: what its placeholders stand for, and how far behind the result's
    /// first place it goes.
    pub(crate) fn block_at(&self, rows: &[Expr]) -> (Vec<(LoopVar, Expr)>, Expr) {
        let at = || self.loops().iter().zip(rows);
        let place = at().fold(Affine::constant(0), |place, (around, row)| {
            let stride = self.result.view.strides[around.axis];
            place.plus(&Affine::of(&around.slot(row.clone())), stride)
        });
        let outer = at().map(|(around, row)| (Around::placeholder(around.axis), row.clone())).collect();
        (outer, place.to_expr())
    }

    pub(crate) fn flat(&self) -> Flat {
        Flat::new(&self.stage, &self.operands, &self.result)
    }

    /// SHA-256, in hexadecimal, of the flattened stage: the same for the same loops over buffers of the same kinds,
    /// whatever the kernel is called and whichever of its operator's operands it reads.
    pub fn key(&self) -> String {
        let flat = self.flat();
        let mut used: Vec<BufferId> = Vec::new();
        for (buffer, _) in flat.loads() {
            if !used.contains(&buffer) {
                used.push(buffer);
            }
        }
        let canonical = Canonical {
            axes: flat.axes.iter().map(|axis| (axis.extent, axis.reduction)).collect(),
            fold: flat.fold,
            body: numbered(&flat.body, &used),
            finish: numbered(&flat.finish, &used),
            result: &flat.result,
            dtype: flat.dtype,
            folded: flat.folded,
            operands: used
                .iter()
                .map(|buffer| &flat.operands[buffer.0 as usize])
                .map(|operand| (operand.dtype, operand.constant))
                .collect(),
            around: self.around.as_deref(),
        };
        // Plain data always serialises.
        let text = serde_json::to_string(&canonical).unwrap_or_default();
        hexadecimal(&Sha256::digest(text.as_bytes()))
    }

    /// The kernel in a few words: `conv: f32 1x56x56x64 over 3x3x64`; of a part with the number of its blocks.
    pub fn about(&self) -> String {
        let by = |extents: &[usize]| extents.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
        let Stage { dtype, domain, reduction, .. } = &self.stage;
        let over = if reduction.is_empty() { String::new() } else { format!(" over {}", by(reduction)) };
        let blocks: Vec<usize> = self.loops().iter().map(|around| around.extent / around.step).collect();
        let blocks = if blocks.is_empty() { String::new() } else { format!(", {} times", by(&blocks)) };
        format!("{}: {dtype} {}{over}{blocks}", self.name, by(domain))
    }

    /// Whether the stage is well formed: its axes, sources and indices are there and of the right number, and the result
    /// lies in its buffer. Of what it reads, only constants are looked at.
    pub fn check(&self) -> Result<(), String> {
        let Stage { domain, reduction, fold, body, finish, .. } = &self.stage;
        let extents = || domain.iter().chain(reduction);
        if extents().count() > MOST_AXES {
            return Err(format!("a stage of more than {MOST_AXES} axes"));
        }
        let points = extents().try_fold(1_usize, |points, &extent| points.checked_mul(extent));
        if !points.is_some_and(|points| (1..=MOST_ELEMENTS).contains(&points)) {
            return Err(format!("a stage of no element, or more than {MOST_ELEMENTS}"));
        }
        if fold.is_none() && (!reduction.is_empty() || finish.is_some()) {
            return Err("a reduction or a finish without a fold".to_owned());
        }
        if self.result.view.strides.len() != domain.len() {
            return Err("the result's strides are not one per axis".to_owned());
        }
        let lengths = self.operands.iter().map(|operand| operand.len).chain([self.result.len]);
        if lengths.into_iter().any(|len| len == 0 || len > MOST_ELEMENTS) {
            return Err(format!("a buffer of no element, or more than {MOST_ELEMENTS}"));
        }
        let extents: Vec<usize> = extents().copied().collect();
        self.loops_around()?;
        let mut written = domain.clone();
        for Around { axis, kept, step, .. } in self.loops() {
            written[*axis] += kept - step;
        }
        if !within(self.result.view.offset, &self.result.view.strides, &written, self.result.len) {
            return Err("the result leaves its buffer".to_owned());
        }
        self.expression(body, &extents, false)?;
        finish.iter().try_for_each(|finish| self.expression(finish, domain, true))
    }

    /// Whether the loops around a part are such loops: each over an axis of its own, in whole blocks.
    fn loops_around(&self) -> Result<(), String> {
        for (k, Around { axis, extent, step, kept }) in self.loops().iter().enumerate() {
            let known = self.loops()[..k].iter().any(|other| other.axis == *axis);
            let whole = |rows: usize| (*step..=MOST_ELEMENTS).contains(&rows) && rows.is_multiple_of(*step);
            if known || *step == 0 || !whole(*extent) || !whole(*kept) || kept > extent {
                return Err(format!(
                    "the loop around axis {axis}, over {extent} by {step}, of which {kept} are kept"
                ));
            }
            if self.stage.domain.get(*axis).is_none_or(|rows| rows > step) {
                return Err(format!("a loop by {step} around axis {axis}, which has more than that"));
            }
        }
        let rows = self.loops().iter().try_fold(1_usize, |rows, around| rows.checked_mul(around.extent));
        match rows {
            Some(0..=MOST_ELEMENTS) => Ok(()),
            _ => Err(format!("loops around a stage of more than {MOST_ELEMENTS} rows")),
        }
    }

    fn expression(&self, expr: &Expr, extents: &[usize], folded: bool) -> Result<(), String> {
        let (mut wrong, axes) = (None, extents.len());
        expr.any(&mut |node| {
            wrong = match node {
                Expr::Axis(axis) if *axis >= axes => Some(format!("axis {axis} of {axes}")),
                Expr::Read { source, index } => {
                    match self.operands.iter().find(|operand| operand.source == *source) {
                        None => Some(format!("{source:?} is no operand")),
                        Some(operand) if operand.view.strides.len() != index.len() => {
                            Some(format!("{} indices of {source:?}", index.len()))
                        }
                        Some(operand) if operand.constant && leaves(operand, index, extents) => {
                            Some(format!("a read beyond {source:?}"))
                        }
                        Some(_) => None,
                    }
                }
                Expr::Folded if !folded => Some("a body that reads what is folded".to_owned()),
                Expr::Loop(var) if self.loops().iter().any(|a| Around::placeholder(a.axis) == *var) => None,
                Expr::Loop(_)
                | Expr::Reg(_)
                | Expr::Load { .. }
                | Expr::Broadcast { .. }
                | Expr::Horizontal { .. }
                | Expr::Lane { .. }
                | Expr::Shuffle { .. }
                | Expr::MulAdd(..)
                | Expr::Bits(..)
                | Expr::Instruction { .. } => Some("what only nests have".to_owned()),
                _ => None,
            };
            wrong.is_some()
        });
        wrong.map_or(Ok(()), Err)
    }
}

/// Whether all of `offset + Σ stride · axis` lies within a buffer of `len` elements.
fn within(offset: i64, strides: &[i64], extents: &[usize], len: usize) -> bool {
    let steps =
        strides.iter().zip(extents).map(|(&stride, &extent)| i128::from(stride) * (extent as i128 - 1));
    let (low, high) = steps.fold((0, 0), |(low, high), step| (low + step.min(0), high + step.max(0)));
    i128::from(offset) + low >= 0 && i128::from(offset) + high < len as i128
}

/// Whether a read whose place is a sum over the axes goes beyond the operand.
fn leaves(operand: &Operand, index: &[Expr], extents: &[usize]) -> bool {
    let strides = index.iter().zip(&operand.view.strides);
    let address = strides.fold(Affine::constant(operand.view.offset), |sum, (index, &stride)| {
        sum.plus(&Affine::of(index), stride)
    });
    let strides = address.over_axes(extents.len());
    strides.is_some_and(|strides| !within(address.offset, &strides, extents, operand.len))
}

/// `expr` with buffers by their place in `used`.
fn numbered(expr: &Expr, used: &[BufferId]) -> Expr {
    expr.rewrite(&mut |node| match node {
        Expr::Load { buffer, index, lanes, valid } => Some(Expr::Load {
            buffer: BufferId(used.iter().position(|known| known == buffer).unwrap_or(used.len()) as u32),
            index: Box::new(numbered(index, used)),
            lanes: *lanes,
            valid: *valid,
        }),
        _ => None,
    })
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
