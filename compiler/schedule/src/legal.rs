//! Which schedules are written correctly: what holds of a schedule that [`crate::emit`] may take.

use std::collections::BTreeSet;

use targets::Target;

use crate::choose::{self, folds_along, lanes, runs_along};
use crate::emit::guard;
use crate::flat::Flat;
use crate::{Loop, Schedule, dot, winograd};

/// Elements of a register tile at most: beyond any machine's registers.
pub(crate) const MOST_ELEMENTS: usize = 256;

/// Steps of single accumulators that a nest may write out: some hundred kilobytes of code.
const MOST_STEPS: usize = 1 << 14;

/// What is wrong with a schedule for a stage and a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Illegal(pub String);

impl std::fmt::Display for Illegal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Illegal {}

pub(crate) fn check(schedule: &Schedule, flat: &Flat, target: &Target) -> Result<(), Illegal> {
    vectors(schedule, flat, target)?;
    tile(schedule, flat)?;
    reduction(schedule, flat, target)?;
    order(schedule, flat)?;
    let size = written(schedule, flat);
    if size > MOST_STEPS {
        return illegal(format!("it writes out {size} steps; {MOST_STEPS} are the most"));
    }
    if schedule.parallel && target.threads < 2 {
        return illegal("it is parallel, and the library has one thread");
    }
    match schedule.winograd {
        Some(form) if !winograd::all_forms(flat, target).contains(&form) => illegal(format!(
            "tiles of {0}×{0} outputs in blocks of {1} rows do not make this kernel on {2}",
            form.outputs, form.rows, target.name
        )),
        _ => Ok(()),
    }
}

/// What holds of a part of a larger nest besides: it is written into the nest's loops, and has no memory of its own.
pub(crate) fn check_part(schedule: &Schedule) -> Result<(), Illegal> {
    match schedule {
        Schedule { parallel: true, .. } => illegal("it is parallel, and the kernel is a part of another"),
        Schedule { winograd: Some(_), .. } => {
            illegal("it goes through tiles, and the kernel is a part of another")
        }
        Schedule { matrix: Some(_), .. } => {
            illegal("it multiplies matrices, and the kernel is a part of another")
        }
        _ => Ok(()),
    }
}

fn illegal<T>(what: impl Into<String>) -> Result<T, Illegal> {
    Err(Illegal(what.into()))
}

fn extent(flat: &Flat, axis: usize) -> Result<usize, Illegal> {
    match flat.axes.get(axis) {
        Some(axis) => Ok(axis.extent),
        None => illegal(format!("axis {axis} is none of the kernel's {}", flat.axes.len())),
    }
}

fn vectors(schedule: &Schedule, flat: &Flat, target: &Target) -> Result<(), Illegal> {
    let Schedule { vector_axis, lanes: wide, vectors, .. } = *schedule;
    let Some(axis) = vector_axis else {
        return match (wide, vectors) {
            (1, 1) => Ok(()),
            _ => illegal(format!("{vectors} vectors of {wide} lanes run along no axis")),
        };
    };
    let extent = extent(flat, axis)?;
    let most = lanes(flat, target);
    if !wide.is_power_of_two() || wide > most {
        return illegal(format!("vectors of {wide} lanes; {} has up to {most} for this kernel", target.name));
    }
    let fits = match flat.axes[axis].reduction {
        true => wide > 1 && folds_along(flat, axis, wide),
        false => runs_along(flat, axis, wide),
    };
    if !fits {
        return illegal(format!("vectors of {wide} lanes do not run along axis {axis}"));
    }
    if vectors == 0 || vectors > extent.div_ceil(wide) {
        return illegal(format!("{vectors} vectors of {wide} lanes along an axis of {extent} elements"));
    }
    Ok(())
}

fn tile(schedule: &Schedule, flat: &Flat) -> Result<(), Illegal> {
    let Schedule { vector_axis, tile_axis, tile, vectors, .. } = *schedule;
    match tile_axis {
        None if tile != 1 => return illegal(format!("a tile of {tile} rows along no axis")),
        None => (),
        Some(axis) => {
            let extent = extent(flat, axis)?;
            if flat.axes[axis].reduction || tile_axis == vector_axis {
                return illegal(format!("axis {axis} can't be the register tile's rows"));
            }
            if tile == 0 || tile > extent {
                return illegal(format!("a tile of {tile} rows along an axis of {extent} elements"));
            }
        }
    }
    match tile.saturating_mul(vectors) {
        elements if elements > MOST_ELEMENTS => {
            illegal(format!("a register tile of {elements} vectors; {MOST_ELEMENTS} are the most"))
        }
        _ => Ok(()),
    }
}

fn reduction(schedule: &Schedule, flat: &Flat, target: &Target) -> Result<(), Illegal> {
    let mut known = BTreeSet::new();
    for &axis in &schedule.unrolled_axes {
        extent(flat, axis)?;
        if !flat.axes[axis].reduction || schedule.vector_axis == Some(axis) || !known.insert(axis) {
            return illegal(format!("axis {axis} can't be written out"));
        }
    }
    let Schedule { vector_axis, lanes, unroll, group, .. } = *schedule;
    if schedule.matrix.is_some() {
        if !choose::is_legal_matrix(schedule, flat, target) {
            return illegal(format!("no matrices of this shape are multiplied here on {}", target.name));
        }
    } else if group != dot::fitting(flat, vector_axis, lanes, target).map_or(1, |dot| dot.group) {
        return illegal(format!("no instruction of {} sums {group} products here", target.name));
    }
    let innermost = flat.axes_where(true).next_back().map_or(1, |axis| flat.axes[axis].extent);
    let steps = innermost / group;
    if unroll == 0 || unroll > steps.max(1) || group > 1 && !steps.is_multiple_of(unroll) {
        return illegal(format!("{unroll} steps at once of an axis of {innermost} elements"));
    }
    Ok(())
}

/// Every domain axis has its loop, the panels of an axis stand outside of it.
fn order(schedule: &Schedule, flat: &Flat) -> Result<(), Illegal> {
    let (mut looped, mut panels) = (BTreeSet::new(), BTreeSet::new());
    for step in &schedule.order {
        match *step {
            Loop::Axis(axis) => {
                extent(flat, axis)?;
                if flat.axes[axis].reduction || !looped.insert(axis) {
                    return illegal(format!("a loop of axis {axis} around the register tile"));
                }
            }
            Loop::Panel { axis, step } => {
                let extent = extent(flat, axis)?;
                let unit = if schedule.tile_axis == Some(axis) { schedule.tile } else { 1 };
                if flat.axes[axis].reduction
                    || schedule.vector_axis == Some(axis)
                    || looped.contains(&axis)
                    || !panels.insert(axis)
                {
                    return illegal(format!("panels of axis {axis} around the register tile"));
                }
                if step == 0 || step >= extent || !step.is_multiple_of(unit) {
                    return illegal(format!("panels of {step} along an axis of {extent} elements"));
                }
            }
        }
    }
    match flat.axes_where(false).find(|axis| !looped.contains(axis)) {
        Some(axis) => illegal(format!("axis {axis} has no loop")),
        None => Ok(()),
    }
}

/// Steps of single accumulators that are written out: in the usual register tile, at the map's edges, and in what is
/// left of the vectors.
pub(crate) fn written(schedule: &Schedule, flat: &Flat) -> usize {
    let steps = |unrolled: &BTreeSet<usize>| {
        unrolled.iter().fold(1, |steps: usize, &axis| steps.saturating_mul(flat.axes[axis].extent))
    };
    let elements = |rows: usize| 2 * rows * schedule.vectors;
    let usual: BTreeSet<usize> = schedule.unrolled_axes.iter().copied().collect();
    let mut written = elements(schedule.tile).saturating_mul(steps(&usual)).saturating_mul(schedule.unroll);
    let paneled =
        |axis| schedule.order.iter().any(|l| matches!(l, Loop::Panel { axis: of, .. } if *of == axis));
    let Some(axis) = schedule.tile_axis.filter(|&axis| !paneled(axis)) else { return written };
    let (guards, _) = guard::of(flat);
    let (from, to) = guard::interior(&guards, axis, flat);
    let extent = flat.axes[axis].extent;
    for at in (0..extent).step_by(schedule.tile) {
        if at >= from && at + schedule.tile <= to {
            continue;
        }
        let rows = schedule.tile.min(extent - at);
        let undecided = guard::undecided_axes(&guards, axis, at, rows, flat);
        let unrolled = usual.iter().copied().chain(undecided).collect();
        written = written.saturating_add(elements(rows).saturating_mul(steps(&unrolled)));
        if written > MOST_STEPS {
            break;
        }
    }
    written
}
