//! Whatever schedule passes the check, the loops that it makes give what the definition says: points of the search
//! space, and schedules that nobody thought of.

use std::collections::BTreeSet;

use fastrand::Rng;
use ir::{DType, Scalar, Tensor, TensorType};
use loops::{Binary, Compare, Definition, Expr, Fold, Nest, Source, Stage};
use proptest::prelude::*;
use schedule::{
    Argument, Destination, Kernel, Loop, Matrix, Operand, Refused, Schedule, Space, View, Winograd, Workload,
    lower_by,
};
use targets::instructions::Table;
use targets::{Cache, Target};

/// A stage and what it reads; whether an operand is a constant.
#[derive(Debug, Clone)]
struct Case {
    stage: Stage,
    operands: Vec<(TensorType, bool)>,
}

impl Case {
    fn workload(&self) -> Workload {
        let operand = |(k, (ty, constant)): (usize, &(TensorType, bool))| Operand {
            source: Source::Operand(k),
            dtype: ty.dtype,
            view: View::contiguous(&ty.shape),
            len: ty.elements(),
            constant: *constant,
        };
        let operands: Vec<Operand> = self.operands.iter().enumerate().map(operand).collect();
        let ty = self.stage.ty();
        let result = Destination { view: View::contiguous(&ty.shape), len: ty.elements() };
        Workload::new("case", &self.stage, &operands, &result)
    }

    fn inputs(&self) -> Vec<Tensor> {
        let mut random = Rng::with_seed(7);
        // Small integers: sums are exact in every order.
        let mut tensor = |ty: &TensorType| {
            let element = |_| Scalar::from_f64(ty.dtype, f64::from(random.i32(-4..=4))).to_le_bytes();
            Tensor::new(ty.clone(), (0..ty.elements()).flat_map(element).collect::<Vec<u8>>())
        };
        self.operands.iter().map(|(ty, _)| tensor(ty)).collect()
    }

    fn expected(&self) -> Tensor {
        let inputs = self.inputs();
        loops::evaluate(&Definition::single(self.stage.clone()), &inputs.iter().collect::<Vec<_>>()).remove(0)
    }

    /// A kernel's loops interpreted; what they write is filled with a pattern that they must overwrite.
    fn interpreted(&self, kernel: &Kernel, nest: &Nest) -> Tensor {
        let inputs = self.inputs();
        let flat = |source: &Source| match source {
            Source::Operand(k) => inputs[*k].reshaped([inputs[*k].ty.elements()]),
            other => panic!("{other:?}"),
        };
        let mut buffers: Vec<Tensor> = kernel
            .arguments
            .iter()
            .zip(&nest.buffers)
            .map(|(argument, buffer)| match argument {
                Argument::Source(source) => flat(source),
                Argument::Packed { source, packing } => {
                    let packed = loops::evaluate(packing, &[&flat(source)]).remove(0);
                    packed.reshaped([packed.ty.elements()])
                }
                Argument::Result | Argument::Scratch(_) => {
                    let bytes = vec![0xFF; buffer.len * buffer.dtype.bytes()];
                    Tensor::new(TensorType::new(buffer.dtype, [buffer.len]), bytes)
                }
            })
            .collect();
        loops::verify(nest, &Table).unwrap_or_else(|error| panic!("{error}\n{nest}"));
        loops::interpret(nest, &mut buffers, &Table)
            .unwrap_or_else(|error| panic!("{error}\n{:?}\n{nest}", kernel.stages));
        buffers[kernel.result_argument().unwrap()].clone()
    }

    fn holds(&self, kernel: &Kernel) {
        let wanted = self.expected().to_f64s();
        for nest in [&kernel.nest].into_iter().chain(&kernel.without_matrices) {
            for (k, (a, b)) in self.interpreted(kernel, nest).to_f64s().iter().zip(&wanted).enumerate() {
                // Tiles of Winograd's round.
                let near = a == b || (a - b).abs() <= 2e-4 * b.abs().max(16.0);
                assert!(near, "element {k} is {a}, not {b}\n{:?}\n{nest}", kernel.stages);
            }
        }
    }
}

fn f32s(shape: &[usize]) -> TensorType {
    TensorType::new(DType::F32, shape)
}

/// Types of factors by their shapes, and what is read of them as it is multiplied.
fn factors(narrow: bool) -> (impl Fn(&[usize]) -> TensorType, impl Fn(Expr) -> Expr) {
    let dtype = if narrow { DType::BF16 } else { DType::F32 };
    let typed = move |shape: &[usize]| TensorType::new(dtype, shape);
    (typed, move |read: Expr| if narrow { read.cast(DType::F32) } else { read })
}

fn read(k: usize, index: &[Expr]) -> Expr {
    Expr::read(Source::Operand(k), index)
}

fn axis(k: usize) -> Expr {
    Expr::Axis(k)
}

/// `body` where every index is on the map, the fold's identity elsewhere.
fn padded(fold: Fold, places: &[(&Expr, usize)], body: Expr) -> Expr {
    let on_map = |(place, extent): &(&Expr, usize)| {
        let not_negative = Expr::compare(Compare::Ge, (*place).clone(), Expr::int(0));
        not_negative.and(Expr::compare(Compare::Lt, (*place).clone(), Expr::int(*extent as i64)))
    };
    let condition = places.iter().map(on_map).reduce(Expr::and).unwrap();
    Expr::select(condition, body, Expr::Const(fold.identity(DType::F32)))
}

/// A window over a padded map: a convolution (dense or by channel), with weights that are known or not, or a maximum.
fn windows() -> impl Strategy<Value = Case> {
    let sizes = (1..12usize, 1..14usize, 1..20usize, 1..20usize, 1..4usize, 1..3usize, 0..2i64);
    (sizes, any::<[bool; 3]>(), 0..3).prop_map(
        |((height, width, inputs, channels, taps, stride, pad), [first, constant, narrow], kind)| {
            let channels = if kind == 0 { channels } else { inputs };
            let (typed, wide) = factors(narrow);
            let window =
                |at: usize, tap: usize| axis(at) * Expr::int(stride as i64) + axis(tap) - Expr::int(pad);
            // Domain: rows, columns, channels, or channels first; then the taps and the channels of the input.
            let (row, column, channel) = if first { (1, 2, 0) } else { (0, 1, 2) };
            let (y, x) = (window(row, 3), window(column, 4));
            let at = |channel: Expr| {
                let place = [y.clone(), x.clone()];
                if first { [&[channel][..], &place].concat() } else { [&place[..], &[channel]].concat() }
            };
            let join = |channels: usize, a: usize, b: usize| {
                if first { vec![channels, a, b] } else { vec![a, b, channels] }
            };
            let (map, fold, weights, product) = match kind {
                0 => (
                    join(inputs, height, width),
                    Fold::Sum,
                    vec![channels, inputs, taps, taps],
                    wide(read(0, &at(axis(5)))) * wide(read(1, &[axis(channel), axis(5), axis(3), axis(4)])),
                ),
                1 => (
                    join(inputs, height, width),
                    Fold::Sum,
                    vec![inputs, taps, taps],
                    wide(read(0, &at(axis(channel)))) * wide(read(1, &[axis(channel), axis(3), axis(4)])),
                ),
                _ => {
                    (join(inputs, height, width), Fold::Max, vec![1, 1, 1], wide(read(0, &at(axis(channel)))))
                }
            };
            let out = |extent: usize| ((extent + 2 * pad as usize).saturating_sub(taps) / stride + 1).max(1);
            let reduction = if kind == 0 { vec![taps, taps, inputs] } else { vec![taps, taps] };
            let body = padded(fold, &[(&y, height), (&x, width)], product);
            let stage =
                Stage::reduce(DType::F32, join(channels, out(height), out(width)), fold, reduction, body);
            let finish = (Expr::Folded + read(2, &[axis(channel)])).max(Expr::f32(0.0));
            let stage = if kind == 2 { stage } else { stage.finished(DType::F32, &finish) };
            let operands = vec![(typed(&map), false), (typed(&weights), constant), (f32s(&[channels]), true)];
            Case { stage, operands }
        },
    )
}

/// A matrix product: either factor transposed, known or not, with something added that may lie strided.
fn products() -> impl Strategy<Value = Case> {
    let sizes = (1..3usize, 1..20usize, 1..40usize, 1..40usize);
    (sizes, any::<[bool; 5]>()).prop_map(
        |((batch, rows, columns, depth), [left, right, constant, strided, narrow])| {
            let (typed, wide) = factors(narrow);
            let (b, i, j, k) = (axis(0), axis(1), axis(2), axis(3));
            let (a_shape, a) = match left {
                true => ([batch, depth, rows], [b.clone(), k.clone(), i]),
                false => ([batch, rows, depth], [b.clone(), i, k.clone()]),
            };
            let (w_shape, w) = match right {
                true => ([columns, depth], [j.clone(), k]),
                false => ([depth, columns], [k, j.clone()]),
            };
            let bias =
                if strided { (vec![columns, 2], vec![j, Expr::int(1)]) } else { (vec![columns], vec![j]) };
            let body = wide(read(0, &a)) * wide(read(1, &w));
            let stage = Stage::reduce(DType::F32, [batch, rows, columns], Fold::Sum, [depth], body)
                .finished(DType::F32, &(Expr::Folded + read(2, &bias.1)));
            let operands = vec![(typed(&a_shape), false), (typed(&w_shape), constant), (f32s(&bias.0), true)];
            Case { stage, operands }
        },
    )
}

/// A sum along any axis, over a part of it.
fn reductions() -> impl Strategy<Value = Case> {
    ((1..6usize, 1..12usize, 1..40usize), 0..3usize, 0..3i64).prop_map(|((a, b, c), along, pad)| {
        let shape = [a, b, c];
        let others: Vec<usize> = (0..3).filter(|&k| k != along).collect();
        let mut index = vec![Expr::int(0); 3];
        others.iter().enumerate().for_each(|(place, &k)| index[k] = axis(place));
        index[along] = axis(2) + axis(3) - Expr::int(pad);
        let place = index[along].clone();
        let domain: Vec<usize> = others.iter().map(|&k| shape[k]).collect();
        let body = padded(Fold::Sum, &[(&place, shape[along])], read(0, &index));
        let stage = Stage::reduce(DType::F32, domain, Fold::Sum, [3, shape[along]], body);
        Case { stage, operands: vec![(f32s(&shape), false)] }
    })
}

/// Elements one by one: of operands that lie in any order, broadcast, or are looked up behind a question.
fn maps() -> impl Strategy<Value = Case> {
    ((1..5usize, 1..8usize, 1..40usize), any::<bool>(), any::<bool>()).prop_map(
        |((a, b, c), turned, edge)| {
            let (x_shape, x) = match turned {
                true => (vec![c, a, b], vec![axis(2), axis(0), axis(1)]),
                false => (vec![a, b, c], vec![axis(0), axis(1), axis(2)]),
            };
            let inside = Expr::compare(Compare::Lt, axis(1), Expr::int(b as i64 - 1));
            let other = read(1, &[axis(1)]);
            let other = if edge { Expr::select(inside, other, Expr::f32(2.0)) } else { other };
            let body = Expr::binary(Binary::Max, read(0, &x) + other, Expr::f32(-1.0));
            let stage = Stage::map(DType::F32, [a, b, c], body);
            Case { stage, operands: vec![(f32s(&x_shape), false), (f32s(&[b]), false)] }
        },
    )
}

fn cases() -> impl Strategy<Value = Case> {
    prop_oneof![3 => windows(), 2 => products(), 1 => reductions(), 1 => maps()]
}

fn target() -> impl Strategy<Value = Target> {
    let machines = ["x86-64-v4", "x86-64-v3", "cortex-a53", "cortex-m55", "cortex-m4f", "rv64gcv"];
    let of_bfloat16 = ["sapphirerapids", "neoverse-v1"];
    let name = prop::sample::select([&machines[..], &of_bfloat16].concat());
    (name, 1..3usize, any::<bool>()).prop_map(|(name, threads, all)| {
        let mut target = Target { threads, ..Target::preset(name).unwrap() };
        // Matrix registers beside vectors that have no dot products.
        if !all && name == "sapphirerapids" {
            target.instructions = vec!["tdpbf16ps".to_string()];
        }
        target
    })
}

/// Schedules that nobody thought of: numbers that may be of axes, and small ones.
fn anything() -> impl Strategy<Value = Schedule> {
    let axis = || prop::option::weighted(0.7, 0..4usize);
    let small = || prop_oneof![4 => 1..4usize, 1 => 0..40usize];
    let unroll = prop_oneof![3 => Just(1usize), 1 => small()];
    let unrolled = prop_oneof![3 => Just(vec![]), 1 => prop::collection::vec(0..6usize, 0..3)];
    let lanes = prop::sample::select(vec![1, 1, 2, 3, 4, 4, 8, 8, 16]);
    let step = prop_oneof![
        5 => (0..5usize).prop_map(Loop::Axis),
        1 => (0..5usize, 0..9usize).prop_map(|(axis, step)| Loop::Panel { axis, step }),
    ];
    let order = prop_oneof![
        Just((0..3).map(Loop::Axis).collect::<Vec<_>>()).prop_shuffle(),
        Just((0..2).map(Loop::Axis).collect::<Vec<_>>()).prop_shuffle(),
        Just((0..1).map(Loop::Axis).collect::<Vec<_>>()),
        prop::collection::vec(step, 0..5),
    ];
    let form = (0..8usize, 0..5usize).prop_map(|(outputs, rows)| Winograd { outputs, rows });
    let around = (unroll, unrolled, [prop::bool::weighted(0.2), prop::bool::weighted(0.5)]);
    let matrix = (0..18usize, 0..36usize).prop_map(|(rows, depth)| Matrix { rows, depth });
    let form = (prop::option::weighted(0.1, form), prop::option::weighted(0.1, matrix));
    (axis(), lanes, small(), axis(), small(), around, order, form).prop_map(
        |(vector_axis, lanes, vectors, tile_axis, tile, around, order, (winograd, matrix))| {
            let (unroll, unrolled_axes, [parallel, prefetch]) = around;
            Schedule {
                vector_axis,
                lanes,
                vectors,
                tile_axis,
                tile,
                unroll,
                group: if matrix.is_some() { 2 } else { 1 },
                matrix,
                unrolled_axes,
                order,
                parallel,
                prefetch,
                winograd,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_default_is_legal_and_right(case in cases(), target in target()) {
        let workload = case.workload();
        prop_assert_eq!(workload.check(), Ok(()));
        let space = Space::new(&workload, &target);
        let kernel = lower_by(&workload, space.default_schedule(), &target);
        case.holds(&kernel.map_err(|refused| TestCaseError::fail(refused.to_string()))?);
    }

    #[test]
    fn points_of_the_space_are_right(case in cases(), target in target(), seed in any::<u64>()) {
        let workload = case.workload();
        let space = Space::new(&workload, &target);
        let mut random = Rng::with_seed(seed);
        let first = space.sample(&mut random);
        let second = space.mutate(&first, &mut random);
        let third = space.cross(&first, &second, &mut random);
        for schedule in [first, second, third] {
            case.holds(&lower_by(&workload, &schedule, &target).unwrap());
            let text = serde_json::to_string(&schedule).unwrap();
            prop_assert_eq!(serde_json::from_str::<Schedule>(&text).unwrap(), schedule);
        }
    }

    #[test]
    fn whatever_passes_the_check_is_right(
        case in cases(),
        target in target(),
        schedules in prop::collection::vec(anything(), 150),
    ) {
        let workload = case.workload();
        for schedule in schedules {
            match lower_by(&workload, &schedule, &target) {
                Ok(kernel) => case.holds(&kernel),
                Err(Refused::Illegal(_)) => (),
                Err(Refused::Unsupported(why)) => panic!("{why}"),
            }
        }
    }
}

/// What random numbers seldom meet: enough of them pass the check for the test above to say something.
#[test]
fn some_of_anything_passes() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let target = Target::preset("x86-64-v3").unwrap();
    let passes = (0..4000)
        .filter(|_| {
            let case = products().new_tree(&mut runner).unwrap().current();
            let schedule = anything().new_tree(&mut runner).unwrap().current();
            schedule.check(&case.workload(), &target).is_ok()
        })
        .count();
    assert!(passes > 10, "{passes} of 4000");
}

/// A convolution with padding on AArch64: what the channels of a pixel are multiplied with comes in one load of four.
#[test]
fn what_four_steps_share_is_loaded_once() {
    let (y, x) = (axis(0) + axis(3) - Expr::int(1), axis(1) + axis(4) - Expr::int(1));
    let product = read(0, &[y.clone(), x.clone(), axis(5)]) * read(1, &[axis(2), axis(5), axis(3), axis(4)]);
    let body = padded(Fold::Sum, &[(&y, 5), (&x, 9)], product);
    let stage = Stage::reduce(DType::F32, [5, 9, 12], Fold::Sum, [3, 3, 8], body);
    let operands = vec![(f32s(&[5, 9, 8]), false), (f32s(&[12, 8, 3, 3]), true)];
    let case = Case { stage, operands };
    let target = Target::preset("cortex-a53").unwrap();
    let workload = case.workload();
    let space = Space::new(&workload, &target);
    let kernel = lower_by(&workload, space.default_schedule(), &target).unwrap();
    case.holds(&kernel);
    let text = kernel.nest.to_string();
    assert!(text.contains("lane<3>"), "{text}");
    let single = |line: &&str| line.contains(": f32 = x0[") && !line.contains("; 4]");
    assert_eq!(text.lines().filter(single).count(), 0, "{text}");
}

/// A sum begins with the first constant that is added to it; the second is added after.
#[test]
fn a_sum_of_two_constants_more_has_both() {
    let body = read(0, &[axis(0), axis(2)]) * read(1, &[axis(2), axis(1)]);
    let finish = Expr::Folded + read(2, &[axis(1)]) + read(3, &[axis(1)]);
    let stage = Stage::reduce(DType::F32, [7, 20], Fold::Sum, [5], body).finished(DType::F32, &finish);
    let constants = [&[5, 20][..], &[20], &[20]].map(|shape| (f32s(shape), true));
    let case = Case { stage, operands: [(f32s(&[7, 5]), false)].into_iter().chain(constants).collect() };
    for name in ["x86-64-v4", "cortex-a53", "cortex-m4f"] {
        let target = Target::preset(name).unwrap();
        let workload = case.workload();
        let space = Space::new(&workload, &target);
        let kernel = lower_by(&workload, space.default_schedule(), &target).unwrap();
        case.holds(&kernel);
        let starts =
            kernel.nest.to_string().lines().filter(|line| line.contains("broadcast<16>(0.0)")).count();
        assert_eq!(starts, 0, "{name}: a sum begins with its bias\n{}", kernel.nest);
    }
}

/// One block of weights is no work for two threads, the rows of the map are.
#[test]
fn the_outermost_loop_keeps_threads_occupied() {
    let body = read(0, &[axis(0), axis(2)]) * read(1, &[axis(2), axis(1)]);
    let stage = Stage::reduce(DType::F32, [196, 64], Fold::Sum, [384], body);
    let case = Case { stage, operands: vec![(f32s(&[196, 384]), false), (f32s(&[384, 64]), true)] };
    let workload = case.workload();
    let schedule = |threads: usize| {
        let target = Target { threads, ..Target::preset("x86-64-v4").unwrap() };
        Space::new(&workload, &target).default_schedule().clone()
    };
    let (alone, shared) = (schedule(1), schedule(2));
    assert_eq!(alone.order.first(), Some(&Loop::Axis(1)), "{alone:?}");
    assert!(!alone.parallel && shared.parallel, "{shared:?}");
    assert_eq!(shared.order.first(), Some(&Loop::Axis(0)), "{shared:?}");
}

/// Four panels of rows would be ten tiles for one thread and twelve for the other; twenty blocks of columns are ten for each.
#[test]
fn the_outermost_loop_of_a_product_keeps_threads_occupied_all_the_time() {
    let schedule = |rows: usize| {
        let mut target = Target { threads: 2, ..Target::preset("x86-64-v3").unwrap() };
        target.caches = vec![
            Cache { bytes: 32 << 10, bytes_per_cycle: 64.0 },
            Cache { bytes: 512 << 10, bytes_per_cycle: 32.0 },
        ];
        default_product(rows, 384, 1536, &target)
    };
    assert!(matches!(schedule(144).order.first(), Some(Loop::Panel { .. })), "{:?}", schedule(144));
    assert_eq!(schedule(128).order.first(), Some(&Loop::Axis(1)), "{:?}", schedule(128));
}

/// Where constants stay near, rows are used up one after the other, but for few rows, which stay near as well, where the
/// processor fetches ahead.
#[test]
fn few_rows_wait_for_the_next_vectors() {
    for (name, rows, outermost) in [("x86-64-v3", 56, 1), ("x86-64-v3", 4096, 0), ("cortex-a53", 56, 0)] {
        let schedule = default_product(rows, 144, 24, &Target::preset(name).unwrap());
        assert_eq!(schedule.order.first(), Some(&Loop::Axis(outermost)), "{name} {rows} {schedule:?}");
    }
}

/// A product of constants with `rows` of `depth` numbers.
fn product(rows: usize, columns: usize, depth: usize) -> Workload {
    let body = read(0, &[axis(0), axis(2)]) * read(1, &[axis(2), axis(1)]);
    let stage = Stage::reduce(DType::F32, [rows, columns], Fold::Sum, [depth], body);
    let operands = vec![(f32s(&[rows, depth]), false), (f32s(&[depth, columns]), true)];
    Case { stage, operands }.workload()
}

/// Its default.
fn default_product(rows: usize, columns: usize, depth: usize, target: &Target) -> Schedule {
    Space::new(&product(rows, columns, depth), target).default_schedule().clone()
}

/// Sixteen channels of a full tile are more statements than sixteen registers bear in one block, eight are not.
#[test]
fn few_channels_are_written_out_as_registers_allow() {
    let written_out = |name: &str, channels: usize| {
        !default_product(196, 96, channels, &Target::preset(name).unwrap()).unrolled_axes.is_empty()
    };
    assert!(written_out("x86-64-v3", 8) && !written_out("x86-64-v3", 16));
    assert!(written_out("cortex-m55", 16));
}

/// A depth that few numbers of steps divide leaves some over; it does not go step by step, nor by twos.
#[test]
fn an_odd_number_of_steps_goes_several_at_once() {
    let target = Target::preset("x86-64-v3").unwrap();
    let unroll = |depth: usize| default_product(49, 160, depth, &target).unroll;
    assert!([563, 934].into_iter().all(|depth| unroll(depth) >= 4), "a prime, and twice a prime");
}

/// Sixteen registers hold the sums of four rows of three vectors, their constants, and one number of a row. Seven rows
/// of one vector would have too few sums under way, and a load for each.
#[test]
fn seven_rows_go_by_four_of_three_vectors() {
    let target = Target::preset("x86-64-v3").unwrap();
    let default = default_product(7, 512, 576, &target);
    assert_eq!((default.tile, default.vectors), (4, 3));
}

/// The default of a depthwise convolution with `side` places each way, whose window of `kernel` columns and rows moves by
/// `stride`.
fn default_depthwise(side: usize, channels: usize, kernel: usize, stride: usize, name: &str) -> Schedule {
    let at = |out, within| axis(out) * Expr::int(stride as i64) + axis(within);
    let body = read(0, &[at(0, 3), at(1, 4), axis(2)]) * read(1, &[axis(3), axis(4), axis(2)]);
    let stage = Stage::reduce(DType::F32, [side, side, channels], Fold::Sum, [kernel, kernel], body);
    let read_side = (side - 1) * stride + kernel;
    let operands =
        vec![(f32s(&[read_side, read_side, channels]), false), (f32s(&[kernel, kernel, channels]), true)];
    Space::new(&Case { stage, operands }.workload(), &Target::preset(name).unwrap())
        .default_schedule()
        .clone()
}

/// A pixel that two windows read is held from one column to the next, beside the sums.
#[test]
fn windows_go_by_as_many_pixels_as_registers_hold_with_what_they_share() {
    let tile = |kernel, stride, name| default_depthwise(48, 96, kernel, stride, name).tile;
    // Sixteen registers: of each place a sum, and a pixel or, by twos over five columns, two.
    assert_eq!((tile(3, 1, "x86-64-v3"), tile(3, 2, "x86-64-v3"), tile(5, 2, "x86-64-v3")), (8, 8, 5));
    // By threes over three columns nothing is shared.
    assert!(tile(3, 3, "x86-64-v3") > 8);
    assert_eq!(tile(3, 1, "cortex-a53"), 16);
}

/// Pixels are used up as they lie in memory; where a window has many rows that the first cache does not hold, or the second
/// cache holds all, each row is read once, some channels at a time.
#[test]
fn depthwise_maps_are_gone_over_by_what_caches_hold() {
    let order = |side, channels, kernel| {
        let schedule = default_depthwise(side, channels, kernel, 1, "x86-64-v3");
        schedule.order.into_iter().map(|one| if let Loop::Axis(axis) = one { axis } else { 9 }).collect()
    };
    let orders: [Vec<usize>; 4] = [order(28, 192, 3), order(28, 240, 5), order(7, 304, 3), order(28, 16, 5)];
    assert_eq!(orders, [[0, 1, 2], [2, 0, 1], [2, 0, 1], [0, 1, 2]]);
}

/// What is measured by instructions or static cycles knows of no instruction cache.
#[test]
fn a_search_writes_out_no_more_than_an_instruction_cache_holds() {
    let target = Target::preset("cortex-a53").unwrap();
    let workload = product(1, 128, 640);
    let space = Space::new(&workload, &target);
    let in_full = Schedule { unrolled_axes: vec![1], unroll: 1, ..space.default_schedule().clone() };
    assert!(in_full.vectors == 8 && space.is_legal(&in_full), "{in_full:?}");
    let mut random = Rng::with_seed(5);
    let mut point = in_full;
    for _ in 0..500 {
        point = space.mutate(&point, &mut random);
        assert!(point.unrolled_axes.is_empty() || point.vectors < 4, "{point:?}");
    }
}

/// With no other rows, a row's own vectors are all that goes on while a sum is added to.
#[test]
fn a_row_alone_has_as_many_sums_as_its_latency_takes() {
    let vectors =
        |name: &str, rows: usize| default_product(rows, 640, 128, &Target::preset(name).unwrap()).vectors;
    assert_eq!((vectors("cortex-a53", 1), vectors("cortex-a72", 1)), (8, 8));
    assert!(vectors("cortex-a53", 64) < 8);
}

/// Numbers that have to be widened one by one cost more than they save; pairs that an instruction takes cost half.
#[test]
fn narrow_factors_pay_where_an_instruction_takes_them() {
    let of = |name: &str, dtype: DType| {
        let wide = |operand, index: [Expr; 2]| read(operand, &index).cast(DType::F32);
        let body = wide(0, [axis(0), axis(2)]) * wide(1, [axis(2), axis(1)]);
        let stage = Stage::reduce(DType::F32, [128, 384], Fold::Sum, [384], body);
        let narrow = |shape: &[usize]| TensorType::new(dtype, shape.to_vec());
        let operands = vec![(narrow(&[128, 384]), false), (narrow(&[384, 384]), true)];
        let workload = Case { stage, operands }.workload();
        let target = Target::preset(name).unwrap();
        let space = Space::new(&workload, &target);
        space.estimate(space.default_schedule())
    };
    let ratio = |name: &str| of(name, DType::BF16) / of(name, DType::F32);
    assert!(ratio("x86-64-v3") > 1.25, "{}", ratio("x86-64-v3"));
    assert!(ratio("sapphirerapids") < 0.6, "{}", ratio("sapphirerapids"));
    assert!(ratio("neoverse-v1") < 0.35, "{}", ratio("neoverse-v1"));
}

/// Vectors along a reduction that leave something over, behind a padding guard: what is left asks the guard, too.
#[test]
fn what_is_left_of_a_horizontal_sum_asks_the_guard() {
    let (y, extent) = (axis(0) + axis(1) - Expr::int(1), 4);
    let body = padded(Fold::Sum, &[(&y, extent)], read(0, &[y.clone(), axis(2)]));
    let stage = Stage::reduce(DType::F32, [extent], Fold::Sum, [3, 11], body);
    let case = Case { stage, operands: vec![(f32s(&[extent, 11]), false)] };
    let target = Target::preset("x86-64-v3").unwrap();
    let schedule = Schedule {
        vector_axis: Some(2),
        lanes: 8,
        tile_axis: Some(0),
        order: vec![Loop::Axis(0)],
        ..Schedule::plain()
    };
    case.holds(&lower_by(&case.workload(), &schedule, &target).unwrap());
}

/// A constant that is added after the fold is not packed: vectors run along it only where it is dense.
#[test]
fn a_strided_constant_of_the_finish_is_not_read_in_vectors() {
    let body = read(0, &[axis(0), axis(2)]) * read(1, &[axis(2), axis(1)]);
    let stage = Stage::reduce(DType::F32, [3, 16], Fold::Sum, [5], body)
        .finished(DType::F32, &(Expr::Folded + read(2, &[axis(1), Expr::int(1)])));
    let operands = vec![(f32s(&[3, 5]), false), (f32s(&[5, 16]), true), (f32s(&[16, 2]), true)];
    let case = Case { stage, operands };
    let target = Target::preset("x86-64-v3").unwrap();
    case.holds(
        &lower_by(&case.workload(), Space::new(&case.workload(), &target).default_schedule(), &target)
            .unwrap(),
    );
}

/// Rows of convolutions of many sizes, with taps beyond the map's ends, by points on matrix registers.
#[test]
fn matrix_registers_of_every_shape_are_right() {
    let (typed, wide) = factors(true);
    let target = Target::preset("sapphirerapids").unwrap();
    let mut random = Rng::with_seed(11);
    let (mut right, mut shapes) = (0, BTreeSet::new());
    for _ in 0..300 {
        let (rows, inputs, channels) = (random.usize(4..40), 2 * random.usize(4..36), random.usize(9..40));
        let (taps, stride, pad) = (random.usize(1..4), random.usize(1..3), random.usize(0..2));
        let x = axis(0) * Expr::int(stride as i64) + axis(2) - Expr::int(pad as i64);
        let product = wide(read(0, &[x.clone(), axis(3)])) * wide(read(1, &[axis(1), axis(2), axis(3)]));
        let out = (rows + 2 * pad - taps) / stride + 1;
        let body = padded(Fold::Sum, &[(&x, rows)], product);
        let stage = Stage::reduce(DType::F32, [out, channels], Fold::Sum, [taps, inputs], body)
            .finished(DType::F32, &(Expr::Folded + read(2, &[axis(1)])));
        let operands = vec![
            (typed(&[rows, inputs]), false),
            (typed(&[channels, taps, inputs]), true),
            (f32s(&[channels]), true),
        ];
        let case = Case { stage, operands };
        let workload = case.workload();
        let space = Space::new(&workload, &target);
        let Some(schedule) = (0..8).map(|_| space.sample(&mut random)).find(|point| point.matrix.is_some())
        else {
            continue;
        };
        let kernel = lower_by(&workload, &schedule, &target).unwrap();
        assert!(kernel.without_matrices.is_some() && kernel.nest.to_string().contains("@tdpbf16ps"));
        case.holds(&kernel);
        right += 1;
        shapes.insert(schedule.matrix);
    }
    assert!(right > 100 && shapes.len() > 50, "{right} kernels of {} shapes", shapes.len());
}
