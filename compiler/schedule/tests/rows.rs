//! Which definitions become one nest over rows, how much memory of its own that takes, and what it may write over.

use ir::DType;
use loops::{Access, Definition, Expr, Fold, Source, Stage};
use schedule::{Argument, Block, Destination, Kernel, Operand, View, default_blocks, lower_rows, row_axes};
use targets::Target;

const ROWS: usize = 256;
const COLUMNS: usize = 640;

fn read(source: Source, index: [Expr; 2]) -> Expr {
    Expr::read(source, index)
}

/// `x - Σ x` along the columns; the sum reads row `row` of `x`.
fn centred(row: Expr) -> Definition {
    let (own, column, folded) = (Expr::Axis(0), Expr::Axis(1), Expr::Axis(2));
    let sum = read(Source::Operand(0), [row, folded]);
    let sum = Stage::reduce(DType::F32, [ROWS, 1], Fold::Sum, [COLUMNS], sum);
    let difference =
        read(Source::Operand(0), [own.clone(), column]) - read(Source::Stage(0), [own, Expr::int(0)]);
    Definition::of(vec![sum, Stage::map(DType::F32, [ROWS, COLUMNS], difference)])
}

/// `x²`, seen at `index`, and the root of it: the second stage may write over the first where both are at one place.
fn squared(index: [Expr; 2]) -> Definition {
    let element = read(Source::Operand(0), [Expr::Axis(0), Expr::Axis(1)]);
    let domain = [ROWS, COLUMNS];
    Definition::of(vec![
        Stage::map(DType::F32, domain, element.clone() * element),
        Stage::map(DType::F32, domain, read(Source::Stage(0), index) + Expr::f32(1.0)),
        Stage::map(DType::F32, domain, read(Source::Stage(1), [Expr::Axis(0), Expr::Axis(1)])),
    ])
}

fn place() -> Destination {
    Destination { view: View::contiguous(&[ROWS, COLUMNS]), len: ROWS * COLUMNS }
}

fn lowered(definition: &Definition, blocks: &[Block], target: &Target) -> Option<Kernel> {
    let Destination { view, len } = place();
    let operand = Operand { source: Source::Operand(0), dtype: DType::F32, view, len, constant: false };
    lower_rows("rows", definition, blocks, &[operand], &place(), target).unwrap()
}

fn scratch(kernel: &Kernel) -> Vec<usize> {
    let own = kernel.nest.buffers.iter().filter(|buffer| buffer.access == Access::Scratch);
    own.map(|buffer| buffer.len).collect()
}

fn target(name: &str) -> Target {
    Target::preset(name).unwrap()
}

#[test]
fn what_a_block_touches_fits_the_nearest_cache() {
    for name in ["x86-64-v4", "neoverse-n1", "cortex-m4f"] {
        let target = target(name);
        let definition = squared([Expr::Axis(0), Expr::Axis(1)]);
        let blocks = default_blocks(&definition, &place(), &target).unwrap();
        assert_eq!(blocks.len(), 1, "{name}");
        let kernel = lowered(&definition, &blocks, &target).unwrap();
        // The second stage has no memory of its own.
        assert_eq!(scratch(&kernel), [blocks[0].step * COLUMNS], "{name}");
        let near = target.caches.first().map_or(16384, |cache| cache.bytes);
        assert!(3 * 4 * blocks[0].step * COLUMNS <= near, "{name}: {blocks:?}");
    }
}

#[test]
fn stages_that_read_other_rows_stay_apart() {
    let target = target("x86-64-v3");
    let definition = squared([Expr::int(ROWS as i64 - 1) - Expr::Axis(0), Expr::Axis(1)]);
    assert_eq!(row_axes(&definition), [1]);
    assert!(lowered(&definition, &[Block { axis: 0, step: 4 }], &target).is_none());
    // What lies between the stages is kept apart, too: it is read after it was written over.
    assert_eq!(scratch(&lowered(&definition, &[], &target).unwrap()), [ROWS * COLUMNS; 2]);
    let transposed = squared([Expr::Axis(1), Expr::Axis(0)]);
    assert!(row_axes(&transposed).is_empty());
    assert_eq!(default_blocks(&transposed, &place(), &target), None);
}

#[test]
fn several_results_are_no_rows() {
    let definition = Definition { results: vec![1, 0], ..centred(Expr::Axis(0)) };
    assert!(lowered(&definition, &[], &target("x86-64-v3")).is_none());
}

#[test]
fn the_result_writes_over_what_its_own_rows_alone_read() {
    let target = target("cortex-m4f");
    let in_place = |definition: &Definition, blocks: &[Block]| {
        let kernel = lowered(definition, blocks, &target).unwrap();
        let operand = |argument: &Argument| matches!(argument, Argument::Source(_));
        kernel.in_place[kernel.arguments.iter().position(operand).unwrap()]
    };
    let block = [Block { axis: 0, step: 1 }];
    assert!(in_place(&centred(Expr::Axis(0)), &block));
    let other = centred(Expr::int(ROWS as i64 - 1) - Expr::Axis(0));
    assert!(!in_place(&other, &block), "the row that is read was written over already");
    assert!(in_place(&other, &[]), "all sums are done before anything is written");
}
