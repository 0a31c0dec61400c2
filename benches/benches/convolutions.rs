//! Layers of real networks: how long one takes to run here, and to compile.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ir::{DType, Tensor, TensorType};
use onnxc::lower::lower;
use ops::Graph;
use ops::ops::conv::Conv;
use ops::shape::{Layout, Window};
use targets::Target;

/// Map extent, channels in and out, kernel, stride, groups.
const LAYERS: &[(&str, [usize; 6])] = &[
    ("resnet 3x3 56x56x64", [56, 64, 64, 3, 1, 1]),
    ("resnet 3x3 14x14x256", [14, 256, 256, 3, 1, 1]),
    ("resnet 3x3 7x7x512", [7, 512, 512, 3, 1, 1]),
    ("mobilenet 1x1 14x14x96 to 576", [14, 96, 576, 1, 1, 1]),
    ("mobilenet 1x1 112x112x32 to 16", [112, 32, 16, 1, 1, 1]),
    ("mobilenet depthwise 3x3 56x56x144", [56, 144, 144, 3, 1, 144]),
];

fn layer([extent, channels, out, kernel, stride, group]: [usize; 6]) -> Graph {
    let f32s = |shape: &[usize]| TensorType::new(DType::F32, shape);
    let mut graph = Graph::new("layer");
    let x = graph.input("x", f32s(&[1, extent, extent, channels]));
    let w_type = f32s(&[out, channels / group, kernel, kernel]);
    let w = graph.constant("w", Tensor::from_slice(w_type.shape.clone(), &vec![0.5f32; w_type.elements()]));
    let pad = kernel / 2;
    let window = Window { strides: vec![stride; 2], dilations: vec![1; 2], pads: vec![(pad, pad); 2] };
    let conv = Conv { window, group, layout: Layout::ChannelsLast };
    let y = graph.apply("conv", conv.into(), &[x, w]).expect("the table's layers are convolutions");
    graph.output("y", y[0]);
    graph
}

fn convolutions(criterion: &mut Criterion) {
    let target = Target::host().expect("this machine can be described");
    for (name, shape) in LAYERS {
        let graph = layer(*shape);
        let lowered = lower(&graph, &target, "layer").expect("convolutions lower everywhere");
        let object = codegen::emit(&lowered.module).expect("convolutions compile everywhere");
        let library = native::Library::load(&object.bytes).expect("the object is for this machine");
        let input = vec![0.5f32; lowered.inputs[0].1.elements() + 16];
        let mut output = vec![0.0f32; lowered.outputs[0].1.elements() + 16];
        let mut arena = vec![0u8; lowered.arena_bytes + codegen::ALIGN];
        let (from, into) = ([input.as_ptr().cast::<u8>()], [output.as_mut_ptr().cast::<u8>()]);
        let start = arena.as_ptr().align_offset(codegen::ALIGN);
        let mut group = criterion.benchmark_group(*name);
        group.throughput(Throughput::Elements(lowered.kernels.iter().map(|kernel| kernel.macs).sum()));
        group.bench_function("run", |bencher| {
            bencher.iter(|| {
                // SAFETY: the buffers have the sizes of the module's types and outlive the call.
                unsafe { library.run("layer", &from, &into, arena[start..].as_mut_ptr()) }
            });
        });
        group.sample_size(10).bench_function("compile", |bencher| {
            bencher.iter(|| codegen::emit(&lower(&graph, &target, "layer").expect("as before").module));
        });
    }
}

criterion_group!(benches, convolutions);
criterion_main!(benches);
