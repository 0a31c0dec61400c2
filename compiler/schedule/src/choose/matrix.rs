//! Schedules on matrix registers (AMX): which shapes of accumulators a stage takes, and what stands in for them.

use ir::DType;
use loops::Type;
use targets::Target;
use targets::instructions::Meaning;

use super::order;
use crate::emit::computed;
use crate::flat::Flat;
use crate::{Matrix, Schedule, dot};

/// Matrix registers that there are (AMX): accumulators, and what is multiplied into them.
const REGISTERS: usize = 8;

/// Fewer rows of an accumulator, or fewer steps of a product, leave most of a matrix register empty: plain vectors do as
/// well.
const FEWEST_ROWS: usize = 4;
const FEWEST_STEPS: usize = 8;

/// Register tiles that go over the stage as that of `plain` does, on matrix registers of every shape that fits; none where
/// the target or the stage has no use for them. What stands around them is chosen by [`around`](super::around).
pub(crate) fn forms(flat: &Flat, plain: &Schedule, target: &Target) -> Vec<Schedule> {
    let Schedule { vector_axis: Some(vector_axis), tile_axis: Some(tile_axis), lanes, .. } = *plain else {
        return vec![];
    };
    let Some(instruction) = dot::matrix(flat, plain.vector_axis, lanes, target) else { return vec![] };
    let Some(stride) = dot::row_stride(flat, plain.vector_axis, tile_axis) else { return vec![] };
    let Meaning::Matrix { group, .. } = instruction.meaning else { return vec![] };
    let steps = flat.axes_where(true).next_back().map_or(1, |axis| flat.axes[axis].extent);
    let most = |argument: usize, by: usize| instruction.arguments[argument].lanes / by;
    let deepest = most(2, lanes);
    let fits =
        |depth: &usize| *depth <= stride && depth.is_multiple_of(group) && steps.is_multiple_of(*depth);
    let Some(depth) = (FEWEST_STEPS..=deepest).rev().find(fits) else { return vec![] };
    let (rows, columns) = (flat.axes[tile_axis].extent, flat.axes[vector_axis].extent.div_ceil(lanes));
    let mut forms = Vec::new();
    for of_one in FEWEST_ROWS..=most(0, lanes).min(rows) {
        for blocks in 1..=rows / of_one {
            for vectors in 1..=columns {
                if !in_registers(blocks, vectors) {
                    break;
                }
                let matrix = Some(Matrix { rows: of_one, depth });
                let tile = blocks * of_one;
                forms.push(Schedule {
                    group,
                    matrix,
                    vectors,
                    tile,
                    unroll: 1,
                    unrolled_axes: vec![],
                    prefetch: false,
                    ..plain.clone()
                });
            }
            if !in_registers(blocks + 1, 1) {
                break;
            }
        }
    }
    forms
}

/// Whether accumulators of so many blocks of rows and vectors have room beside the factors of one product of each.
fn in_registers(blocks: usize, vectors: usize) -> bool {
    blocks * vectors + blocks + vectors <= REGISTERS
}

/// Whether the matrices of `schedule` have shapes that the target's instruction takes, and fill its loops.
pub(crate) fn is_legal(schedule: &Schedule, flat: &Flat, target: &Target) -> bool {
    let Schedule { vector_axis, lanes, group, tile, vectors, matrix, tile_axis, .. } = *schedule;
    let (Some(Matrix { rows, depth }), Some(tile_axis)) = (matrix, tile_axis) else { return false };
    let Some(instruction) = dot::matrix(flat, vector_axis, lanes, target) else { return false };
    let steps = flat.axes_where(true).next_back().map_or(1, |axis| flat.axes[axis].extent);
    let types = [
        Type::vector(computed(flat.folded), rows.saturating_mul(lanes)),
        Type::vector(DType::BF16, rows.saturating_mul(depth)),
        Type::vector(DType::BF16, depth.saturating_mul(lanes)),
    ];
    matches!(instruction.meaning, Meaning::Matrix { group: of_meaning, .. } if of_meaning == group)
        && rows > 1
        && instruction.matrix(&types) == Some(Matrix { rows, depth })
        && tile.is_multiple_of(rows)
        && in_registers(tile / rows, vectors)
        && steps.is_multiple_of(depth)
        && dot::row_stride(flat, vector_axis, tile_axis).is_some_and(|stride| stride >= depth)
}

/// The same over the same packed constants on vectors.
pub(crate) fn without_matrices(flat: &Flat, schedule: &Schedule, target: &Target) -> Schedule {
    let vectors = schedule.vectors;
    // Accumulators, one register for each vector of constants, two for what the rows have.
    let rows = (target.vector.registers.saturating_sub(vectors + 2) / vectors).clamp(1, schedule.tile);
    let mut plain = Schedule { matrix: None, tile: rows, prefetch: false, ..schedule.clone() };
    plain.order = order::order(flat, &plain, target);
    order::on_threads(flat, plain, target)
}
