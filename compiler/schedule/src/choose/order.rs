//! The loops around the register tile: their order, their panels, and what is shared out among threads.

use targets::Target;

use super::{Loads, read_across, slides};
use crate::emit::guard;
use crate::flat::Flat;
use crate::{Loop, Schedule, estimate, pack};

/// Cycles that a kernel takes at least to be worth handing to other threads, which takes some thousands.
pub(crate) const WORTH_THREADS: f64 = 30_000.0;

/// What a loop goes over, and by how much.
fn steps(flat: &Flat, schedule: &Schedule, one: Loop) -> (usize, usize) {
    match one {
        Loop::Axis(axis) if Some(axis) == schedule.vector_axis => {
            (flat.axes[axis].extent, schedule.lanes * schedule.vectors)
        }
        Loop::Axis(axis) if Some(axis) == schedule.tile_axis => (flat.axes[axis].extent, schedule.tile),
        Loop::Axis(axis) => (flat.axes[axis].extent, 1),
        Loop::Panel { axis, step } => (flat.axes[axis].extent, step),
    }
}

/// The share of its time that each of `threads` works, if a loop is shared out among them.
fn balance(flat: &Flat, schedule: &Schedule, one: Loop, threads: usize) -> f64 {
    let (extent, step) = steps(flat, schedule, one);
    let most = extent.div_ceil(step).div_ceil(threads) * step;
    extent as f64 / (threads * most).max(1) as f64
}

/// By how much longer all threads take than if none of them waited for others; tiles have their own way.
pub(crate) fn uneven(flat: &Flat, schedule: &Schedule, target: &Target) -> f64 {
    let threads = target.threads;
    match schedule.order.first() {
        _ if threads == 1 || schedule.winograd.is_some() => 1.0,
        Some(&outermost) if schedule.parallel => 1.0 / balance(flat, schedule, outermost, threads),
        _ => threads as f64,
    }
}

/// Occupied for this share of the time, threads gain less by another outer loop than caches lose by it: sums, and maps,
/// which have little to compute of what they read.
const BALANCED: [f64; 2] = [0.95, 0.8];

/// `schedule` with a loop outermost that keeps all threads occupied, if one does; it is shared out where there is work
/// enough.
pub(crate) fn on_threads(flat: &Flat, mut schedule: Schedule, target: &Target) -> Schedule {
    if target.threads < 2 {
        return schedule;
    }
    let order = &schedule.order;
    let balance = |one: &Loop| balance(flat, &schedule, *one, target.threads);
    let panelled =
        |axis: usize| order.iter().any(|one| matches!(one, Loop::Panel { axis: of, .. } if *of == axis));
    // The loop within a panel goes over the panel alone.
    let whole = |one: &Loop| !matches!(one, Loop::Axis(axis) if panelled(*axis));
    // The first one that is balanced, or the one that is most.
    let balanced = BALANCED[usize::from(flat.fold.is_none())];
    let better = |best: usize, k: usize| {
        let (least, other) = (balance(&order[best]), balance(&order[k]));
        if least < balanced && other > least { k } else { best }
    };
    if let Some(outer) = (0..order.len()).filter(|&k| whole(&order[k])).reduce(better) {
        schedule.order[..=outer].rotate_right(1);
    }
    let several = schedule.order.first().is_some_and(|&outer| {
        let (extent, step) = steps(flat, &schedule, outer);
        extent > step
    });
    schedule.parallel = several && estimate::of(flat, &schedule, target).cycles(target) >= WORTH_THREADS;
    schedule
}

/// Rows of a window; with more than these each row of a map had better be read once, a vector's channels at a time, than
/// once for every row of the window, all channels side by side (by depthwise convolutions on an AMD Zen 3).
const SEVERAL: usize = 3;

/// Whether the register tile is a part of a row that a window goes along: its pixels are used up, channel after channel,
/// before the next ones, as they lie in memory. Where they come from caches that gains more than loading a window's weights
/// for each tile costs: depthwise convolutions of 3x3 take half to two thirds of the time on an AMD Zen 3.
fn slides_along_tile(flat: &Flat, schedule: &Schedule, target: &Target) -> bool {
    let window = |tile: usize| flat.axes_where(true).any(|axis| slides(flat, axis, tile));
    !target.caches.is_empty() && schedule.lanes > 1 && schedule.tile_axis.is_some_and(window)
}

/// The loops around the register tile, so that what is read again is still in a near cache.
pub(super) fn order(flat: &Flat, schedule: &Schedule, target: &Target) -> Vec<Loop> {
    let vector_axis = schedule.vector_axis.filter(|&axis| !flat.axes[axis].reduction);
    let packings = pack::packings(flat, schedule);
    let special = |axis: usize| Some(axis) == vector_axis || Some(axis) == schedule.tile_axis;
    let packed_outer = |axis: usize| packings.iter().any(|p| p.outer.contains(&axis)) && !special(axis);
    let outer = flat.axes_where(false).filter(|&a| packed_outer(a)).map(Loop::Axis);
    let others: Vec<Loop> =
        flat.axes_where(false).filter(|&a| !special(a) && !packed_outer(a)).map(Loop::Axis).collect();
    let vector = vector_axis.map(Loop::Axis);
    let tile = schedule.tile_axis.map(Loop::Axis);
    let loads = Loads::of_body(&flat.body, flat, schedule, target);

    let constants: usize =
        packings.iter().map(|p| p.len() * flat.operands[p.buffer.0 as usize].dtype.bytes()).sum();
    let activations: usize = flat
        .loads()
        .iter()
        .map(|(buffer, address)| (&flat.operands[buffer.0 as usize], address))
        .filter(|(operand, _)| !operand.constant)
        .map(|(operand, address)| flat.footprint(address).min(operand.len) * operand.dtype.bytes())
        .max()
        .unwrap_or(0);
    let cache = |level: usize| target.caches.get(level).map_or(usize::MAX, |cache| cache.bytes);
    let (guards, _) = guard::of(flat);
    let mut order: Vec<Loop> = outer.collect();
    // The lines that a few elements are read from, across, are read to their ends before the next few.
    let across = vector_axis.filter(|_| schedule.lanes == 1 && !target.caches.is_empty());
    let across = across.and_then(|axis| read_across(flat, axis)).map(Loop::Axis);
    if let Some(along) = across.filter(|along| others.contains(along)) {
        order.extend(others.into_iter().filter(|other| *other != along));
        order.extend(vector);
        order.push(along);
    } else if loads.both > 0 || constants == 0 || constants <= cache(0) / 2 {
        // Every load moves with the vectors (depthwise, pooling, maps), or all constants stay near: the inputs of
        // one row are used up before the next.
        // Rows that a window looks at are still near when it moves on: all of them, or those of one vector.
        let from_afar = others.last().is_some_and(|rows| {
            let Loop::Axis(rows) = *rows else { return false };
            let window = flat.axes_where(true).find(|&axis| slides(flat, axis, rows));
            let looked_at = |axis: usize| activations / flat.axes[rows].extent * flat.axes[axis].extent;
            let often = |axis: usize| flat.axes[axis].extent > SEVERAL || activations <= cache(1) / 2;
            window.is_some_and(|axis| looked_at(axis) > cache(0) / 2 && often(axis))
        });
        if loads.both > 0 && from_afar {
            order.extend(vector);
            order.extend(others);
            order.extend(tile);
            return order;
        }
        order.extend(others);
        // Rows that stay near, too (one of a chain, at a time), may wait for the next vectors: what results from them is
        // then written in steps that no processor takes for the start of a long way. MobileNetV2's expansions gain 5 to 8 %
        // on an AMD Zen 3.
        let rows_near = target.costs.overlap && activations <= cache(0) / 2;
        if slides_along_tile(flat, schedule, target) {
            order.extend(tile);
            order.extend(vector);
        } else if loads.both > 0 || constants == 0 || rows_near {
            order.extend(vector);
            order.extend(tile);
        } else {
            order.extend(tile);
            order.extend(vector);
        }
    } else {
        // One block of constants for as many rows as fit the second cache.
        // Rows that may lie beyond the map's edges are told apart where all tiles are in one loop.
        let at_edges = |axis: usize| guards.iter().any(|guard| guard.asks(axis));
        let whole = tile.filter(|_| !schedule.tile_axis.is_some_and(at_edges));
        let first = others.first().copied().or(whole);
        if let Some(Loop::Axis(axis)) = first.filter(|_| activations > cache(1) / 2) {
            let extent = flat.axes[axis].extent;
            let panels = activations.div_ceil(cache(1) / 2).next_multiple_of(target.threads);
            let unit = if Some(axis) == schedule.tile_axis { schedule.tile } else { 1 };
            let step = extent.div_ceil(panels).next_multiple_of(unit);
            // Each panel goes over all constants again; without panels each block of constants goes over all rows.
            let (all, block) = vector.map_or((1, 1), |vector| steps(flat, schedule, vector));
            let passes =
                |times: usize, bytes, constant| times as f64 * estimate::travel(bytes, constant, target);
            let again = passes(extent.div_ceil(step) - 1, constants, true);
            if step < extent && again <= passes(all.div_ceil(block), activations, false) {
                order.push(Loop::Panel { axis, step });
            }
        }
        order.extend(vector);
        order.extend(others);
        order.extend(tile);
    }
    order
}
