//! The register tile: how many rows and vectors of sums are under way at once.

use loops::affine::Affine;
use loops::{BufferId, Expr};
use targets::Target;

use super::{LONG, Loads, read_across, side_by_side};
use crate::emit::guard;
use crate::flat::Flat;
use crate::{Schedule, dot, pack};

/// Rows and vectors of the register tile along the axes of `schedule`: what needs the fewest modelled cycles over the
/// whole domain.
pub(super) fn register_tile(flat: &Flat, schedule: &Schedule, target: &Target) -> (usize, usize) {
    // Whether a place is on the map is asked outside of the tile, not by it.
    let (_, body) = guard::of(flat);
    let loads = Loads::of_body(&body, flat, schedule, target);
    let Schedule { vector_axis: Some(vector_axis), tile_axis, lanes, .. } = *schedule else { return (1, 1) };
    let columns = flat.axes[vector_axis].extent.div_ceil(lanes);
    if flat.fold.is_none() {
        // A map: a few independent elements hide latencies. What is read across goes to half a line of a cache.
        let across = lanes == 1 && !target.caches.is_empty() && read_across(flat, vector_axis).is_some();
        let most = match loads.operations {
            LONG.. if lanes > 1 => side_by_side(target),
            LONG.. => 1,
            _ if across => 8,
            _ => 4,
        };
        return (1, most.min(columns));
    }
    let rows = tile_axis.map_or(1, |axis| flat.axes[axis].extent);
    let registers = match (lanes > 1, flat.folded.is_float()) {
        (true, _) => target.vector.registers,
        (false, true) => target.float.registers.max(8),
        // Integer registers, less the stack, the program counter and a few addresses.
        (false, false) => 8,
    };
    let horizontal = flat.axes[vector_axis].reduction;
    let block = dot::block(flat, Some(vector_axis), lanes, target);
    let (block_rows, parts) = block.map_or((1, 1), |block| (block.rows, lanes / block.columns));
    let mut best = (f64::INFINITY, (1, 1));
    let near = near_blocks(flat, vector_axis, lanes, NEAR_SHARE, target);
    let shared = shared_by_windows(flat, &loads, schedule);
    // A single row passes over a block once, and asks for the next one meanwhile.
    let widest = if rows == 1 { near } else { near_blocks(flat, vector_axis, lanes, 1, target) };
    let alone = rows == 1 || horizontal;
    let most_rows = match horizontal {
        // Loads of vectors on 32-bit Arm take an address alone: each row would have one to move along.
        true if target.pointer_bits < 64 => 1,
        true => WAYS,
        false => 28,
    };
    for vectors in 1..=widest.min(columns).min(8) {
        let far = if vectors > near { FAR } else { 1.0 };
        for tile in 1..=rows.min(most_rows) {
            let held = tile.next_multiple_of(block_rows) * vectors
                + vectors * loads.vectors.min(parts)
                + held_of_rows(&loads, tile, schedule, target);
            let windows = tile * vectors * (1 + shared);
            if held.max(windows) > registers && (tile, vectors) != (1, 1) {
                continue;
            }
            let tiles = |extent: usize, step: usize| {
                [(extent / step, step), (usize::from(!extent.is_multiple_of(step)), extent % step)]
            };
            let mut taken = 0.0;
            for (row_tiles, tile) in tiles(rows, tile) {
                for (column_tiles, vectors) in tiles(columns, vectors) {
                    let step = step_instructions(&loads, (tile, vectors), lanes, alone, target);
                    taken += far * (row_tiles * column_tiles) as f64 * step;
                }
            }
            if horizontal {
                taken += (rows * (vectors - 1 + folding(lanes))) as f64;
            }
            if taken < best.0 * 0.999 {
                best = (taken, (tile, vectors));
            }
        }
    }
    best.1
}

/// Rows that are folded along at once: lines of more may all want one place of a first cache, of which it has so many.
const WAYS: usize = 8;

/// Instructions that fold a vector into one number: halves are brought to each other's places, and joined.
fn folding(lanes: usize) -> usize {
    2 * lanes.ilog2() as usize
}

/// Registers of what is the same for all vectors of a row. Of plain products one row's at a time: an operand in memory, or
/// loaded into all lanes right before its use.
fn held_of_rows(loads: &Loads, tile: usize, schedule: &Schedule, target: &Target) -> usize {
    if loads.row_steps > 1 {
        return tile;
    }
    let plain = loads.both + loads.row_operations == 0;
    let loaded = plain && schedule.lanes > 1 && !target.vector.lane_operand;
    if schedule.group == 1 && (target.vector.broadcast_operand || loaded) { 1 } else { 2 }
}

/// Values for each element of the tile that a window's columns read again, and that are held from one column to the next: of
/// the columns between the places of two windows, those of which a window has several. A window of three columns that
/// moves by two reads every second pixel twice, one of five columns every pixel.
fn shared_by_windows(flat: &Flat, loads: &Loads, schedule: &Schedule) -> usize {
    let Some(tile_axis) = schedule.tile_axis.filter(|_| loads.both > 0) else { return 0 };
    let moves =
        |address: &Affine, axis: usize| address.coefficient(&Expr::Axis(axis)).unsigned_abs() as usize;
    let of_axis = |axis: usize| {
        let loads = flat.loads();
        let shared = loads.iter().filter(|(_, address)| moves(address, axis) > 0).map(|(_, address)| {
            let by_place = moves(address, tile_axis) / moves(address, axis);
            flat.axes[axis].extent.saturating_sub(by_place).min(by_place)
        });
        shared.max().unwrap_or(0)
    };
    flat.axes_where(true).map(of_axis).max().unwrap_or(0)
}

/// The share of the second cache (a third) that a block of packed constants may take and leaves room for the next one and
/// for what the rows read; and how much more a step takes whose block fills it (by 3x3 convolutions with 256 and 512
/// channels on an AMD Zen 3).
const NEAR_SHARE: usize = 3;
const FAR: f64 = 1.1;

/// Vectors of a block of packed constants that stays in a share of the second cache while all rows go over it, one at
/// least.
fn near_blocks(flat: &Flat, vector_axis: usize, lanes: usize, share: usize, target: &Target) -> usize {
    let Some(cache) = target.caches.get(1) else { return usize::MAX };
    let bytes = |(buffer, address): (BufferId, Affine)| {
        let used = |axis: &usize| address.coefficient(&Expr::Axis(*axis)) != 0;
        let steps: usize = flat.axes_where(true).filter(used).map(|axis| flat.axes[axis].extent).product();
        steps * lanes * flat.operands[buffer.0 as usize].dtype.bytes()
    };
    let packed = |(buffer, address): &(BufferId, Affine)| {
        !flat.axes[vector_axis].reduction && pack::wants_packing(flat, *buffer, address, vector_axis)
    };
    let of_one = flat.loads().into_iter().filter(packed).map(bytes).max().unwrap_or(0);
    (cache.bytes / share).checked_div(of_one).map_or(usize::MAX, |vectors| vectors.max(1))
}

/// What one reduction step of a register tile takes, in instructions of the busiest unit. Vector machines run loads
/// beside arithmetic, and need some independent sums under way: four to fill a loop and, where this tile is alone (no other
/// rows' sums could begin meanwhile, or they wait for these to be folded), as many as begin while one is added to. Scalar
/// ones issue one instruction at a time.
fn step_instructions(
    loads: &Loads,
    (tile, vectors): (usize, usize),
    lanes: usize,
    alone: bool,
    target: &Target,
) -> f64 {
    let costs = &target.costs;
    let arithmetic = (tile * vectors) as f64;
    let loaded = loads.in_step(tile, vectors);
    match lanes {
        1 => arithmetic + loaded + 1.0,
        _ => {
            let under_way = if alone { costs.latency * costs.vector } else { 0.0 }.max(4.0);
            // Where a row's number takes a load of its own, tiles of as many loads differ in whose they are: rows are nearer
            // than packed constants. (Elsewhere this only makes tiles taller, for up to 8 % more cycles on NEON.)
            let vector = &target.vector;
            let loads_rows = !(vector.lane_operand || vector.broadcast_operand);
            let from_afar = if loads_rows { 0.1 * (loads.vectors * vectors) as f64 } else { 0.0 };
            arithmetic.max(loaded).max(under_way) + 0.05 * (arithmetic + loaded) + from_afar
        }
    }
}
