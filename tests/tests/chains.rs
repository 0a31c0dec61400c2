//! Kernels that are computed into one another row by row, and on several threads, give what the reference evaluator
//! says: random inverted bottlenecks for a machine on which everything is chained that can be. So do convolutions in
//! Winograd's tiles.

use ir::{DType, Float, Tensor, TensorType, Value};
use onnxc::{Artifact, Model, Options, Watch};
use ops::Graph;
use ops::ops::{add::Add, clip::Clip, conv::Conv, hard_swish::HardSwish};
use ops::shape::{Layout, Window};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use targets::Target;
use tests::random_cnns::Random;
use tests::values::compare;

const TOLERANCE: f64 = 1e-4;

/// A network of blocks of this many channels, window, stride and expansion each.
#[derive(Debug, Clone)]
struct Block {
    channels: usize,
    taps: usize,
    stride: usize,
    expansion: usize,
    residual: bool,
}

fn any_block() -> impl Strategy<Value = Block> {
    (2usize..24, prop_oneof![Just(3usize), Just(5)], 1usize..3, 1usize..4, any::<bool>()).prop_map(
        |(channels, taps, stride, expansion, residual)| Block { channels, taps, stride, expansion, residual },
    )
}

struct Network {
    graph: Graph,
    random: Random,
}

impl Network {
    fn conv(&mut self, x: Value, out: usize, taps: usize, stride: usize, depthwise: bool) -> Value {
        let channels = self.graph.ty(x).shape[1];
        let (group, per_group) = if depthwise { (channels, 1) } else { (1, channels) };
        let name = format!("c{}", self.graph.node_count());
        let weights = self.random.tensor(&[out, per_group, taps, taps]);
        let w = self.graph.constant("", weights);
        let bias = self.random.tensor(&[out]);
        let b = self.graph.constant("", bias);
        let window =
            Window { strides: vec![stride; 2], dilations: vec![1; 2], pads: vec![(taps / 2, taps / 2); 2] };
        let op = Conv { window, group, layout: Layout::ChannelsFirst };
        self.graph.apply(name, op.into(), &[x, w, b]).unwrap()[0]
    }

    fn block(&mut self, x: Value, block: &Block) -> Value {
        let inner = block.channels * block.expansion;
        let expanded = self.conv(x, inner, 1, 1, false);
        let clip = Clip { min: Float(0.0), max: Float(6.0) };
        let expanded = self.graph.apply("", clip.into(), &[expanded]).unwrap()[0];
        let windowed = self.conv(expanded, inner, block.taps, block.stride, true);
        let windowed = self.graph.apply("", HardSwish.into(), &[windowed]).unwrap()[0];
        let projected = self.conv(windowed, block.channels, 1, 1, false);
        match block.residual && self.graph.ty(projected) == self.graph.ty(x) {
            true => self.graph.apply("", Add.into(), &[projected, x]).unwrap()[0],
            false => projected,
        }
    }
}

fn network(blocks: &[Block], extents: (usize, usize), seed: u64) -> Graph {
    let mut network = Network { graph: Graph::new("network"), random: Random::new(seed) };
    let mut x = network.graph.input("x", TensorType::new(DType::F32, [1, 3, extents.0, extents.1]));
    for block in blocks {
        x = network.block(x, block);
    }
    network.graph.output("y", x);
    network.graph
}

/// A machine on which beginning a kernel is so dear that everything is chained that can be, and worth threads.
fn slow_starts(threads: usize) -> Target {
    let mut target = Target::host().unwrap();
    target.threads = threads;
    target.costs.start = 1e9;
    target
}

fn compiled(graph: &Graph, target: &Target) -> Result<Artifact, String> {
    let model = Model { sha256: String::new() };
    let (options, mut watch) = (Options::default(), Watch::default());
    onnxc::compile_graph(graph.clone(), model, "model", target, &options, &mut watch)
        .map_err(|diagnostics| diagnostics.to_string())
}

/// The outputs on so many threads as the library is made for, and on one.
fn outputs(artifact: &Artifact, inputs: &[Tensor]) -> (Vec<Tensor>, Vec<Tensor>) {
    let mut alone = artifact.metadata.clone();
    alone.threads = 1;
    let run = |metadata| onnxc::in_process(&artifact.object, metadata, inputs).unwrap().outputs;
    (run(&artifact.metadata), run(&alone))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn chained_rows_are_the_reference(
        blocks in proptest::collection::vec(any_block(), 1..4),
        height in 3usize..14,
        width in 3usize..14,
        seed in 1u64..1000,
    ) {
        let graph = network(&blocks, (height, width), seed);
        let x = [Random::new(seed + 1).tensor(&graph.node(graph.inputs()[0]).types[0].shape)];
        let wanted = ops::evaluate(&graph, &x);
        for threads in 1..=3 {
            let artifact = compiled(&graph, &slow_starts(threads)).map_err(TestCaseError::fail)?;
            let kernels: Vec<&str> = artifact.metadata.kernels.iter().map(|k| k.kernel.as_str()).collect();
            prop_assert!(kernels.iter().any(|kernel| kernel.contains("conv_conv")), "{:?}", kernels);
            let (together, alone) = outputs(&artifact, &x);
            prop_assert_eq!(&together, &alone, "threads give other bits");
            prop_assert_eq!(compare(&wanted[0], &together[0], TOLERANCE), Ok(()));
        }
    }
}

/// Of maps that are one block of tiles threads share out each stage, of larger ones the blocks.
#[cfg(target_arch = "x86_64")]
#[test]
fn tiles_on_threads_are_the_reference() {
    for (extent, channels) in [(7, 256), (14, 128), (56, 32)] {
        let mut network = Network { graph: Graph::new("network"), random: Random::new(extent as u64) };
        let x = network.graph.input("x", TensorType::new(DType::F32, [1, channels, extent, extent]));
        let y = network.conv(x, channels, 3, 1, false);
        network.graph.output("y", y);
        let graph = network.graph;
        let x = [Random::new(1).tensor(&[1, channels, extent, extent])];
        let wanted = ops::evaluate(&graph, &x);
        for threads in [2, 3] {
            let target = Target { threads, ..Target::host().unwrap() };
            let artifact = compiled(&graph, &target).unwrap();
            assert_eq!(artifact.metadata.threads, threads);
            let (together, alone) = outputs(&artifact, &x);
            assert_eq!(together, alone, "{extent}: threads give other bits");
            assert_eq!(compare(&wanted[0], &together[0], TOLERANCE), Ok(()), "{extent}");
        }
    }
}
