//! A schedule of a workload as numbers that a learned model can tell schedules apart by.

use targets::Target;

use crate::flat::Flat;
use crate::{Loop, Schedule, estimate, pack};

/// Of `schedule`, in an order that is the same for all schedules of a workload. Sizes are logarithms: what doubles them
/// counts alike wherever it starts.
pub(crate) fn of(flat: &Flat, schedule: &Schedule, target: &Target) -> Vec<f64> {
    let estimate = estimate::of(flat, schedule, target);
    let log = |size: usize| (size.max(1) as f64).log2();
    let extent = |axis: Option<usize>| axis.map_or(1, |axis| flat.axes[axis].extent);
    // The share of the last tile of an axis that is not there.
    let missing =
        |extent: usize, step: usize| 1.0 - extent as f64 / extent.next_multiple_of(step.max(1)) as f64;
    let axes: Vec<usize> = schedule
        .order
        .iter()
        .filter_map(|l| if let Loop::Axis(axis) = l { Some(*axis) } else { None })
        .collect();
    let depth =
        |axis: Option<usize>| axes.iter().position(|&a| Some(a) == axis).map_or(-1.0, |place| place as f64);
    let panel =
        schedule.order.iter().find_map(|l| if let Loop::Panel { step, .. } = l { Some(*step) } else { None });
    let number = |axis: Option<usize>| axis.map_or(-1.0, |axis| axis as f64);
    let written: usize = schedule.unrolled_axes.iter().map(|&axis| flat.axes[axis].extent).product();
    let elements = schedule.tile * schedule.vectors;
    let packed: usize = pack::packings(flat, schedule).iter().map(pack::Packing::len).sum();
    vec![
        (1.0 + estimate.compute).log2(),
        (1.0 + estimate.memory).log2(),
        number(schedule.vector_axis),
        number(schedule.tile_axis),
        log(schedule.lanes),
        log(schedule.vectors),
        log(schedule.tile),
        elements as f64 / target.vector.registers.max(8) as f64,
        missing(extent(schedule.tile_axis), schedule.tile),
        missing(extent(schedule.vector_axis), schedule.lanes * schedule.vectors),
        log(schedule.unroll),
        log(written),
        log(schedule.unroll * written * elements),
        depth(schedule.vector_axis),
        depth(schedule.tile_axis),
        panel.map_or(-1.0, log),
        log(packed),
        f64::from(u8::from(schedule.prefetch)),
        f64::from(u8::from(schedule.parallel)),
        schedule.winograd.map_or(0.0, |form| form.outputs as f64),
        schedule.winograd.map_or(0.0, |form| form.rows as f64),
    ]
}
