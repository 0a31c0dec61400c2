//! Which definitions become one nest over rows, how much memory of its own that takes, and what it may write over.

use ir::{DType, Tensor};
use loops::{Access, Definition, Expr, Fold, Source, Stage, evaluate, interpret, verify};
use schedule::{
    Argument, Block, Chosen, Destination, Kernel, Operand, Records, Space, View, default_blocks, lower_by,
    lower_rows, row_axes,
};
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
    lowered_with(definition, blocks, target, &Records::NONE)
}

fn lowered_with(
    definition: &Definition,
    blocks: &[Block],
    target: &Target,
    records: &Records,
) -> Option<Kernel> {
    let Destination { view, len } = place();
    let operand = Operand { source: Source::Operand(0), dtype: DType::F32, view, len, constant: false };
    lower_rows("rows", definition, blocks, &[operand], &place(), target, records).unwrap()
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

/// What the kernel writes, of one operand and of stages that are left as they are.
fn interpreted(kernel: &Kernel, input: &Tensor) -> Tensor {
    let buffers = kernel.arguments.iter().zip(&kernel.nest.buffers);
    let mut buffers: Vec<Tensor> = buffers
        .map(|(argument, buffer)| match argument {
            Argument::Source(Source::Operand(_)) => input.clone(),
            Argument::Source(_) => Tensor::from_slice([buffer.len], &vec![2.0_f32; buffer.len]),
            Argument::Result | Argument::Scratch(_) => {
                Tensor::from_slice([buffer.len], &vec![f32::NAN; buffer.len])
            }
            Argument::Packed { .. } => panic!("nothing is constant"),
        })
        .collect();
    verify(&kernel.nest, &()).unwrap_or_else(|error| panic!("{error}\n{}", kernel.nest));
    interpret(&kernel.nest, &mut buffers, &()).unwrap_or_else(|error| panic!("{error}\n{}", kernel.nest));
    buffers.swap_remove(kernel.result_argument().unwrap())
}

#[test]
fn every_stage_is_arranged_as_its_record_says() {
    // Small integers: sums are exact in every order.
    let numbers: Vec<f32> = (0..ROWS * COLUMNS).map(|k| (k * 37 % 9) as f32 - 4.0).collect();
    let input = Tensor::from_slice([ROWS * COLUMNS], &numbers);
    let image = input.reshaped([ROWS, COLUMNS]);
    let definition = centred(Expr::Axis(0));
    let expected = evaluate(&definition, &[&image]).remove(0).to_f64s();
    let mut random = fastrand::Rng::with_seed(3);
    for (name, step) in [("x86-64-v3", 48), ("cortex-m4f", 1)] {
        let (target, blocks) = (target(name), [Block { axis: 0, step }]);
        let kernel = lowered(&definition, &blocks, &target).unwrap();
        assert_eq!((&kernel.chosen, kernel.workloads.len()), (&Chosen::Default, 2));
        let mut records = Records::default();
        for part in &kernel.workloads {
            assert_eq!(part.check(), Ok(()));
            let space = Space::new(part, &target);
            let alone = |schedule| interpreted(&lower_by(part, schedule, &target).unwrap(), &input);
            let point = space.sample(&mut random);
            let (by_default, by_point) = (alone(space.default_schedule()), alone(&point));
            assert!(by_default.data == by_point.data, "{name}: {point:?}");
            // What is left over after whole blocks is none of the part's.
            let elements = ROWS / step * step * part.stage.domain[1];
            let last = part.stage.domain[1] == COLUMNS;
            let numbers = by_default.to_f64s().into_iter().filter(|number| !number.is_nan());
            let kept = if last { elements } else { step };
            assert_eq!((part.written(), numbers.count()), (kept, kept), "{name}");
            records.insert(part.key(), point);
        }
        let other = lowered_with(&definition, &blocks, &target, &records).unwrap();
        assert_eq!(other.chosen, Chosen::Record, "{name}");
        for (part, by) in other.workloads.iter().zip(&other.stages) {
            assert_eq!(records.schedule(&part.key()), Some(by), "{name}");
        }
        for kernel in [kernel, other] {
            assert!(interpreted(&kernel, &input).to_f64s() == expected, "{name}:\n{}", kernel.nest);
        }
    }
}
