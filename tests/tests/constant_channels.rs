//! Channels without effect are dropped, and every output stays the same to the bit: by the reference evaluator, and in
//! compiled code.

use std::path::{Path, PathBuf};

use ir::{Tensor, TensorType};
use onnxc::{Artifact, Options, Watch};
use rewrite::ConstantChannels;
use rewrite::channels::eliminate;
use targets::Target;
use tests::random_cnns::{Random, random_cnn};

const NETWORKS: u64 = 400;

#[test]
fn random_networks_give_the_same_bits_without_their_dead_channels() {
    let (mut zero, mut unread, mut narrower) = (0, 0, 0);
    for seed in 0..NETWORKS {
        let graph = random_cnn(seed);
        let Some(eliminated) = eliminate(&graph, ConstantChannels::default(), 1).unwrap() else { continue };
        assert_eq!(ir::verify(&eliminated.graph), Ok(()), "seed {seed}");
        narrower += 1;
        zero += eliminated.dropped.iter().map(|node| node.zero).sum::<usize>();
        unread += eliminated.dropped.iter().map(|node| node.channels - node.zero).sum::<usize>();
        for input in 0..3 {
            let x = [Random::new(input).tensor(&graph.node(graph.inputs()[0]).types[0].shape)];
            let (all, fewer) = (ops::evaluate(&graph, &x), ops::evaluate(&eliminated.graph, &x));
            assert_eq!(numbers(&all), numbers(&fewer), "seed {seed}\n{}", ir::print_elided(&graph));
        }
        assert!(eliminate(&graph, ConstantChannels::Kept, 1).unwrap().is_none(), "seed {seed}");
    }
    // The networks would prove little if there were nothing to drop.
    assert!(narrower > NETWORKS / 2 && zero > 200 && unread > 200, "{narrower}, {zero}, {unread}");
}

/// A convolution of which the last `zero` channels never get above zero, and one that reads it.
fn with_dead_channels(channels: usize, zero: usize) -> ops::Graph {
    let list = |value: &dyn Fn(usize) -> f32| {
        (0..channels).map(|c| format!("{:?}", value(c))).collect::<Vec<_>>().join(", ")
    };
    let weights = list(&|c| if c < channels - zero { 1.0 + c as f32 / 8.0 } else { 0.0 });
    let bias = list(&|c| if c < channels - zero { 0.5 } else { -1.0 });
    let read = list(&|c| 1.0 + c as f32 / 16.0);
    let pointwise = r#"{"window":{"strides":[1,1],"dilations":[1,1],"pads":[[0,0],[0,0]]},"group":1}"#;
    ir::parse(&format!(
        r#"graph @dead(%x "x": f32[1,1,2,2]) {{
  %w "w" = constant f32[{channels},1,1,1] [{weights}]
  %b "b" = constant f32[{channels}] [{bias}]
  %c "conv" = conv {pointwise} %x, %w, %b : f32[1,{channels},2,2]
  %r "relu" = relu %c : f32[1,{channels},2,2]
  %v "v" = constant f32[2,{channels},1,1] [{read}, {read}]
  %d "reader" = conv {pointwise} %r, %v : f32[1,2,2,2]
  return %d "y"
}}
"#
    ))
    .unwrap()
}

#[test]
fn channels_stay_where_fewer_are_no_fewer_vectors() {
    let x = [Tensor::from_slice(vec![1, 1, 2, 2], &[0.5f32, -1.0, 2.0, 3.0])];
    // Of 40 with some dead, by how many are taken at once: how many go.
    for (zero, at_once, gone) in
        [(6, 1, 6), (6, 4, 4), (6, 8, 6), (1, 4, 0), (1, 8, 0), (9, 8, 8), (39, 8, 38)]
    {
        let graph = with_dead_channels(40, zero);
        let eliminated = eliminate(&graph, ConstantChannels::default(), at_once).unwrap();
        let dropped = eliminated.as_ref().map_or(0, |eliminated| eliminated.dropped[0].channels);
        assert_eq!(dropped, gone, "{zero} dead, {at_once} at once");
        let Some(eliminated) = eliminated else { continue };
        assert_eq!(numbers(&ops::evaluate(&graph, &x)), numbers(&ops::evaluate(&eliminated.graph, &x)));
        let again = eliminate(&eliminated.graph, ConstantChannels::default(), at_once).unwrap();
        assert!(again.is_none(), "{zero} dead, {at_once} at once");
    }
}

/// Where rows of a map are fetched by lines, and not on a microcontroller.
#[test]
fn targets_with_caches_keep_whole_vectors() {
    let saved = |name: &str| {
        let model = onnxc::Model { sha256: String::new() };
        let (target, options) = (Target::preset(name).unwrap(), Options::default());
        let graph = with_dead_channels(40, 1);
        let compiled =
            onnxc::compile_graph(graph, model, "dead", &target, &options, &mut Watch::default()).unwrap();
        compiled.metadata.macs_saved
    };
    assert_eq!((saved("x86-64-v3"), saved("cortex-a53")), (0, 0));
    assert!(saved("cortex-m55") > 0 && saved("rv32imafc") > 0);
}

/// Equal as numbers: of which sign a zero is does not matter, and a NaN is a NaN.
fn numbers(tensors: &[Tensor]) -> Vec<Vec<Option<f64>>> {
    let number = |value: f64| Some(value).filter(|value| !value.is_nan());
    tensors.iter().map(|tensor| tensor.to_f64s().into_iter().map(number).collect()).collect()
}

#[test]
fn with_nothing_taken_for_granted_infinities_arrive_where_they_did() {
    let mut narrower = 0;
    for seed in 0..NETWORKS {
        let graph = random_cnn(seed);
        let Some(eliminated) = eliminate(&graph, ConstantChannels::Exact, 1).unwrap() else { continue };
        narrower += 1;
        for special in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX] {
            let shape = &graph.node(graph.inputs()[0]).types[0].shape;
            let mut values = Random::new(seed).tensor(shape).to_vec::<f32>().unwrap();
            values[seed as usize % 32] = special;
            let x = [Tensor::from_slice(shape.clone(), &values)];
            let (all, fewer) = (ops::evaluate(&graph, &x), ops::evaluate(&eliminated.graph, &x));
            assert_eq!(numbers(&all), numbers(&fewer), "seed {seed}\n{}", ir::print_elided(&graph));
        }
    }
    assert!(narrower > 10, "{narrower}");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn compiled_random_networks_give_the_same_bits() {
    let target = Target::host().unwrap();
    for seed in 0..40 {
        let graph = random_cnn(seed);
        let compiled = |channels: ConstantChannels| {
            let model = onnxc::Model { sha256: String::new() };
            // No rule runs: which forms are cheapest depends on how wide a map is, and the order of sums on the form.
            let rewriting = rewrite::Options { channels, most_iterations: 0, ..rewrite::Options::default() };
            let options = Options { rewriting, ..Options::default() };
            onnxc::compile_graph(graph.clone(), model, "cnn", &target, &options, &mut Watch::default())
                .unwrap()
        };
        let (all, fewer) = (compiled(ConstantChannels::Kept), compiled(ConstantChannels::default()));
        same_bits(&all, &fewer, &random_inputs(&all, 5), &format!("seed {seed}"));
    }
}

#[cfg(target_arch = "x86_64")]
fn with(channels: ConstantChannels) -> Options {
    let rewriting = rewrite::Options { channels, ..rewrite::Options::default() };
    Options { rewriting, ..Options::default() }
}

/// The model that the elimination was written for, if it is there, and one of our own that is like it.
#[cfg(target_arch = "x86_64")]
#[test]
fn models_give_the_same_bits_and_lose_multiplications() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Whether tiles pay depends on how wide a map is, and tiles round otherwise.
    let target = Target { winograd: false, ..Target::host().unwrap() };
    let shared = root.join("../../shared/models");
    let models: [(PathBuf, f64); 2] =
        [(root.join("models/sparse.onnx"), 0.3), (shared.join("real/tiny_vww_f32.onnx"), 0.45)];
    for (model, least) in models.iter().filter(|(model, _)| model.exists()) {
        let compiled = |channels: ConstantChannels| {
            let options = with(channels);
            onnxc::compile(model, &target, &options, &mut Watch::default()).unwrap()
        };
        let [all, fewer, exact] =
            [ConstantChannels::Kept, ConstantChannels::default(), ConstantChannels::Exact].map(compiled);
        let (before, after) = (all.metadata.macs, fewer.metadata.macs);
        assert!(after as f64 <= (1.0 - least) * before as f64, "{}: {after} of {before}", model.display());
        assert_eq!(after + fewer.metadata.macs_saved, before);
        assert_eq!(exact.object, all.object, "{}: with nothing taken for granted", model.display());
        let mut inputs = random_inputs(&all, 100);
        inputs.extend(golden(model, &shared));
        same_bits(&all, &fewer, &inputs, &model.display().to_string());
    }
}

/// The input of the model's golden data: beside it, or where the shared models have theirs.
fn golden(model: &Path, shared: &Path) -> Option<Vec<Tensor>> {
    let beside = model.with_extension("npz");
    let name = beside.file_name()?.to_owned();
    let path = if beside.exists() { beside } else { shared.join("golden").join(name) };
    let mut archive = npyz::npz::NpzArchive::new(std::fs::File::open(path).ok()?).ok()?;
    let input = archive.array_names().find(|name| name.starts_with("in_"))?.to_owned();
    let array = archive.by_name(&input).ok()??;
    let shape: Vec<usize> = array.shape().iter().map(|&extent| extent as usize).collect();
    Some(vec![Tensor::from_slice(shape, &array.into_vec::<f32>().ok()?)])
}

fn random_inputs(artifact: &Artifact, count: u64) -> Vec<Vec<Tensor>> {
    let types: Vec<&TensorType> = artifact.metadata.inputs.iter().map(|port| &port.ty).collect();
    let inputs = |seed: u64| {
        let mut random = Random::new(seed);
        types.iter().map(|ty| random.tensor(&ty.shape)).collect()
    };
    (0..count).map(inputs).collect()
}

fn same_bits(all: &Artifact, fewer: &Artifact, inputs: &[Vec<Tensor>], what: &str) {
    for (number, inputs) in inputs.iter().enumerate() {
        let run = |artifact: &Artifact| {
            onnxc::in_process(&artifact.object, &artifact.metadata, inputs).unwrap().outputs
        };
        assert!(run(all) == run(fewer), "{what}, input {number}: {:?} and {:?}", run(all), run(fewer));
    }
}
