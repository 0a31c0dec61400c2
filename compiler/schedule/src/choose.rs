//! The default schedule: good without tuning, from the target's description alone, and always the same.

use ir::DType;
use loops::affine::Affine;
use loops::{Binary, BufferId, Expr};
use targets::Target;

use crate::emit::computed;
use crate::flat::{Flat, dtype_of, loads};
use crate::{Loop, Schedule, dot, estimate, math, pack, winograd};

/// The default schedule in the form that the cost model likes best.
pub(crate) fn cheapest(flat: &Flat, target: &Target) -> Schedule {
    let direct = default_schedule(flat, target);
    let cycles = estimate::of(flat, &direct, target).cycles(target);
    match winograd::cheapest(flat, target) {
        Some((form, estimate)) if estimate.cycles(target) < cycles => {
            Schedule { winograd: Some(form), ..direct }
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
    // A group is broadcast to a register of its own, a single factor may be an operand in memory.
    let broadcast = usize::from(group > 1 || !target.vector.broadcast_operand);
    let (tile, vectors) = register_tile(flat, vector_axis, tile_axis, lanes, broadcast, target);
    let register_tile = Schedule { vector_axis, lanes, vectors, tile_axis, tile, ..Schedule::plain() };
    around(flat, &register_tile, target)
}

/// What goes with the register tile of `schedule`: the loops inside it and around it.
pub(crate) fn around(flat: &Flat, schedule: &Schedule, target: &Target) -> Schedule {
    let Schedule { vector_axis, lanes, vectors, tile_axis, tile, .. } = *schedule;
    let mut schedule = Schedule { vector_axis, lanes, vectors, tile_axis, tile, ..Schedule::plain() };
    schedule.group = dot::fitting(flat, vector_axis, lanes, target).map_or(1, |dot| dot.group);
    schedule.unrolled_axes = unrolled_axes(flat, &schedule, target);
    schedule.unroll = unroll(flat, &schedule, target);
    schedule.order = shared_out(flat, &schedule, target);
    schedule.prefetch = prefetch(flat, &schedule, target);
    schedule.parallel = parallel(flat, &schedule, target);
    schedule
}

/// Cycles that a kernel takes at least to be worth handing to other threads, which takes some thousands.
pub(crate) const WORTH_THREADS: f64 = 30_000.0;

/// Whether there is work for several threads, and a loop around all of it to share out.
fn parallel(flat: &Flat, schedule: &Schedule, target: &Target) -> bool {
    let several = schedule.order.first().is_some_and(|&outer| {
        let (extent, step) = steps(flat, schedule, outer);
        extent > step
    });
    target.threads > 1 && several && estimate::of(flat, schedule, target).cycles(target) >= WORTH_THREADS
}

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

/// Occupied for this share of the time, threads gain less by another outer loop than caches lose by it.
const BALANCED: f64 = 0.8;

/// The loops in the order that is best for one thread, but with one outermost that keeps all of them occupied.
fn shared_out(flat: &Flat, schedule: &Schedule, target: &Target) -> Vec<Loop> {
    let mut order = order(flat, schedule, target);
    let balance = |one: &Loop| balance(flat, schedule, *one, target.threads);
    let Some(first) = order.first().filter(|_| target.threads > 1).map(balance) else { return order };
    if first >= BALANCED {
        return order;
    }
    let panelled =
        |axis: usize| order.iter().any(|one| matches!(one, Loop::Panel { axis: of, .. } if *of == axis));
    // The loop within a panel goes over the panel alone.
    let whole = |one: &Loop| !matches!(one, Loop::Axis(axis) if panelled(*axis));
    let outer = (0..order.len())
        .filter(|&k| whole(&order[k]))
        .reduce(|best, k| if balance(&order[k]) > balance(&order[best]).min(BALANCED) { k } else { best });
    order[..=outer.unwrap_or(0)].rotate_right(1);
    order
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

/// Whether the innermost reduction axis goes in steps of as many as a vector has lanes, what all lanes share of them
/// coming in one load: each step takes its lane.
pub(crate) fn lane_steps(flat: &Flat, vector_axis: Option<usize>, lanes: usize, target: &Target) -> bool {
    let Some(axis) = flat.axes_where(true).next_back().filter(|&axis| Some(axis) != vector_axis) else {
        return false;
    };
    let moves = |address: &Affine, axis: usize| address.coefficient(&Expr::Axis(axis));
    let side_by_side = |(buffer, address): &(BufferId, Affine)| {
        let stored = flat.operands[buffer.0 as usize].dtype;
        let shared = vector_axis.is_some_and(|along| moves(address, along) == 0);
        shared && computed(stored) == flat.folded && moves(address, axis) == 1
    };
    target.vector.lane_operand
        && lanes > 1
        && flat.axes[axis].extent.is_multiple_of(lanes)
        && !used_as_value(flat, axis)
        && loads(&flat.body).iter().any(side_by_side)
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

/// How an expression's loads move with the register tile.
pub(crate) struct Loads {
    /// One for each row, one for each vector, one for each element of the tile.
    pub rows: usize,
    pub vectors: usize,
    pub both: usize,
    pub operations: usize,
    /// Of these, those that give one value for all vectors of a row: done once a row.
    pub row_operations: usize,
    /// Steps that a row's load serves: [`lane_steps`].
    pub row_steps: usize,
}

impl Loads {
    pub fn of(expr: &Expr, vector_axis: Option<usize>, tile_axis: Option<usize>, target: &Target) -> Loads {
        let mut counts =
            Loads { rows: 0, vectors: 0, both: 0, operations: 0, row_operations: 0, row_steps: 1 };
        let moves = |address: &Affine, axis: Option<usize>| {
            axis.is_some_and(|axis| {
                address.coefficient(&Expr::Axis(axis)) != 0 || address.hides(&Expr::Axis(axis))
            })
        };
        expr.any(&mut |node| {
            match node {
                Expr::Load { index, .. } => {
                    let address = Affine::of(index);
                    match (moves(&address, tile_axis), moves(&address, vector_axis)) {
                        (true, false) => counts.rows += 1,
                        (false, true) => counts.vectors += 1,
                        (true, true) => counts.both += 1,
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
        let Schedule { vector_axis, tile_axis, lanes, .. } = *schedule;
        let together = schedule.group == 1
            && flat.axes_where(true).next_back().is_none_or(|axis| !schedule.unrolled_axes.contains(&axis))
            && lane_steps(flat, vector_axis, lanes, target);
        let row_steps = if together { lanes } else { 1 };
        Loads { row_steps, ..Loads::of(body, vector_axis, tile_axis, target) }
    }

    /// Loads of one step of a register tile.
    pub fn in_step(&self, tile: usize, vectors: usize) -> f64 {
        let rows = (self.rows * tile) as f64 / self.row_steps as f64;
        rows + (self.vectors * vectors + self.both * tile * vectors) as f64
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

/// Rows and vectors of the register tile: what needs the fewest modelled cycles over the whole domain. `broadcast` is
/// how many registers what is the same for all vectors of a row takes.
fn register_tile(
    flat: &Flat,
    vector_axis: Option<usize>,
    tile_axis: Option<usize>,
    lanes: usize,
    broadcast: usize,
    target: &Target,
) -> (usize, usize) {
    let plain = Schedule { vector_axis, tile_axis, lanes, ..Schedule::plain() };
    let loads = Loads::of_body(&flat.body, flat, &plain, target);
    let Some(vector_axis) = vector_axis else { return (1, 1) };
    let columns = flat.axes[vector_axis].extent.div_ceil(lanes);
    if flat.fold.is_none() {
        // A map: a few independent elements hide latencies; long expressions have enough of their own. What is read
        // across goes to half a line of a cache.
        let across = lanes == 1 && !target.caches.is_empty() && read_across(flat, vector_axis).is_some();
        let most = match loads.operations {
            9.. => 1,
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
    let mut best = (f64::INFINITY, (1, 1));
    let widest = columns.min(8).min(near_blocks(flat, vector_axis, lanes, target));
    for vectors in 1..=widest {
        for tile in 1..=rows.min(28) {
            let of_rows = if loads.row_steps > 1 { tile } else { 1 + broadcast };
            let held = tile * vectors + vectors * loads.vectors.min(1) + of_rows;
            if held > registers && (tile, vectors) != (1, 1) {
                continue;
            }
            let tiles = |extent: usize, step: usize| {
                [(extent / step, step), (usize::from(!extent.is_multiple_of(step)), extent % step)]
            };
            let mut cycles = 0.0;
            for (row_tiles, tile) in tiles(rows, tile) {
                for (column_tiles, vectors) in tiles(columns, vectors) {
                    let folds = if horizontal { tile as f64 } else { 0.0 };
                    cycles += (row_tiles * column_tiles) as f64
                        * (step_cycles(&loads, tile, vectors, lanes) + folds);
                }
            }
            if cycles < best.0 * 0.999 {
                best = (cycles, (tile, vectors));
            }
        }
    }
    best.1
}

/// Vectors of a block of packed constants that stays in the second cache while all rows go over it, and leaves room for
/// the next one and for what the rows read.
fn near_blocks(flat: &Flat, vector_axis: usize, lanes: usize, target: &Target) -> usize {
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
    (cache.bytes / 3).checked_div(of_one).map_or(usize::MAX, |vectors| vectors.max(1))
}

/// Modelled cycles of one reduction step of a register tile. Vector machines run loads beside arithmetic and wait
/// 4 cycles for a dependent result; scalar ones issue one instruction at a time.
fn step_cycles(loads: &Loads, tile: usize, vectors: usize, lanes: usize) -> f64 {
    let arithmetic = (tile * vectors) as f64;
    let loaded = loads.in_step(tile, vectors);
    match lanes {
        1 => arithmetic + loaded + 1.0,
        _ => arithmetic.max(loaded).max(4.0) + 0.05 * (arithmetic + loaded),
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
        let along = |address: &Affine, axis: usize| address.coefficient(&Expr::Axis(axis)) != 0;
        loads.iter().any(|(_, address)| along(address, axis) && along(address, tile_axis))
    };
    let together = lane_steps(flat, schedule.vector_axis, schedule.lanes, target);
    let inside =
        |first: usize| -> usize { reduction[first..].iter().map(|&axis| flat.axes[axis].extent).product() };
    let budget = (256 / (schedule.tile * schedule.vectors)).min(16);
    (0..reduction.len())
        .find(|&first| {
            let first_axis = reduction[first];
            moves(first_axis)
                && (!together || slides(flat, first_axis, tile_axis))
                && inside(first) <= budget
                && reduction[first..].iter().all(|&axis| vertical(axis))
        })
        .map_or(vec![], |first| reduction[first..].to_vec())
}

/// Enough steps of the innermost loop at once that counting them costs little beside the tile's own work.
fn unroll(flat: &Flat, schedule: &Schedule, target: &Target) -> usize {
    let Some(inner) = flat.axes_where(true).next_back() else { return 1 };
    if schedule.unrolled_axes.contains(&inner) || schedule.vector_axis == Some(inner) {
        return 1;
    }
    if schedule.group == 1 && lane_steps(flat, schedule.vector_axis, schedule.lanes, target) {
        return schedule.lanes;
    }
    let most = 16usize.div_ceil(schedule.tile * schedule.vectors);
    let steps = flat.axes[inner].extent / schedule.group;
    [4, 2].into_iter().find(|&u| u <= most && steps.is_multiple_of(u)).unwrap_or(1)
}

/// The loops around the register tile, so that what is read again is still in a near cache.
fn order(flat: &Flat, schedule: &Schedule, target: &Target) -> Vec<Loop> {
    let vector_axis = schedule.vector_axis.filter(|&axis| !flat.axes[axis].reduction);
    let packings = pack::packings(flat, schedule);
    let special = |axis: usize| Some(axis) == vector_axis || Some(axis) == schedule.tile_axis;
    let packed_outer = |axis: usize| packings.iter().any(|p| p.outer.contains(&axis)) && !special(axis);
    let outer = flat.axes_where(false).filter(|&a| packed_outer(a)).map(Loop::Axis);
    let others: Vec<Loop> =
        flat.axes_where(false).filter(|&a| !special(a) && !packed_outer(a)).map(Loop::Axis).collect();
    let vector = vector_axis.map(Loop::Axis);
    let tile = schedule.tile_axis.map(Loop::Axis);
    let loads = Loads::of(&flat.body, vector_axis, schedule.tile_axis, target);

    let constants: usize =
        packings.iter().map(|p| p.len() * flat.operands[p.buffer.0 as usize].dtype.bytes()).sum();
    let moving: Vec<&crate::Operand> = flat.operands.iter().filter(|o| !o.constant).collect();
    let activations: usize = moving.iter().map(|o| o.len * o.dtype.bytes()).max().unwrap_or(0);
    let cache = |level: usize| target.caches.get(level).map_or(usize::MAX, |cache| cache.bytes);
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
            window.is_some_and(|axis| looked_at(axis) > cache(0) / 2) && activations <= cache(1) / 2
        });
        if loads.both > 0 && from_afar {
            order.extend(vector);
            order.extend(others);
            order.extend(tile);
            return order;
        }
        order.extend(others);
        if loads.both > 0 || constants == 0 {
            order.extend(vector);
            order.extend(tile);
        } else {
            order.extend(tile);
            order.extend(vector);
        }
    } else {
        // One block of constants for as many rows as fit the second cache.
        let first = others.first().copied().or(tile);
        if let Some(Loop::Axis(axis)) = first.filter(|_| activations > cache(1) / 2) {
            let extent = flat.axes[axis].extent;
            let panels = activations.div_ceil(cache(1) / 2).next_multiple_of(target.threads);
            let unit = if Some(axis) == schedule.tile_axis { schedule.tile } else { 1 };
            let step = extent.div_ceil(panels).next_multiple_of(unit);
            if step < extent {
                order.push(Loop::Panel { axis, step });
            }
        }
        order.extend(vector);
        order.extend(others);
        order.extend(tile);
    }
    order
}
