//! The default schedule: good without tuning, from the target's description alone, and always the same.

mod matrix;
mod order;
mod register_tile;

pub(crate) use matrix::{forms as matrix_forms, is_legal as is_legal_matrix, without_matrices};
pub(crate) use order::{WORTH_THREADS, on_threads, uneven};
use register_tile::register_tile;

use ir::DType;
use loops::affine::Affine;
use loops::{Binary, BufferId, Expr};
use targets::Target;

use crate::emit::computed;
use crate::flat::{Flat, dtype_of, loads};
use crate::{Operand, Schedule, dot, estimate, math, pack, winograd};

/// The default schedule in the form that the cost model likes best.
pub(crate) fn cheapest(flat: &Flat, target: &Target) -> Schedule {
    let plain = default_schedule(flat, target);
    let cycles = |schedule: &Schedule| estimate::of(flat, schedule, target).cycles(target);
    let mut direct = (cycles(&plain), plain);
    for form in matrix::forms(flat, &direct.1, target) {
        let taken = cycles(&form);
        if taken < direct.0 {
            direct = (taken, form);
        }
    }
    let (cycles, mut direct) = direct;
    if direct.matrix.is_some() {
        direct = around(flat, &direct, target);
    }
    match winograd::cheapest(flat, target) {
        Some((form, estimate)) if estimate.cycles(target) < cycles => {
            Schedule { winograd: Some(form), matrix: None, ..direct }
        }
        _ => direct,
    }
}

/// The default among the schedules that go over the stage's own axes.
pub fn default_schedule(flat: &Flat, target: &Target) -> Schedule {
    let lanes = lanes(flat, target);
    let domain = flat.axes_where(false).rev().find(|&axis| runs_along(flat, axis, lanes));
    let reduction = || flat.axes_where(true).rev().find(|&axis| lanes > 1 && folds_along(flat, axis, lanes));
    let (vector_axis, lanes) = match domain.or_else(reduction) {
        Some(axis) => (Some(axis), lanes.min(flat.axes[axis].extent.next_power_of_two())),
        // A map that reads across: element by element, a few of them at once.
        None if flat.fold.is_none() => {
            (flat.axes_where(false).rev().find(|&axis| runs_along(flat, axis, 1)), 1)
        }
        None => (None, 1),
    };
    let tile_axis = flat.fold.and_then(|_| tile_axis(flat, vector_axis));
    let group = dot::fitting(flat, vector_axis, lanes, target).map_or(1, |dot| dot.group);
    let plain = Schedule { vector_axis, tile_axis, lanes, group, ..Schedule::plain() };
    let (tile, vectors) = register_tile(flat, &plain, target);
    let register_tile = Schedule { vectors, tile, ..plain };
    around(flat, &register_tile, target)
}

/// What goes with the register tile of `schedule`: the loops inside it and around it.
pub(crate) fn around(flat: &Flat, schedule: &Schedule, target: &Target) -> Schedule {
    let Schedule { vector_axis, lanes, vectors, tile_axis, tile, group, matrix, .. } = *schedule;
    let mut schedule = Schedule { vector_axis, lanes, vectors, tile_axis, tile, matrix, ..Schedule::plain() };
    schedule.group = match matrix {
        Some(_) => group,
        None => dot::fitting(flat, vector_axis, lanes, target).map_or(1, |dot| dot.group),
    };
    schedule.unrolled_axes = unrolled_axes(flat, &schedule, target);
    schedule.unroll = unroll(flat, &schedule, target);
    schedule.order = order::order(flat, &schedule, target);
    schedule.prefetch = matrix.is_none() && prefetch(flat, &schedule, target);
    on_threads(flat, schedule, target)
}

/// Whether packed constants come from afar: there is a shared cache behind one that does not hold them.
fn prefetch(flat: &Flat, schedule: &Schedule, target: &Target) -> bool {
    let bytes =
        |packing: &pack::Packing| packing.len() * flat.operands[packing.buffer.0 as usize].dtype.bytes();
    let packed: usize = pack::packings(flat, schedule).iter().map(bytes).sum();
    target.costs.overlap && target.caches.get(1).is_some_and(|cache| packed > cache.bytes / 2)
}

/// Elements of the widest vector that every type in the kernel fits, in the form in which it is computed with.
pub(crate) fn lanes(flat: &Flat, target: &Target) -> usize {
    let mut widest = computed(flat.dtype).bits().max(computed(flat.folded).bits());
    let mut half = false;
    for expr in [&flat.body, &flat.finish] {
        expr.any(&mut |node| {
            let dtype = dtype_of(node, &flat.operands, flat.folded);
            // Indices used as addresses do not count; their constants are the only `I64` leaves of those.
            if !crate::flat::is_index(node) {
                widest = widest.max(computed(dtype).bits());
                half |= dtype == DType::F16;
            }
            false
        });
    }
    // Some machines do not convert vectors of half floats (bfloat16 is a shift), 32-bit ones have no 64-bit lanes.
    if half && !target.vector.half || widest > target.pointer_bits || target.vector.bits < 2 * widest {
        return 1;
    }
    (target.vector.bits / widest) as usize
}

/// Whether vectors may run along a domain axis: the result is dense there, and every load is dense, the same for all
/// lanes, or a constant of the fold that can be packed.
pub(crate) fn runs_along(flat: &Flat, axis: usize, lanes: usize) -> bool {
    let atom = Expr::Axis(axis);
    let dense = |address: &Affine| matches!(address.coefficient(&atom), 0 | 1);
    let result = Affine::of(&flat.result);
    let stored = if lanes > 1 { result.coefficient(&atom) == 1 } else { result.coefficient(&atom) != 0 };
    let packed = |(buffer, address): &(BufferId, Affine)| {
        dense(address) || pack::wants_packing(flat, *buffer, address, axis)
    };
    let fits = |loads: Vec<(BufferId, Affine)>, read: &dyn Fn(&(BufferId, Affine)) -> bool| {
        loads.iter().all(|load| !load.1.hides(&atom) && (lanes == 1 || read(load)))
    };
    stored
        && !used_as_value(flat, axis)
        && fits(loads(&flat.body), &packed)
        && fits(loads(&flat.finish), &|load| dense(&load.1))
}

/// Whether vectors may run along a reduction axis, to be folded at the end.
pub(crate) fn folds_along(flat: &Flat, axis: usize, lanes: usize) -> bool {
    let atom = Expr::Axis(axis);
    flat.axes[axis].extent >= lanes
        && !used_as_value(flat, axis)
        && flat
            .loads()
            .iter()
            .all(|(_, address)| !address.hides(&atom) && matches!(address.coefficient(&atom), 0 | 1))
}

/// How many steps along the innermost reduction axis share a load of what is the same for all lanes of a row, each step,
/// of one element or of a group, taking its own part of it; `None` where each loads for itself.
pub(crate) fn lane_steps(flat: &Flat, schedule: &Schedule, target: &Target) -> Option<usize> {
    let Schedule { vector_axis, lanes, group, .. } = *schedule;
    let axis = flat.axes_where(true).next_back().filter(|&axis| Some(axis) != vector_axis)?;
    let moves = |address: &Affine, axis: usize| address.coefficient(&Expr::Axis(axis));
    let side_by_side = |(buffer, address): &(BufferId, Affine)| {
        let stored = flat.operands[buffer.0 as usize].dtype;
        let shared = vector_axis.is_some_and(|along| moves(address, along) == 0);
        shared && computed(stored) == flat.folded && moves(address, axis) == 1
    };
    let steps = match group {
        1 => lanes,
        // As many vectors as a block has rows hold as many groups of each row.
        _ => dot::block(flat, vector_axis, lanes, target)?.rows,
    };
    let fits = target.vector.lane_operand
        && steps > 1
        && flat.axes[axis].extent.is_multiple_of(steps * group)
        && !used_as_value(flat, axis)
        && loads(&flat.body).iter().any(side_by_side);
    fits.then_some(steps)
}

/// Whether the axis occurs outside of addresses: in guards or as a number.
fn used_as_value(flat: &Flat, axis: usize) -> bool {
    fn outside(expr: &Expr, atom: &Expr) -> bool {
        match expr {
            Expr::Load { .. } => false,
            node => node == atom || node.children().into_iter().any(|child| outside(child, atom)),
        }
    }
    let atom = Expr::Axis(axis);
    outside(&flat.body, &atom) || outside(&flat.finish, &atom)
}

/// Another axis of a map along which lies side by side what `axis` reads from places far apart: the two of a transpose.
fn read_across(flat: &Flat, axis: usize) -> Option<usize> {
    let far = |address: &Affine| !matches!(address.coefficient(&Expr::Axis(axis)), 0 | 1);
    let loads: Vec<Affine> =
        flat.loads().into_iter().map(|(_, address)| address).filter(|address| far(address)).collect();
    let dense = |other: &usize| loads.iter().any(|load| load.coefficient(&Expr::Axis(*other)) == 1);
    flat.axes_where(false).find(dense).filter(|_| flat.fold.is_none())
}

/// The domain axis along which most loads stay the same, the innermost of equals.
fn tile_axis(flat: &Flat, vector_axis: Option<usize>) -> Option<usize> {
    let all = flat.loads();
    let reused = |axis: usize| all.iter().filter(|(_, a)| a.coefficient(&Expr::Axis(axis)) == 0).count();
    flat.axes_where(false).filter(|&axis| Some(axis) != vector_axis).max_by_key(|&axis| (reused(axis), axis))
}

/// Operations from which on an expression is a long chain, each waiting for the one before.
pub(crate) const LONG: usize = 9;

/// How many long expressions are worked out side by side. Sixteen vector registers hold four: what is computed of each, two
/// values beside it, and a constant that all of them share.
pub(crate) fn side_by_side(target: &Target) -> usize {
    if target.vector.registers < 16 { 1 } else { 4 }
}

/// How an expression's loads move with the register tile.
pub(crate) struct Loads {
    /// One for each row, one for each vector, one for each element of the tile.
    pub rows: usize,
    pub vectors: usize,
    pub both: usize,
    pub operations: usize,
    /// Of these, those that give one value for all vectors of a row, or one vector for all rows: done once for each.
    pub row_operations: usize,
    pub vector_operations: usize,
    /// Steps that a row's load serves: [`lane_steps`].
    pub row_steps: usize,
}

impl Loads {
    /// `group` is how many steps of narrow factors an instruction takes at once: it takes them as they are stored.
    pub fn of(
        expr: &Expr,
        operands: &[Operand],
        (vector_axis, tile_axis): (Option<usize>, Option<usize>),
        group: usize,
        target: &Target,
    ) -> Loads {
        let mut counts = Loads {
            rows: 0,
            vectors: 0,
            both: 0,
            operations: 0,
            row_operations: 0,
            vector_operations: 0,
            row_steps: 1,
        };
        let stored = |buffer: BufferId| operands[buffer.0 as usize].dtype;
        let moves = |address: &Affine, axis: Option<usize>| {
            axis.is_some_and(|axis| {
                address.coefficient(&Expr::Axis(axis)) != 0 || address.hides(&Expr::Axis(axis))
            })
        };
        expr.any(&mut |node| {
            match node {
                Expr::Load { buffer, index, .. } => {
                    let address = Affine::of(index);
                    let widening = if group > 1 { 0 } else { widening(stored(*buffer), target) };
                    match (moves(&address, tile_axis), moves(&address, vector_axis)) {
                        (true, false) => {
                            counts.rows += 1;
                            counts.operations += widening;
                            counts.row_operations += widening;
                        }
                        (false, true) => {
                            counts.vectors += 1;
                            counts.operations += widening;
                            counts.vector_operations += widening;
                        }
                        (true, true) => {
                            counts.both += 1;
                            counts.operations += widening;
                        }
                        (false, false) => (),
                    }
                }
                _ => {
                    let operations = operations(node, target);
                    if operations == 0 {
                        return false;
                    }
                    let varies = |node: &Expr| match node {
                        Expr::Load { index, .. } => moves(&Affine::of(index), vector_axis),
                        other => {
                            vector_axis.is_some_and(|axis| *other == Expr::Axis(axis))
                                || *other == Expr::Folded
                        }
                    };
                    counts.operations += operations;
                    counts.row_operations += if node.any(&mut |node| varies(node)) { 0 } else { operations };
                }
            }
            false
        });
        counts
    }

    /// Of a reduction's body, whose rows may be loaded for several steps at once.
    pub fn of_body(body: &Expr, flat: &Flat, schedule: &Schedule, target: &Target) -> Loads {
        let written =
            flat.axes_where(true).next_back().is_some_and(|axis| schedule.unrolled_axes.contains(&axis));
        let together = if written { None } else { lane_steps(flat, schedule, target) };
        let axes = (schedule.vector_axis, schedule.tile_axis);
        let loads = Loads::of(body, &flat.operands, axes, schedule.group, target);
        let block = dot::block(flat, schedule.vector_axis, schedule.lanes, target);
        // A block takes its columns in vectors of their own.
        let parts = block.map_or(1, |block| schedule.lanes / block.columns);
        Loads { row_steps: together.unwrap_or(1), vectors: parts * loads.vectors, ..loads }
    }

    /// Loads of one step of a register tile.
    pub fn in_step(&self, tile: usize, vectors: usize) -> f64 {
        let rows = (self.rows * tile) as f64 / self.row_steps as f64;
        rows + (self.vectors * vectors + self.both * tile * vectors) as f64
    }
}

/// Operations that make a number to be computed with of one as it is stored: a bfloat16 is shifted; where no instruction
/// converts half floats, bits are.
fn widening(stored: DType, target: &Target) -> usize {
    match stored {
        DType::BF16 => 1,
        DType::F16 if target.vector.half => 1,
        DType::F16 => 8,
        _ => 0,
    }
}

/// What the operation at the root of an expression counts, without its operands; index arithmetic counts nothing.
fn operations(expr: &Expr, target: &Target) -> usize {
    match expr {
        Expr::Unary(op, _) if !math::is_instruction(*op) => math::operations(*op, target),
        Expr::Binary(Binary::Pow, a, exponent) if !crate::flat::is_index(a) => {
            math::power_operations(exponent, target)
        }
        // Of floats a few divisions with what they round off, of integers a slow instruction.
        Expr::Binary(Binary::Mod | Binary::Rem, a, _) if !crate::flat::is_index(a) => 10,
        Expr::Unary(..) | Expr::Binary(..) | Expr::Compare(..) if !crate::flat::is_index(expr) => 1,
        _ => 0,
    }
}

/// Whether what some load reads along a reduction axis at one place of a domain axis is read at the next place, too: a
/// window's columns along the map's columns, its rows along the map's rows.
fn slides(flat: &Flat, reduction: usize, domain: usize) -> bool {
    let moves = |address: &Affine, axis: usize| address.coefficient(&Expr::Axis(axis)).unsigned_abs();
    let reach = flat.axes[reduction].extent as u64 - 1;
    flat.loads().iter().any(|(_, address)| {
        let (by_step, by_place) = (moves(address, reduction), moves(address, domain));
        by_step > 0 && by_place > 0 && by_step.saturating_mul(reach) >= by_place
    })
}

/// Reduction axes along which the rows' loads move and that have little inside, written out: neighbouring rows of a
/// window share their loads, and a few channels need no loop. Not where those loads take a register each, nor channels
/// that are loaded together.
fn unrolled_axes(flat: &Flat, schedule: &Schedule, target: &Target) -> Vec<usize> {
    let Some(tile_axis) = schedule.tile_axis.filter(|_| schedule.group == 1) else { return vec![] };
    let reduction: Vec<usize> = flat.axes_where(true).collect();
    let vertical = |axis: usize| schedule.vector_axis != Some(axis);
    let loads = flat.loads();
    let moves = |axis: usize| {
        // Rows of a ring are looked up.
        let along = |address: &Affine, axis: usize| {
            address.coefficient(&Expr::Axis(axis)) != 0 || address.hides(&Expr::Axis(axis))
        };
        loads.iter().any(|(_, address)| along(address, axis) && along(address, tile_axis))
    };
    let together = lane_steps(flat, schedule, target).is_some();
    let inside =
        |first: usize| -> usize { reduction[first..].iter().map(|&axis| flat.axes[axis].extent).product() };
    // A window's rows share what they load. Of channels each has values of its own: in a block of more statements than
    // eight for each register but a few LLVM moves the accumulators about (measured on AVX2, NEON of Armv7 and Helium).
    let steps = |statements: usize| (statements / (schedule.tile * schedule.vectors)).min(16);
    let of_channels = steps(8 * (target.vector.registers.max(16) - 4));
    let of_windows = steps(256);
    // What rows share is held for a few steps, in registers that accumulators may have taken: it is stored then, and read
    // again. Where loads are not what a step waits for, they had better be done anew.
    let held = schedule.tile * schedule.vectors + schedule.tile + schedule.vectors;
    let loaded =
        Loads::of_body(&flat.body, flat, &Schedule { unrolled_axes: vec![], ..schedule.clone() }, target);
    let loaded = loaded.in_step(schedule.tile, schedule.vectors) / target.costs.loads;
    let summed = (schedule.tile * schedule.vectors) as f64 / target.costs.vector;
    let spilled = schedule.lanes > 1 && held > target.vector.registers && loaded <= summed;
    (0..reduction.len())
        .find(|&first| {
            let first_axis = reduction[first];
            let window = slides(flat, first_axis, tile_axis);
            moves(first_axis)
                && (!together || window)
                && inside(first) <= if window && !spilled { of_windows } else { of_channels }
                && reduction[first..].iter().all(|&axis| vertical(axis))
        })
        .map_or(vec![], |first| reduction[first..].to_vec())
}

/// Enough steps of the innermost loop at once that counting them costs little beside the tile's own work. More of them
/// where code comes from a cache, not from a flash that it fills, and loads reach far from an address (those of vectors on
/// 32-bit Arm take none but the address): 2 to 4 % of whole networks on an AMD Zen 3.
fn unroll(flat: &Flat, schedule: &Schedule, target: &Target) -> usize {
    let Some(inner) = flat.axes_where(true).next_back() else { return 1 };
    let alone = schedule.vector_axis == Some(inner) || schedule.matrix.is_some();
    if schedule.unrolled_axes.contains(&inner) || alone {
        return 1;
    }
    if let Some(steps) = lane_steps(flat, schedule, target) {
        return steps;
    }
    let small = target.caches.is_empty() || target.pointer_bits < 64;
    let (statements, most): (usize, usize) = if small { (16, 4) } else { (48, 8) };
    let most = statements.div_ceil(schedule.tile * schedule.vectors).min(most);
    let steps = flat.axes[inner].extent / schedule.group;
    let fits = |u: &usize| *u <= most.min(steps) && steps.is_multiple_of(*u);
    let even = [8, 4, 2].into_iter().find(fits).unwrap_or(1);
    // One or two steps at once cost more than some that are left over (channels of which some were dropped).
    let uneven = [8, 4].into_iter().find(|&u| u <= most && 8 * u <= steps);
    uneven.filter(|_| even <= 2 && !small && schedule.group == 1).unwrap_or(even)
}
