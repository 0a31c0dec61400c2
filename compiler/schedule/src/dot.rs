//! Sums of products on an instruction that sums a group of them in every lane (vdpbf16ps: two bfloat16 each; bfmmla:
//! four each, of two rows).
//!
//! One factor's neighbours along the innermost reduction axis are one group, the same for all lanes of a row; the other is
//! a constant that is packed in groups, one for each lane.

use ir::DType;
use loops::affine::Affine;
use loops::{Binary, BufferId, Expr, Fold};
use targets::Target;
use targets::instructions::{Instruction, Meaning, find};

use crate::emit::guard::{self, Guard};
use crate::flat::{Flat, outside_loads};
use crate::pack;

/// How the products of a stage are summed.
#[derive(Debug, Clone)]
pub(crate) struct Dot {
    pub instruction: &'static Instruction,
    /// Steps of the innermost reduction axis that are summed in a lane.
    pub group: usize,
    pub axis: usize,
    /// The factor that is the same for all lanes.
    pub shared: (BufferId, Affine),
    /// The packed one.
    pub packed: (BufferId, Affine),
    /// Where the instruction takes several rows at once, and a vector in parts: how many of each it has.
    pub block: Option<Block>,
}

/// An accumulator's rows and columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block {
    pub rows: usize,
    pub columns: usize,
}

/// The first instruction of the target that the stage's sum fits, with `lanes` results along `vector_axis`.
pub(crate) fn fitting(flat: &Flat, vector_axis: Option<usize>, lanes: usize, target: &Target) -> Option<Dot> {
    let vector_axis = vector_axis.filter(|&axis| !flat.axes[axis].reduction)?;
    let axis = flat.axes_where(true).next_back()?;
    let (guards, body) = guard::of(flat);
    let (Some(Fold::Sum), Expr::Binary(Binary::Mul, a, b)) = (flat.fold, &body) else { return None };
    if guards.iter().any(|guard| asks(guard, axis)) {
        return None;
    }
    let moves = |(_, address): &(BufferId, Affine), axis: usize| address.coefficient(&Expr::Axis(axis)) != 0;
    let (a, b) = (widened(a, flat)?, widened(b, flat)?);
    let (shared, packed) = if moves(&a, vector_axis) { (b, a) } else { (a, b) };
    let is_group = shared.1.coefficient(&Expr::Axis(axis)) == 1
        && [vector_axis, axis].iter().all(|&axis| !shared.1.hides(&Expr::Axis(axis)))
        && !moves(&shared, vector_axis);
    let is_packed = pack::wants_packing(flat, packed.0, &packed.1, vector_axis) && moves(&packed, axis);
    let dtype = |of: &(BufferId, Affine)| flat.operands[of.0.0 as usize].dtype;
    let fits = |instruction: &&'static Instruction| {
        let [sum, a, b] = instruction.arguments else { return false };
        let fits_lanes = match instruction.meaning {
            Meaning::Dot { group } => {
                // A group travels as one word.
                sum.lanes == lanes && group * a.dtype.bits() as usize == WORD.bits() as usize
            }
            // Vectors are put together of two accumulators, and those of two vectors.
            Meaning::Block { rows, columns, .. } => rows == 2 && 2 * columns == lanes,
            _ => false,
        };
        fits_lanes && sum.dtype == flat.folded && (a.dtype, b.dtype) == (dtype(&shared), dtype(&packed))
    };
    if !is_group || !is_packed {
        return None;
    }
    let instruction = target.instructions.iter().filter_map(|name| find(name)).find(fits)?;
    let (group, block) = match instruction.meaning {
        Meaning::Dot { group } => (group, None),
        Meaning::Block { rows, columns, group } => (group, Some(Block { rows, columns })),
        _ => return None,
    };
    Some(Dot { instruction, group, axis, shared, packed, block })
}

/// The rows and columns of the accumulators, where the instruction that fits takes several rows at once.
pub(crate) fn block(flat: &Flat, vector_axis: Option<usize>, lanes: usize, target: &Target) -> Option<Block> {
    fitting(flat, vector_axis, lanes, target)?.block
}

/// What a group is broadcast as.
pub(crate) const WORD: DType = DType::I32;

/// A load that is widened to the type of the sum.
fn widened(expr: &Expr, flat: &Flat) -> Option<(BufferId, Affine)> {
    let Expr::Cast(to, inner) = expr else { return None };
    match &**inner {
        Expr::Load { buffer, index, .. } if *to == flat.folded => Some((*buffer, Affine::of(index))),
        _ => None,
    }
}

fn asks(guard: &Guard, axis: usize) -> bool {
    outside_loads(&guard.condition, &[&Expr::Axis(axis)])
}
