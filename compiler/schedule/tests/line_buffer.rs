//! Chains of convolutions through line buffers, against their definitions: only rows of what lies between exist.

use ir::{DType, Tensor};
use loops::{Access, Definition, Expr, Fold, Source, Stage, Stmt, evaluate, interpret, verify};
use schedule::{
    Argument, Around, Chosen, Destination, Kernel, Operand, Records, Schedule, Space, View, Workload,
    line_buffer, lower_by,
};
use targets::Target;

const WIDTH: usize = 7;

/// A 3×3 depthwise convolution of `source`, an image of `height` rows and `channels`, padded by one; `weights` is
/// `[3, 3, channels]`; then a rectifier.
fn depthwise(source: Source, weights: usize, height: usize, stride: usize, channels: usize) -> Stage {
    let at = |out, kernel| Expr::Axis(out) * Expr::int(stride as i64) + Expr::Axis(kernel) - Expr::int(1);
    let (y, x, c) = (at(0, 3), at(1, 4), Expr::Axis(2));
    let inside = y.clone().within(height).and(x.clone().within(WIDTH));
    let weight = Expr::read(Source::Operand(weights), [Expr::Axis(3), Expr::Axis(4), c.clone()]);
    let product = Expr::read(source, [y, x, c]) * weight;
    let domain = [height.div_ceil(stride), WIDTH.div_ceil(stride), channels];
    Stage::reduce(DType::F32, domain, Fold::Sum, [3, 3], Expr::select(inside, product, Expr::f32(0.0)))
        .finished(DType::F32, &Expr::Folded.max(Expr::f32(0.0)))
}

/// A 1×1 convolution of `source` with weights `[channels, outputs]`.
fn pointwise(source: Source, weights: usize, [height, width, channels]: [usize; 3], outputs: usize) -> Stage {
    let weight = Expr::read(Source::Operand(weights), [Expr::Axis(3), Expr::Axis(2)]);
    let product = Expr::read(source, [Expr::Axis(0), Expr::Axis(1), Expr::Axis(3)]) * weight;
    Stage::reduce(DType::F32, [height, width, outputs], Fold::Sum, [channels], product)
}

/// Small integers: sums are exact in every order.
fn values(shape: &[usize], seed: usize) -> Tensor {
    let len = shape.iter().product();
    let values: Vec<f32> = (0..len).map(|k| ((k * 37 + seed * 11) % 9) as f32 - 4.0).collect();
    Tensor::from_slice(shape, &values)
}

fn images(shapes: &[&[usize]]) -> Vec<Tensor> {
    shapes.iter().enumerate().map(|(k, shape)| values(shape, k)).collect()
}

fn operand(k: usize, shape: &[usize]) -> Operand {
    Operand {
        source: Source::Operand(k),
        dtype: DType::F32,
        view: View::contiguous(shape),
        len: shape.iter().product(),
        constant: k > 0,
    }
}

/// The last stage, row-major.
fn whole(definition: &Definition) -> Destination {
    let ty = definition.stages.last().unwrap().ty();
    Destination { view: View::contiguous(&ty.shape), len: ty.elements() }
}

/// Runs the chain through line buffers by the default schedules, and by others; gives the elements of each of them.
fn check(definition: &Definition, operands: &[Tensor], on: &str) -> Vec<usize> {
    check_on(definition, operands, &Target::preset(on).unwrap())
}

fn check_on(definition: &Definition, operands: &[Tensor], target: &Target) -> Vec<usize> {
    let expected = evaluate(definition, &operands.iter().collect::<Vec<_>>()).remove(0);
    let described: Vec<Operand> =
        operands.iter().enumerate().map(|(k, tensor)| operand(k, &tensor.ty.shape)).collect();
    let lowered = |records: &Records| {
        line_buffer("chain", definition, 0, &described, &whole(definition), target, records).unwrap()
    };
    let kernel = lowered(&Records::NONE);
    assert_eq!((&kernel.chosen, kernel.workloads.len()), (&Chosen::Default, definition.stages.len()));
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..4 {
        let mut records = Records::default();
        for part in &kernel.workloads {
            let point = Space::new(part, target).sample(&mut random);
            assert_eq!(rows_alone(part, &lower_by(part, &point, target).unwrap(), operands), {
                let default = Space::new(part, target).default_schedule().clone();
                rows_alone(part, &lower_by(part, &default, target).unwrap(), operands)
            });
            records.insert(part.key(), point);
        }
        let other = lowered(&records);
        assert_eq!(other.chosen, Chosen::Record);
        assert!(
            other
                .workloads
                .iter()
                .zip(&other.stages)
                .all(|(part, by)| records.schedule(&part.key()) == Some(by))
        );
        assert_eq!(
            interpreted(&other, operands).to_f64s(),
            expected.to_f64s(),
            "on {}:\n{}",
            target.name,
            other.nest
        );
    }
    assert_eq!(
        interpreted(&kernel, operands).to_f64s(),
        expected.to_f64s(),
        "on {}:\n{}",
        target.name,
        kernel.nest
    );
    let rings = kernel.nest.buffers.iter().filter(|buffer| buffer.access == Access::Scratch);
    rings.map(|ring| ring.len).collect()
}

/// All rows of a stage, as a search measures it: what is read of the stage before is some numbers. It holds together, and
/// gives all that the chain would keep.
fn rows_alone(part: &Workload, kernel: &Kernel, operands: &[Tensor]) -> Vec<f64> {
    assert_eq!(part.check(), Ok(()));
    let result = kernel.result_argument().unwrap();
    assert_eq!(kernel.nest.buffers[result].len, part.written());
    let text = serde_json::to_string(part).unwrap();
    assert_eq!(&serde_json::from_str::<Workload>(&text).unwrap(), part);
    interpreted(kernel, operands).to_f64s()
}

/// What the kernel writes; of what it does not, there are no numbers.
fn interpreted(kernel: &Kernel, operands: &[Tensor]) -> Tensor {
    let nan = |len: usize| Tensor::from_slice([len], &vec![f32::NAN; len]);
    let mut buffers: Vec<Tensor> = kernel
        .arguments
        .iter()
        .zip(&kernel.nest.buffers)
        .map(|(argument, buffer)| match argument {
            Argument::Source(Source::Operand(k)) => operands[*k].clone(),
            Argument::Packed { source: Source::Operand(k), packing } => {
                evaluate(packing, &[&operands[*k].reshaped([operands[*k].ty.elements()])]).remove(0)
            }
            Argument::Source(Source::Stage(k)) => values(&[buffer.len], *k),
            Argument::Result | Argument::Scratch(_) => nan(buffer.len),
            other => panic!("{other:?}"),
        })
        .collect();
    verify(&kernel.nest, &()).unwrap_or_else(|error| panic!("{error}\n{}", kernel.nest));
    interpret(&kernel.nest, &mut buffers, &()).unwrap_or_else(|error| panic!("{error}\n{}", kernel.nest));
    buffers.swap_remove(kernel.result_argument().unwrap())
}

const MACHINES: [&str; 3] = ["x86-64-v4", "neoverse-n1", "cortex-m4f"];

#[test]
fn a_depthwise_convolution_inside_its_pointwise_consumer() {
    for (on, stride) in MACHINES.iter().flat_map(|on| [(on, 1), (on, 2)]) {
        let (height, channels, outputs) = (9, 20, 33);
        let (rows, columns) = (height / stride + stride - 1, WIDTH / stride + stride - 1);
        let first = depthwise(Source::Operand(0), 1, height, stride, channels);
        let second = pointwise(Source::Stage(0), 2, [rows, columns, channels], outputs);
        let operands = images(&[&[height, WIDTH, channels], &[3, 3, channels], &[channels, outputs]]);
        let rings = check(&Definition::of(vec![first, second]), &operands, on);
        assert_eq!(rings, [columns * channels], "one row");
    }
}

#[test]
fn an_expansion_inside_its_depthwise_consumer() {
    for (on, stride) in MACHINES.iter().flat_map(|on| [(on, 1), (on, 2)]) {
        let (height, inputs, channels) = (8, 5, 24);
        let first = pointwise(Source::Operand(0), 1, [height, WIDTH, inputs], channels);
        let second = depthwise(Source::Stage(0), 2, height, stride, channels);
        let operands = images(&[&[height, WIDTH, inputs], &[inputs, channels], &[3, 3, channels]]);
        let rings = check(&Definition::of(vec![first, second]), &operands, on);
        assert_eq!(rings, [3 * WIDTH * channels], "three rows");
    }
}

#[test]
fn an_inverted_bottleneck_in_one_nest() {
    for on in MACHINES {
        let (height, inputs, channels, outputs) = (6, 4, 17, 8);
        let stages = vec![
            pointwise(Source::Operand(0), 1, [height, WIDTH, inputs], channels),
            depthwise(Source::Stage(0), 2, height, 1, channels),
            pointwise(Source::Stage(1), 3, [height, WIDTH, channels], outputs),
        ];
        let shapes: [&[usize]; 4] =
            [&[height, WIDTH, inputs], &[inputs, channels], &[3, 3, channels], &[channels, outputs]];
        let operands = images(&shapes);
        let mut rings = check(&Definition::of(stages), &operands, on);
        rings.sort_unstable();
        assert_eq!(rings, [WIDTH * channels, 3 * WIDTH * channels]);
    }
}

/// A ring that is larger than the first cache has room between its rows, where the processor fetches ahead; searches know
/// nothing of it, and what they find is taken.
#[test]
fn rows_of_large_rings_lie_apart() {
    let (height, inputs, channels) = (8, 5, 24);
    let first = pointwise(Source::Operand(0), 1, [height, WIDTH, inputs], channels);
    let second = depthwise(Source::Stage(0), 2, height, 1, channels);
    let operands = images(&[&[height, WIDTH, inputs], &[inputs, channels], &[3, 3, channels]]);
    let definition = Definition::of(vec![first, second]);
    let row = WIDTH * channels;
    for (name, small, apart) in [("x86-64-v3", true, 256), ("x86-64-v3", false, 0), ("cortex-a53", true, 0)] {
        let mut target = Target::preset(name).unwrap();
        if small {
            target.caches[0].bytes = 2 * row * size_of::<f32>();
        }
        assert_eq!(check_on(&definition, &operands, &target), [3 * (row + apart)], "{name} {small}");
    }
}

#[test]
fn a_stage_that_reads_all_rows_is_refused() {
    let sum = Expr::read(Source::Stage(0), [Expr::Axis(1), Expr::Axis(0)]);
    let stages = vec![
        Stage::map(DType::F32, [4, 4], Expr::read(Source::Operand(0), [Expr::Axis(0), Expr::Axis(1)])),
        Stage::reduce(DType::F32, [4], Fold::Sum, [4], sum),
    ];
    let target = Target::preset("x86-64-v3").unwrap();
    let definition = Definition::of(stages);
    let error = line_buffer(
        "k",
        &definition,
        0,
        &[operand(0, &[4, 4])],
        &whole(&definition),
        &target,
        &Records::NONE,
    )
    .unwrap_err();
    assert_eq!(error.to_string(), "stage 1 does not read stage 0 at a window of rows");
}

#[test]
fn windows_over_a_ring_are_written_out_as_those_over_a_map() {
    let (height, inputs, channels) = (8, 5, 24);
    let target = Target::preset("x86-64-v3").unwrap();
    let arranged = |stages: Vec<Stage>, shapes: &[&[usize]]| {
        let definition = Definition::of(stages);
        let operands: Vec<Operand> = shapes.iter().enumerate().map(|(k, shape)| operand(k, shape)).collect();
        let place = whole(&definition);
        line_buffer("k", &definition, 0, &operands, &place, &target, &Records::NONE).unwrap().stages
    };
    let map: &[usize] = &[height, WIDTH, channels];
    let over_map = depthwise(Source::Operand(0), 1, height, 1, channels);
    let after = pointwise(Source::Stage(0), 2, [height, WIDTH, channels], 8);
    let over_map = &arranged(vec![over_map, after], &[map, &[3, 3, channels], &[channels, 8]])[0];
    let before = pointwise(Source::Operand(0), 1, [height, WIDTH, inputs], channels);
    let over_ring = depthwise(Source::Stage(0), 2, height, 1, channels);
    let shapes: [&[usize]; 3] = [&[height, WIDTH, inputs], &[inputs, channels], &[3, 3, channels]];
    let over_ring = &arranged(vec![before, over_ring], &shapes)[1];
    assert_eq!((over_ring.unrolled_axes.len(), over_ring), (2, over_map));
}

/// A row of a window is there or not for the whole register tile, which is asked once for it.
#[test]
fn rows_beyond_the_map_are_asked_for_once() {
    fn questions(body: &[Stmt]) -> Vec<usize> {
        let of = |stmt: &Stmt| match stmt {
            Stmt::For { body, .. } => questions(body),
            Stmt::If { then, otherwise, .. } => {
                let mut inside = questions(then);
                inside.extend(questions(otherwise));
                inside.push(then.iter().filter(|stmt| matches!(stmt, Stmt::Set { .. })).count());
                inside
            }
            _ => vec![],
        };
        body.iter().flat_map(of).collect()
    }
    let (height, width, inputs, channels) = (8, WIDTH, 5, 8);
    let before = pointwise(Source::Operand(0), 1, [height, width, inputs], channels);
    let over_ring = depthwise(Source::Stage(0), 2, height, 1, channels);
    let definition = Definition::of(vec![before, over_ring]);
    let operands = [
        operand(0, &[height, width, inputs]),
        operand(1, &[inputs, channels]),
        operand(2, &[3, 3, channels]),
    ];
    let target = Target::preset("x86-64-v3").unwrap();
    let place = whole(&definition);
    let kernel = line_buffer("k", &definition, 0, &operands, &place, &target, &Records::NONE).unwrap();
    let steps = questions(&kernel.nest.body);
    // One for each of three rows: of three columns by seven places all but two, which are beyond the edges.
    assert_eq!(kernel.stages[1].tile, WIDTH);
    assert_eq!(steps, [3 * WIDTH - 2; 3], "{}", kernel.nest);
}

#[test]
fn loops_that_a_part_cannot_stand_in_are_refused() {
    let first = depthwise(Source::Operand(0), 1, 9, 1, 20);
    let second = pointwise(Source::Stage(0), 2, [9, WIDTH, 20], 8);
    let definition = Definition::of(vec![first, second]);
    let operands = [operand(0, &[9, WIDTH, 20]), operand(1, &[3, 3, 20]), operand(2, &[20, 8])];
    let target = Target::preset("x86-64-v3").unwrap();
    let place = whole(&definition);
    let kernel = line_buffer("chain", &definition, 0, &operands, &place, &target, &Records::NONE).unwrap();
    let part = kernel.workloads.last().unwrap();
    let refused = |change: &dyn Fn(&mut Around)| {
        let mut changed = part.clone();
        changed.around.iter_mut().flatten().for_each(change);
        changed.check().unwrap_err()
    };
    let row = &part.around.as_ref().unwrap()[0];
    assert_eq!((row.axis, row.extent, row.step, row.kept), (0, 9, 1, 9));
    assert!(refused(&|around| around.axis = 7).contains("axis 7"));
    assert!(refused(&|around| around.step = 0).contains("by 0"));
    assert!(refused(&|around| around.step = 2).contains("by 2"), "rows left over");
    assert!(refused(&|around| around.kept = 10).contains("10 are kept"), "more than there are");
    assert!(refused(&|around| (around.extent, around.kept) = (10, 10)).contains("leaves its buffer"));
    assert!(refused(&|around| around.extent = usize::MAX).contains("loop around axis 0"));
    let without = Workload { around: None, ..kernel.workloads[0].clone() };
    assert_eq!(without.check(), Err("what only nests have".to_owned()), "a row, and no loop that it is of");
    // What has memory or threads of its own is no part of another kernel.
    let default = Space::new(part, &target).default_schedule().clone();
    let parallel = Schedule { parallel: true, ..default };
    let threads = Target { threads: 2, ..target.clone() };
    assert!(parallel.check(part, &threads).unwrap_err().0.contains("part of another"));
    let alone = Workload { around: None, ..part.clone() };
    assert_eq!((alone.check(), parallel.check(&alone, &threads)), (Ok(()), Ok(())));
    assert_ne!(alone.key(), part.key());
}
