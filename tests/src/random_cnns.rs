//! Random small convolutional networks, many of whose channels are dead in one way or another.

use ir::{DType, Float, Tensor, TensorType, Value};
use ops::ops::{
    add::Add, average_pool::AveragePool, batch_norm::BatchNorm, clip::Clip, concat::Concat, conv::Conv,
    hard_swish::HardSwish, leaky_relu::LeakyRelu, matmul::Matmul, max_pool::MaxPool, mul::Mul, pad::Pad,
    relu::Relu, reshape::Reshape, sigmoid::Sigmoid, slice::Slice, split::Split, transpose::Transpose,
};
use ops::shape::{Layout, Pool, Window};
use ops::{AnyOp, Graph};

/// Weights and inputs of any magnitude up to 1, the same for the same seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, n: usize) -> usize {
        self.next() as usize % n
    }

    fn float(&mut self) -> f32 {
        self.next() as f32 / (1u64 << 30) as f32 - 1.0
    }

    pub fn tensor(&mut self, shape: &[usize]) -> Tensor {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| self.float()).collect();
        Tensor::from_slice(shape, &values)
    }
}

struct Network {
    graph: Graph,
    random: Random,
}

impl Network {
    fn apply(&mut self, op: impl Into<AnyOp>, operands: &[Value]) -> Value {
        let name = format!("n{}", self.graph.node_count());
        self.graph.apply(name, op.into(), operands).expect("a network's own operators fit")[0]
    }

    fn constant(&mut self, tensor: Tensor) -> Value {
        let name = format!("w{}", self.graph.node_count());
        self.graph.constant(name, tensor)
    }

    fn channels(&self, x: Value) -> usize {
        self.graph.ty(x).shape[1]
    }

    /// Weights `[outputs, inputs, taps...]` and a bias, of which some outputs are dead if a rectifier follows, and some
    /// inputs are not read.
    fn weights(&mut self, shape: &[usize]) -> (Tensor, Tensor) {
        let (outputs, inputs) = (shape[0], shape[1]);
        let taps: usize = shape[2..].iter().product();
        let mut weights: Vec<f32> = (0..outputs * inputs * taps).map(|_| self.random.float()).collect();
        let mut bias: Vec<f32> = (0..outputs).map(|_| self.random.float()).collect();
        for o in 0..outputs {
            let row = &mut weights[o * inputs * taps..(o + 1) * inputs * taps];
            match self.random.below(8) {
                0 => row.fill(0.0),
                1 => {
                    row.iter_mut().for_each(|weight| *weight *= 1e-30);
                    bias[o] = -bias[o].abs();
                }
                2 => bias[o] = -1e3,
                _ => (),
            }
        }
        for c in (0..inputs).filter(|_| inputs > 1) {
            if self.random.below(5) == 0 {
                (0..outputs).for_each(|o| weights[(o * inputs + c) * taps..][..taps].fill(0.0));
            }
        }
        (Tensor::from_slice(shape, &weights), Tensor::from_slice([outputs], &bias))
    }

    fn conv(&mut self, x: Value, outputs: usize, kernel: usize, group: usize) -> Value {
        let inputs = self.channels(x) / group;
        let (weights, bias) = self.weights(&[outputs, inputs, kernel, kernel]);
        let (w, b) = (self.constant(weights), self.constant(bias));
        let window = Window { pads: vec![(kernel / 2, kernel / 2); 2], ..Window::plain(2) };
        let conv = Conv { window, group, layout: Layout::ChannelsFirst };
        self.apply(conv, &[x, w, b])
    }

    fn activated(&mut self, x: Value) -> Value {
        match self.random.below(6) {
            0 => self.apply(Clip::between(0.0, 6.0), &[x]),
            1 => self.apply(HardSwish, &[x]),
            2 => self.apply(LeakyRelu { alpha: Float(0.1) }, &[x]),
            3 => {
                let n = self.channels(x);
                let mut parameter = || {
                    let tensor = self.random.tensor(&[n]);
                    self.constant(tensor)
                };
                let (scale, bias, mean) = (parameter(), parameter(), parameter());
                let variance = self.constant(Tensor::from_slice([n], &vec![0.7f32; n]));
                let normal = self.apply(BatchNorm::default(), &[x, scale, bias, mean, variance]);
                self.apply(Relu, &[normal])
            }
            _ => self.apply(Relu, &[x]),
        }
    }

    /// Of each map.
    fn mean(&mut self, x: Value) -> Value {
        let kernel = self.graph.ty(x).shape[2..].to_vec();
        let pool = Pool { kernel, window: Window::plain(2), layout: Layout::ChannelsFirst };
        self.apply(AveragePool { pool, counted: vec![] }, &[x])
    }

    fn block(&mut self, x: Value) -> Value {
        let channels = self.channels(x);
        match self.random.below(9) {
            0 | 1 => {
                let (outputs, kernel) = (2 + self.random.below(9), 1 + 2 * self.random.below(2));
                let y = self.conv(x, outputs, kernel, 1);
                self.activated(y)
            }
            2 => {
                let y = self.conv(x, channels, 3, channels);
                let y = self.activated(y);
                let outputs = 2 + self.random.below(9);
                self.conv(y, outputs, 1, 1)
            }
            3 => {
                let y = self.conv(x, channels, 1, 1);
                let y = self.activated(y);
                self.apply(Add, &[x, y])
            }
            4 => {
                let mean = self.mean(x);
                let down = self.conv(mean, 2, 1, 1);
                let down = self.activated(down);
                let up = self.conv(down, channels, 1, 1);
                let gate = self.apply(Sigmoid, &[up]);
                self.apply(Mul, &[x, gate])
            }
            5 => {
                let (a, b) = (self.conv(x, 3, 1, 1), self.conv(x, 4, 3, 1));
                let (a, b) = (self.activated(a), self.activated(b));
                self.apply(Concat { axis: 1 }, &[a, b])
            }
            6 => {
                let pool = Pool {
                    kernel: vec![2, 2],
                    window: Window { pads: vec![(0, 1); 2], ..Window::plain(2) },
                    layout: Layout::ChannelsFirst,
                };
                match self.random.below(2) {
                    0 => self.apply(MaxPool { pool }, &[x]),
                    _ => self.apply(AveragePool { pool, counted: vec![] }, &[x]),
                }
            }
            7 => {
                let name = format!("n{}", self.graph.node_count());
                let split = Split { axis: 1, sizes: vec![channels / 2, channels - channels / 2] };
                let halves = self.graph.apply(name, split.into(), &[x]).expect("halves of what there is");
                let a = self.conv(halves[0], 4, 1, 1);
                let a = self.activated(a);
                self.apply(Concat { axis: 1 }, &[a, halves[1]])
            }
            _ => {
                let mut slice = Slice::whole(self.graph.ty(x));
                slice.starts[1] = 1;
                slice.shape[1] = channels - 1;
                let y = self.apply(slice, &[x]);
                let pads = vec![(0, 0), (2, 1), (0, 0), (0, 0)];
                self.apply(Pad { pads, ..Pad::default() }, &[y])
            }
        }
    }
}

/// A network of some blocks over `x: f32[1,4,4,2]`, its last map flattened into a dense layer.
pub fn random_cnn(seed: u64) -> Graph {
    let mut network = Network { graph: Graph::new("cnn"), random: Random::new(seed) };
    let input = network.graph.input("x", TensorType::new(DType::F32, [1, 4, 4, 2]));
    let mut x = network.apply(Transpose { permutation: vec![0, 3, 1, 2] }, &[input]);
    x = network.conv(x, 6, 3, 1);
    for _ in 0..2 + network.random.below(4) {
        x = network.block(x);
    }
    if network.random.below(2) == 0 {
        x = network.mean(x);
    }
    let features = network.graph.ty(x).elements();
    let x = network.apply(Reshape { shape: vec![1, features] }, &[x]);
    let (weights, _) = network.weights(&[features, 3]);
    let w = network.constant(weights);
    let y = network.apply(Matmul, &[x, w]);
    network.graph.output("y", y);
    network.graph
}
