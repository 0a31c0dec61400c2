//! Every stage's loops, interpreted, give what the definition says: the default schedule of operators of all forms,
//! for machines with and without vectors.

use ir::{DType, Scalar, Tensor, TensorType};
use loops::{Binary, Definition, Expr, Fold, Nest, Source, Stage, Stmt};
use ops::AnyOp;
use ops::ops::add::Add;
use ops::ops::arg_reduce::ArgReduce;
use ops::ops::attention::Attention;
use ops::ops::average_pool::AveragePool;
use ops::ops::conv::Conv;
use ops::ops::conv_transpose::ConvTranspose;
use ops::ops::fused::{Fused, Prologue};
use ops::ops::gelu::Gelu;
use ops::ops::hardmax::Hardmax;
use ops::ops::layer_norm::LayerNorm;
use ops::ops::log_softmax::LogSoftmax;
use ops::ops::lp_norm::{LpNorm, Norm};
use ops::ops::lrn::Lrn;
use ops::ops::matmul::Matmul;
use ops::ops::max_pool::MaxPool;
use ops::ops::mean_variance_norm::MeanVarianceNorm;
use ops::ops::pad::{Pad, PadMode};
use ops::ops::reduce::{Reduce, ReduceKind};
use ops::ops::relu::Relu;
use ops::ops::rms_norm::RmsNorm;
use ops::ops::sigmoid::Sigmoid;
use ops::ops::softmax::Softmax;
use ops::ops::transpose::Transpose;
use ops::shape::{Layout, Pool, Window};
use schedule::{Argument, Block, Destination, Kernel, Operand, Schedule, View, Winograd, Workload};
use targets::Target;
use tests::costs::Narrowing;

fn random(ty: &TensorType, seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut data = Vec::with_capacity(ty.bytes());
    for _ in 0..ty.elements() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Small integers: sums are exact in every order.
        data.extend(Scalar::from_f64(ty.dtype, f64::from((state >> 40) as u32 % 9) - 4.0).to_le_bytes());
    }
    Tensor::new(ty.clone(), data)
}

/// Runs `op` on `inputs` by schedules for `target`; `constant[k]` says which inputs are weights.
fn run(op: &AnyOp, inputs: &[Tensor], constant: &[bool], target: &Target) -> Vec<Tensor> {
    let types: Vec<TensorType> = inputs.iter().map(|t| t.ty.clone()).collect();
    let results = op.infer(&types).unwrap();
    let definition = op.meaning(&types).definition(&types, &results);
    let mut known: Vec<(Source, Tensor, bool)> = Vec::new();
    known.extend(definition.tables.iter().enumerate().map(|(k, t)| (Source::Table(k), t.clone(), true)));
    known.extend(inputs.iter().enumerate().map(|(k, t)| (Source::Operand(k), t.clone(), constant[k])));
    for (k, stage) in definition.stages.iter().enumerate() {
        let result = run_stage(stage, &known, target);
        known.push((Source::Stage(k), result, false));
    }
    let stage = |k: usize| known.iter().find(|(s, ..)| *s == Source::Stage(k)).unwrap().1.clone();
    definition.results.iter().map(|&k| stage(k)).collect()
}

fn run_stage(stage: &Stage, known: &[(Source, Tensor, bool)], target: &Target) -> Tensor {
    // Tiles of Winograd's round otherwise: `tiles` below.
    let target = &Target { winograd: false, ..target.clone() };
    let ty = stage.ty();
    let destination = Destination { view: View::contiguous(&ty.shape), len: ty.elements() };
    let kernel = schedule::lower("test", stage, &described(known), &destination, target).unwrap();
    run_kernel(&kernel, known, &ty)
}

fn described(known: &[(Source, Tensor, bool)]) -> Vec<Operand> {
    known.iter().map(|(source, tensor, constant)| operand(*source, &tensor.ty, *constant)).collect()
}

fn operand(source: Source, ty: &TensorType, constant: bool) -> Operand {
    let view = View::contiguous(&ty.shape);
    Operand { source, dtype: ty.dtype, view, len: ty.elements(), constant }
}

/// Interprets a kernel, in both its forms if it has two.
fn run_kernel(kernel: &Kernel, known: &[(Source, Tensor, bool)], ty: &TensorType) -> Tensor {
    let result = run_nest(kernel, &kernel.nest, known, ty);
    if let Some(nest) = &kernel.without_matrices {
        assert_eq!(run_nest(kernel, nest, known, ty), result, "{nest}");
    }
    result
}

/// Interprets one form of a kernel; what it writes is filled with a pattern that it must overwrite.
fn run_nest(kernel: &Kernel, nest: &Nest, known: &[(Source, Tensor, bool)], ty: &TensorType) -> Tensor {
    let find = |source: &Source| known.iter().find(|(s, ..)| s == source).unwrap().1.clone();
    let flat = |t: Tensor| t.reshaped([t.ty.elements()]);
    let filled = |dtype: DType, len: usize| {
        Tensor::new(TensorType::new(dtype, [len]), vec![0xFF; len * dtype.bytes()])
    };
    let mut buffers: Vec<Tensor> = kernel
        .arguments
        .iter()
        .zip(&nest.buffers)
        .map(|(argument, buffer)| match argument {
            Argument::Source(source) => flat(find(source)),
            Argument::Packed { source, packing } => {
                flat(loops::evaluate(packing, &[&flat(find(source))]).remove(0))
            }
            Argument::Result | Argument::Scratch(_) => filled(buffer.dtype, buffer.len),
        })
        .collect();
    loops::interpret(nest, &mut buffers, &targets::instructions::Table)
        .unwrap_or_else(|error| panic!("{error}\n{:?}\n{nest}", kernel.stages));
    // What is printed is what was run.
    assert_eq!(loops::parse(&nest.to_string()).as_ref(), Ok(nest));
    buffers[kernel.result_argument().unwrap()].reshaped(ty.shape.clone())
}

/// Ways to cut a definition into blocks of rows: the default, none, and every axis alone and after the others.
fn blockings(definition: &Definition, result: &Destination, target: &Target) -> Vec<Vec<Block>> {
    let axes = schedule::row_axes(definition);
    let mut all = vec![vec![]];
    all.extend(schedule::default_blocks(definition, result, target));
    for &axis in &axes {
        let others = || axes.iter().filter(move |&&other| other != axis).map(|&axis| Block { axis, step: 1 });
        for step in [1, 3, 4] {
            all.push(vec![Block { axis, step }]);
            all.push(others().chain([Block { axis, step }]).collect());
        }
    }
    all
}

/// All stages in one nest, in every such way.
fn run_rows(op: &AnyOp, inputs: &[Tensor], constant: &[bool], target: &Target) -> Vec<(Vec<Block>, Tensor)> {
    let types: Vec<TensorType> = inputs.iter().map(|t| t.ty.clone()).collect();
    let results = op.infer(&types).unwrap();
    let definition = op.meaning(&types).definition(&types, &results);
    if definition.stages.len() == 1 || results.len() > 1 {
        return vec![];
    }
    let mut known: Vec<(Source, Tensor, bool)> = Vec::new();
    known.extend(definition.tables.iter().enumerate().map(|(k, t)| (Source::Table(k), t.clone(), true)));
    known.extend(inputs.iter().enumerate().map(|(k, t)| (Source::Operand(k), t.clone(), constant[k])));
    let ty = &results[0];
    let destination = Destination { view: View::contiguous(&ty.shape), len: ty.elements() };
    let run = |blocks: Vec<Block>| {
        let operands = described(&known);
        let none = &schedule::Records::NONE;
        let kernel =
            schedule::lower_rows("test", &definition, &blocks, &operands, &destination, target, none);
        let kernel = kernel.unwrap().unwrap_or_else(|| panic!("{op:?}: no rows by {blocks:?}"));
        (blocks, run_kernel(&kernel, &known, ty))
    };
    blockings(&definition, &destination, target).into_iter().map(run).collect()
}

/// One of each kind.
const MACHINES: [&str; 6] = ["x86-64-v4", "x86-64-v3", "cortex-a53", "cortex-m55", "cortex-m4f", "rv32imafc"];

fn check(op: impl Into<AnyOp>, types: &[TensorType], constant: &[bool]) {
    check_for(&MACHINES, &op.into(), types, constant);
}

fn check_for(machines: &[&str], op: &AnyOp, types: &[TensorType], constant: &[bool]) {
    let inputs: Vec<Tensor> = types.iter().enumerate().map(|(k, ty)| random(ty, k as u64 + 7)).collect();
    let wanted = op.eval(&inputs.iter().collect::<Vec<_>>());
    for name in machines {
        let target = Target::preset(name).unwrap();
        for (got, wanted) in run(op, &inputs, constant, &target).iter().zip(&wanted) {
            near(got, wanted, || format!("{op:?} over {types:?} for {name}"));
        }
        for (blocks, got) in run_rows(op, &inputs, constant, &target) {
            near(&got, &wanted[0], || format!("{op:?} over {types:?} for {name} by {blocks:?}"));
        }
    }
}

fn near(got: &Tensor, wanted: &Tensor, of: impl Fn() -> String) {
    for (k, (a, b)) in got.to_f64s().into_iter().zip(wanted.to_f64s()).enumerate() {
        assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "{}: element {k} is {a}, not {b}", of());
    }
}

fn f32s(shape: &[usize]) -> TensorType {
    TensorType::new(DType::F32, shape)
}

fn window(stride: usize, pad: usize) -> Window {
    Window { strides: vec![stride; 2], dilations: vec![1; 2], pads: vec![(pad, pad); 2] }
}

#[test]
fn maps() {
    check(Add, &[f32s(&[2, 5, 33]), f32s(&[33])], &[false, true]);
    check(Add, &[f32s(&[2, 5, 3]), f32s(&[5, 1])], &[false, true]);
    check(Relu, &[f32s(&[1, 7, 100])], &[false]);
    check(Transpose { permutation: vec![0, 2, 1] }, &[f32s(&[2, 17, 5])], &[false]);
}

#[test]
fn convolutions() {
    for layout in [Layout::ChannelsLast, Layout::ChannelsFirst] {
        for (channels, out, group) in [(3, 8, 1), (16, 40, 1), (6, 6, 6), (8, 12, 2), (36, 36, 36)] {
            for (extent, kernel, stride, pad) in
                [(9, 3, 1, 1), (14, 3, 2, 1), (6, 1, 1, 0), (7, 5, 2, 2), (3, 3, 1, 1)]
            {
                let x = f32s(&layout.join(1, channels, &[extent, extent + 1]));
                let w = f32s(&[out, channels / group, kernel, kernel]);
                let op = Conv { window: window(stride, pad), group, layout };
                check(op, &[x, w, f32s(&[out])], &[false, true, true]);
            }
        }
    }
}

#[test]
fn asymmetric_pads_and_dilation() {
    let pads = vec![(0, 2), (3, 1)];
    let op = Conv {
        window: Window { strides: vec![2, 1], dilations: vec![2, 2], pads },
        group: 1,
        layout: Layout::ChannelsLast,
    };
    check(op, &[f32s(&[2, 9, 11, 4]), f32s(&[5, 4, 3, 2])], &[false, true]);
}

#[test]
fn transposed_convolutions() {
    for layout in [Layout::ChannelsLast, Layout::ChannelsFirst] {
        for (stride, group) in [(1, 1), (2, 1), (2, 2)] {
            let op = ConvTranspose {
                window: window(stride, 1),
                output_padding: vec![stride - 1; 2],
                group,
                layout,
            };
            check(op, &[f32s(&layout.join(1, 4, &[5, 6])), f32s(&[4, 6 / group, 3, 3])], &[false, true]);
        }
    }
}

#[test]
fn pools() {
    for layout in [Layout::ChannelsLast, Layout::ChannelsFirst] {
        let x = f32s(&layout.join(1, 20, &[9, 10]));
        let pool = Pool { kernel: vec![3, 3], window: window(2, 1), layout };
        check(MaxPool { pool: pool.clone() }, std::slice::from_ref(&x), &[false]);
        check(AveragePool { pool, counted: vec![(0, 0); 2] }, &[x], &[false]);
    }
}

#[test]
fn products() {
    check(Matmul, &[f32s(&[7, 33]), f32s(&[33, 50])], &[false, true]);
    check(Matmul, &[f32s(&[1, 64]), f32s(&[64, 10])], &[false, true]);
    check(Matmul, &[f32s(&[3, 2, 9, 16]), f32s(&[2, 16, 21])], &[false, false]);
    check(Matmul, &[f32s(&[2, 9, 16]), f32s(&[2, 16, 21])], &[false, true]);
}

#[test]
fn reductions() {
    for kind in [ReduceKind::Sum, ReduceKind::Max, ReduceKind::Mean] {
        for axes in [vec![0], vec![1], vec![2], vec![1, 2], vec![0, 1, 2]] {
            check(Reduce { kind, axes, keep_axes: true }, &[f32s(&[3, 10, 37])], &[false]);
        }
    }
    // Whole blocks of vectors, whole vectors, and a part of one.
    for kind in [ReduceKind::Sum, ReduceKind::Min, ReduceKind::L2, ReduceKind::LogSumExp] {
        check(Reduce { kind, axes: vec![1], keep_axes: false }, &[f32s(&[2, 203])], &[false]);
    }
    check(ArgReduce { axis: 1, ..ArgReduce::default() }, &[f32s(&[3, 10, 5])], &[false]);
    check(ArgReduce { axis: 2, last: true, ..ArgReduce::default() }, &[f32s(&[3, 4, 19])], &[false]);
}

#[test]
fn stages_and_functions() {
    check(Softmax { axis: 1 }, &[f32s(&[4, 19])], &[false]);
    check(Softmax { axis: 1 }, &[f32s(&[2, 5, 18])], &[false]);
    check(Sigmoid, &[f32s(&[3, 50])], &[false]);
    check(Gelu::default(), &[f32s(&[3, 50])], &[false]);
}

#[test]
fn rows() {
    for axis in 0..3 {
        let x = f32s(&[5, 7, 18]);
        check(Softmax { axis }, std::slice::from_ref(&x), &[false]);
        check(LogSoftmax { axis }, std::slice::from_ref(&x), &[false]);
        check(LpNorm { axis, norm: Norm::L2 }, std::slice::from_ref(&x), &[false]);
        check(Hardmax { axis }, &[x], &[false]);
    }
    let epsilon = ir::Float(1e-5);
    for axes in [vec![1], vec![2], vec![1, 2]] {
        let types = [f32s(&[5, 7, 18]), f32s(&[7, 18]), f32s(&[18])];
        let op = LayerNorm { axes: axes.clone(), epsilon, statistics: false };
        check(op, &types, &[false, true, true]);
        check(RmsNorm { axes: axes.clone(), epsilon }, &types[..2], &[false, true]);
        check(MeanVarianceNorm { axes }, &types[..1], &[false]);
    }
    for layout in [Layout::ChannelsLast, Layout::ChannelsFirst] {
        let (alpha, beta, bias) = (ir::Float(0.1), ir::Float(0.75), ir::Float(1.0));
        let op = Lrn { size: 3, alpha, beta, bias, layout };
        check(op, &[f32s(&layout.join(2, 5, &[4, 6]))], &[false]);
    }
    let kind = ReduceKind::LogSumExp;
    check(Reduce { kind, axes: vec![1], keep_axes: false }, &[f32s(&[5, 7, 18])], &[false]);
}

#[test]
fn attention() {
    let scale = ir::Float(0.5);
    let heads = vec![0, 2, 1, 3];
    let q = f32s(&[2, 5, 3, 8]);
    let kv = f32s(&[2, 19, 3, 8]);
    let mask = f32s(&[2, 1, 1, 19]);
    let orders = |key: &[usize]| Attention {
        scale,
        query: heads.clone(),
        key: key.to_vec(),
        value: heads.clone(),
        result: heads.clone(),
    };
    check(orders(&heads), &[q.clone(), kv.clone(), kv.clone(), mask], &[false; 4]);
    // Keys that are neighbours already.
    check(orders(&[0, 1, 3, 2]), &[q, f32s(&[2, 3, 8, 19]), kv], &[false; 3]);
    let plain = vec![0, 1];
    let op =
        Attention { scale, query: plain.clone(), key: plain.clone(), value: plain.clone(), result: plain };
    check(op, &[f32s(&[33, 4]), f32s(&[7, 4]), f32s(&[7, 6])], &[false; 3]);
}

/// `op` with what it multiplies stored in bfloat16, and all that this brings along, each on its own.
fn check_narrow(op: impl Into<AnyOp>, types: &[TensorType], constant: &[bool]) {
    let mut graph = ops::Graph::new("narrow");
    let operand = |(k, ty): (usize, &TensorType)| match constant[k] {
        true => graph.constant("w", random(ty, k as u64 + 7)),
        // Inputs may be read as they are, what is computed is stored narrow.
        false => {
            let input = graph.input("x", ty.clone());
            graph.apply("before", ops::ops::neg::Neg.into(), &[input]).unwrap()[0]
        }
    };
    let operands: Vec<ir::Value> = types.iter().enumerate().map(operand).collect();
    let result = graph.apply("op", op.into(), &operands).unwrap()[0];
    graph.output("y", result);
    let options = rewrite::Options {
        strategy: rewrite::Strategy::Off,
        precision: rewrite::Precision::Bf16,
        ..rewrite::Options::default()
    };
    let narrow = rewrite::optimize(&graph, &Narrowing::EVERYWHERE, &options).unwrap().graph;
    let mut factors = 0;
    for id in narrow.ids() {
        let ir::NodeKind::Apply(op) = &narrow.node(id).kind else { continue };
        let operands = narrow.operands(id);
        let types = narrow.types(&operands);
        let constant: Vec<bool> = operands.iter().map(|&v| narrow.constant_value(v).is_some()).collect();
        factors += types.iter().filter(|ty| ty.dtype == DType::BF16).count();
        check_for(&MACHINES, op, &types, &constant);
        check_for(&["sapphirerapids", "neoverse-v1"], op, &types, &constant);
    }
    assert!(factors >= 2, "nothing is stored in bfloat16:\n{}", ir::print(&narrow));
}

#[test]
fn narrow_products() {
    // Odd depths leave half a pair over, few columns half a vector.
    for depth in [1, 2, 33, 64] {
        check_narrow(Matmul, &[f32s(&[7, depth]), f32s(&[depth, 50])], &[false, true]);
    }
    check_narrow(Matmul, &[f32s(&[2, 9, 16]), f32s(&[2, 16, 21])], &[false, true]);
    check_narrow(Matmul, &[f32s(&[2, 9, 16]), f32s(&[2, 16, 21])], &[false, false]);
    for layout in [Layout::ChannelsLast, Layout::ChannelsFirst] {
        for (channels, out, group) in [(3, 19, 1), (16, 40, 1), (36, 36, 36), (6, 34, 2)] {
            for (extent, kernel, stride, pad) in [(9, 3, 1, 1), (14, 3, 2, 1), (6, 1, 1, 0), (7, 5, 2, 2)] {
                let x = f32s(&layout.join(1, channels, &[extent, extent + 1]));
                let w = f32s(&[out, channels / group, kernel, kernel]);
                let op = Conv { window: window(stride, pad), group, layout };
                check_narrow(op, &[x, w, f32s(&[out])], &[false, true, true]);
            }
        }
    }
}

#[test]
fn narrow_attention() {
    let heads = vec![0, 2, 1, 3];
    let order = || heads.clone();
    let op =
        Attention { scale: ir::Float(0.5), query: order(), key: order(), value: order(), result: order() };
    let kv = f32s(&[2, 19, 3, 8]);
    check_narrow(op, &[f32s(&[2, 5, 3, 8]), kv.clone(), kv], &[false; 3]);
}

#[test]
fn groups_of_bfloat16_are_summed_by_one_instruction() {
    let types = [DType::BF16, DType::BF16].map(|dtype| TensorType::new(dtype, [40, 40]));
    let (row, column, depth) = (Expr::Axis(0), Expr::Axis(1), Expr::Axis(2));
    let read = |operand, index: [&Expr; 2]| {
        Expr::read(Source::Operand(operand), index.map(Clone::clone)).cast(DType::F32)
    };
    let product = read(0, [&row, &depth]) * read(1, [&depth, &column]);
    let stage = Stage::reduce(DType::F32, [40, 40], Fold::Sum, [40], product);
    let operands = described(&[
        (Source::Operand(0), random(&types[0], 1), false),
        (Source::Operand(1), random(&types[1], 2), true),
    ]);
    let destination = Destination { view: View::contiguous(&[40, 40]), len: 1600 };
    let group = |target: &str| {
        let target = Target::preset(target).unwrap();
        schedule::lower("test", &stage, &operands, &destination, &target).unwrap().stages[0].group
    };
    let targets = ["sapphirerapids", "neoverse-v1", "x86-64-v4", "cortex-m4f"];
    assert_eq!(targets.map(group), [2, 4, 1, 1]);
}

#[test]
fn pads() {
    for mode in [PadMode::Constant, PadMode::Reflect, PadMode::Edge] {
        let pads = vec![(0, 0), (1, 2), (3, 1), (0, 0)];
        check(Pad { pads, mode, value: None }, &[f32s(&[1, 5, 6, 17])], &[false]);
        let pads = vec![(0, 0), (0, 0), (2, 1), (2, 2)];
        check(Pad { pads, mode, value: None }, &[f32s(&[1, 3, 6, 17])], &[false]);
    }
}

/// Of Winograd's tiles with so many outputs along each side: the largest error, of the result's largest magnitude. The
/// bounds of docs/numerics.md.
const TILES: [(usize, f64); 3] = [(2, 4e-6), (4, 2e-5), (6, 1e-4)];

/// Numbers that are no small integers.
fn fractions(ty: &TensorType, seed: u64) -> Tensor {
    let (fine, coarse) = (random(ty, seed), random(ty, seed ^ 0xA5A5));
    let values = fine.to_f64s().into_iter().zip(coarse.to_f64s()).map(|(a, b)| 0.13 * a + 0.71 * b);
    let bytes = values.flat_map(|value| Scalar::from_f64(ty.dtype, value).to_le_bytes());
    Tensor::new(ty.clone(), bytes.collect::<Vec<u8>>())
}

/// `op` with another tensor added to its result, and a rectifier behind.
fn with_residual(op: AnyOp, operands: usize) -> AnyOp {
    let residual = Expr::read(Source::Operand(operands), [0, 1, 2, 3].map(Expr::Axis));
    let zero = Expr::constant(DType::F32, 0.0);
    let epilogue = Expr::Binary(Binary::Max, Box::new(zero), Box::new(Expr::Folded + residual));
    Fused { root: Box::new(op), root_operands: operands, epilogue, ..Fused::default() }.into()
}

/// The same over a map and a residual that are stored in bfloat16, as its result is.
fn with_narrow_residual(op: AnyOp, operands: usize) -> AnyOp {
    let read = |k: usize| Expr::read(Source::Operand(k), [0, 1, 2, 3].map(Expr::Axis)).cast(DType::F32);
    let zero = Expr::constant(DType::F32, 0.0);
    let epilogue = Expr::Binary(Binary::Max, Box::new(zero), Box::new(Expr::Folded + read(operands)));
    let prologues = vec![Prologue { operand: 0, body: read(0), dtype: DType::F32 }];
    let (root, epilogue) = (Box::new(op), epilogue.cast(DType::BF16));
    Fused { root, root_operands: operands, epilogue, dtype: DType::BF16, prologues }.into()
}

/// Holds a convolution of 3 × 3 taps through tiles of every size, in blocks of every height, to the reference.
fn check_tiles(op: &AnyOp, types: &[TensorType], constant: &[bool], target: &Target) {
    let inputs: Vec<Tensor> = types.iter().enumerate().map(|(k, ty)| fractions(ty, k as u64 + 3)).collect();
    let results = op.infer(types).unwrap();
    let definition = op.meaning(types).definition(types, &results);
    let [stage] = &definition.stages[..] else { panic!("{op:?} has several stages") };
    let known: Vec<(Source, Tensor, bool)> =
        inputs.iter().enumerate().map(|(k, t)| (Source::Operand(k), t.clone(), constant[k])).collect();
    let wanted = op.eval(&inputs.iter().collect::<Vec<_>>()).remove(0).to_f64s();
    let largest = wanted.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
    let ty = &results[0];
    let destination = Destination { view: View::contiguous(&ty.shape), len: ty.elements() };
    let workload = Workload::new("test", stage, &described(&known), &destination);
    let usual =
        schedule::lower("test", stage, &described(&known), &destination, target).unwrap().stages.remove(0);
    for (outputs, bound) in TILES {
        let all = ty.shape[1].div_ceil(outputs);
        for rows in std::collections::BTreeSet::from([1, all.div_ceil(2), all]) {
            let form = Winograd { outputs, rows };
            let tiled = Schedule { winograd: Some(form), ..usual.clone() };
            let kernel = schedule::lower_by(&workload, &tiled, target).unwrap();
            let got = run_kernel(&kernel, &known, ty).to_f64s();
            for (k, (a, b)) in got.into_iter().zip(&wanted).enumerate() {
                let error = (a - b).abs() / largest;
                let rounded = if ty.dtype == DType::BF16 { 0.5f64.powi(8) } else { 0.0 };
                assert!(
                    error <= bound + rounded,
                    "{op:?} over {types:?} by {form:?}: {error:.1e} at {k}: {a}, not {b}"
                );
            }
        }
    }
}

#[test]
fn tiles() {
    for name in ["x86-64-v4", "cortex-a53"] {
        for threads in [1, 3] {
            let target = Target { threads, ..Target::preset(name).unwrap() };
            for (height, width, channels, out) in [(4, 5, 4, 8), (7, 10, 5, 20), (13, 6, 3, 33)] {
                for pads in [vec![(1, 1), (1, 1)], vec![(0, 0), (0, 0)], vec![(0, 1), (2, 1)]] {
                    let window = Window { strides: vec![1; 2], dilations: vec![1; 2], pads };
                    let op = AnyOp::from(Conv { window, group: 1, layout: Layout::ChannelsLast });
                    let mut types =
                        vec![f32s(&[1, height, width, channels]), f32s(&[out, channels, 3, 3]), f32s(&[out])];
                    types.push(op.infer(&types).unwrap().remove(0));
                    let constant = [false, true, true, false];
                    check_tiles(&with_residual(op.clone(), 3), &types, &constant, &target);
                    types[0].dtype = DType::BF16;
                    types[3].dtype = DType::BF16;
                    check_tiles(&with_narrow_residual(op, 3), &types, &constant, &target);
                }
            }
        }
    }
}

/// A convolution of channels-last maps with `window` over `types`, as it is lowered by default.
fn default_of(window: Window, types: &[TensorType], target: &Target) -> (Workload, Schedule) {
    let op = AnyOp::from(Conv { window, group: 1, layout: Layout::ChannelsLast });
    let results = op.infer(types).unwrap();
    let definition = op.meaning(types).definition(types, &results);
    let operands: Vec<Operand> =
        types.iter().enumerate().map(|(k, ty)| operand(Source::Operand(k), ty, k > 0)).collect();
    let destination = Destination { view: View::contiguous(&results[0].shape), len: results[0].elements() };
    let stage = &definition.stages[0];
    let lowered = schedule::lower("test", stage, &operands, &destination, target);
    (Workload::new("test", stage, &operands, &destination), lowered.unwrap().stages.remove(0))
}

/// Whether a place is on the map is asked outside of the register tile: the same tile as without edges.
#[test]
fn edges_take_no_registers() {
    let mut target = Target::preset("x86-64-v3").unwrap();
    target.caches.truncate(2);
    target.caches[1].bytes = 512 << 10;
    let tile = |extent: usize, pads: (usize, usize)| {
        let window = Window { strides: vec![2; 2], dilations: vec![1; 2], pads: vec![pads; 2] };
        let types = [f32s(&[1, extent, extent, 512]), f32s(&[512, 512, 3, 3]), f32s(&[512])];
        let schedule = default_of(window, &types, &target).1;
        (schedule.tile, schedule.vectors)
    };
    assert_eq!(tile(14, (1, 1)), tile(15, (0, 0)));
    assert_eq!(tile(14, (1, 1)), (4, 3));
}

/// Of several blocks threads take whole ones, of a single one a part of each stage's loops.
#[test]
fn threads_share_out_blocks_or_the_stages_of_one() {
    let target = Target { threads: 2, ..Target::preset("x86-64-v4").unwrap() };
    let window = Window { strides: vec![1; 2], dilations: vec![1; 2], pads: vec![(1, 1); 2] };
    let types = [f32s(&[1, 16, 16, 512]), f32s(&[512, 512, 3, 3]), f32s(&[512])];
    let (workload, usual) = default_of(window, &types, &target);
    let loops = |rows: usize| {
        let tiled = Schedule { winograd: Some(Winograd { outputs: 4, rows }), ..usual.clone() };
        let nest = schedule::lower_by(&workload, &tiled, &target).unwrap().nest;
        nest.body.iter().map(|stmt| matches!(stmt, Stmt::For { parallel: true, .. })).collect::<Vec<_>>()
    };
    assert_eq!(loops(2), [true]);
    // The padded map, sums along its columns and rows, products, their sums along rows and columns.
    assert_eq!(loops(4), [true; 6]);
}
