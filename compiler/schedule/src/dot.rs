//! Sums of products on an instruction that sums a group of them in every lane (vdpbf16ps: two bfloat16 each; bfmmla:
//! four each, of two rows), or on matrix registers (tdpbf16ps).
//!
//! One factor's neighbours along the innermost reduction axis are one group, the same for all lanes of a row; the other is
//! a constant that is packed in groups, one for each lane.

use ir::DType;
use loops::affine::Affine;
use loops::{Binary, BufferId, Expr, Fold};
use targets::Target;
use targets::instructions::{Instruction, Meaning, find};

use crate::emit::guard;
use crate::flat::Flat;
use crate::pack;

/// How the products of a stage are summed.
#[derive(Debug, Clone)]
pub(crate) struct Dot {
    /// `None`: as two multiply-adds on the halves of a word.
    pub instruction: Option<&'static Instruction>,
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

/// A stage's sum of products, each of a factor that is the same for all lanes and of a packed one.
struct Products {
    axis: usize,
    shared: (BufferId, Affine),
    packed: (BufferId, Affine),
}

impl Products {
    fn of(flat: &Flat, vector_axis: Option<usize>) -> Option<Products> {
        let vector_axis = vector_axis.filter(|&axis| !flat.axes[axis].reduction)?;
        let axis = flat.axes_where(true).next_back()?;
        let (guards, body) = guard::of(flat);
        let (Some(Fold::Sum), Expr::Binary(Binary::Mul, a, b)) = (flat.fold, &body) else { return None };
        if guards.iter().any(|guard| guard.asks(axis)) {
            return None;
        }
        let moves =
            |(_, address): &(BufferId, Affine), axis: usize| address.coefficient(&Expr::Axis(axis)) != 0;
        let (a, b) = (widened(a, flat)?, widened(b, flat)?);
        let (shared, packed) = if moves(&a, vector_axis) { (b, a) } else { (a, b) };
        let is_group = shared.1.coefficient(&Expr::Axis(axis)) == 1
            && [vector_axis, axis].iter().all(|&axis| !shared.1.hides(&Expr::Axis(axis)))
            && !moves(&shared, vector_axis);
        let is_packed = pack::wants_packing(flat, packed.0, &packed.1, vector_axis) && moves(&packed, axis);
        (is_group && is_packed).then_some(Products { axis, shared, packed })
    }

    /// Whether an instruction takes the factors as they are stored, and sums in the stage's type.
    fn are_taken_by(&self, instruction: &Instruction, flat: &Flat) -> bool {
        let dtype = |of: &(BufferId, Affine)| flat.operands[of.0.0 as usize].dtype;
        match instruction.arguments {
            [sum, a, b] => {
                sum.dtype == flat.folded && (a.dtype, b.dtype) == (dtype(&self.shared), dtype(&self.packed))
            }
            _ => false,
        }
    }

    fn dot(self, instruction: Option<&'static Instruction>, group: usize, block: Option<Block>) -> Dot {
        Dot { instruction, group, axis: self.axis, shared: self.shared, packed: self.packed, block }
    }
}

/// The first instruction of the target that the stage's sum fits, with `lanes` results along `vector_axis`.
pub(crate) fn fitting(flat: &Flat, vector_axis: Option<usize>, lanes: usize, target: &Target) -> Option<Dot> {
    let products = Products::of(flat, vector_axis)?;
    let fits = |instruction: &&'static Instruction| {
        let [sum, a, _] = instruction.arguments else { return false };
        let fits_lanes = match instruction.meaning {
            Meaning::Dot { group } => {
                // A group travels as one word.
                sum.lanes == lanes && group * a.dtype.bits() as usize == WORD.bits() as usize
            }
            // Vectors are put together of two accumulators, and those of two vectors.
            Meaning::Block { rows, columns, .. } => rows == 2 && 2 * columns == lanes,
            _ => false,
        };
        fits_lanes && products.are_taken_by(instruction, flat)
    };
    let instruction = target.instructions.iter().filter_map(|name| find(name)).find(fits)?;
    let (group, block) = match instruction.meaning {
        Meaning::Dot { group } => (group, None),
        Meaning::Block { rows, columns, group } => (group, Some(Block { rows, columns })),
        _ => return None,
    };
    Some(products.dot(Some(instruction), group, block))
}

/// Sums of pairs of bfloat16 on a machine that has no instruction for them, over constants that are packed as for one.
pub(crate) fn pairs(flat: &Flat, vector_axis: Option<usize>) -> Option<Dot> {
    let products = Products::of(flat, vector_axis)?;
    let narrow = |of: &(BufferId, Affine)| flat.operands[of.0.0 as usize].dtype == DType::BF16;
    let fits = narrow(&products.shared) && narrow(&products.packed) && flat.folded == DType::F32;
    fits.then(|| products.dot(None, 2, None))
}

/// The target's instruction on matrix registers that the stage's sum fits, with `lanes` columns along `vector_axis`.
pub(crate) fn matrix(
    flat: &Flat,
    vector_axis: Option<usize>,
    lanes: usize,
    target: &Target,
) -> Option<&'static Instruction> {
    let products = Products::of(flat, vector_axis)?;
    // Where there are none, or the application may not use them, the same packed constants serve pairs.
    pairs(flat, vector_axis)?;
    let fits = |instruction: &&'static Instruction| {
        matches!(instruction.meaning, Meaning::Matrix { columns, group: 2 } if columns == lanes)
            && products.are_taken_by(instruction, flat)
    };
    target.instructions.iter().filter_map(|name| find(name)).find(fits)
}

/// Elements between a row of the shared factor and the next one along `tile_axis`, where they lie evenly apart.
pub(crate) fn row_stride(flat: &Flat, vector_axis: Option<usize>, tile_axis: usize) -> Option<usize> {
    let address = Products::of(flat, vector_axis)?.shared.1;
    let along = Expr::Axis(tile_axis);
    let stride = usize::try_from(address.coefficient(&along)).ok().filter(|&stride| stride > 0)?;
    (!address.hides(&along)).then_some(stride)
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
