//! Any bytes at all: refused or imported, never a panic.

use proptest::prelude::*;
use prost::Message;

use super::build::*;
use crate::proto::*;
use crate::{Options, import_bytes, inspect, read_tensor_pb};

/// A model with something of everything: a function, branches, attributes, several operators.
fn rich() -> Vec<u8> {
    let ints64 = |name: &str, values: &[i64]| {
        crate::tensor::encode(name, &ir::Tensor::from_slice([values.len()], values))
    };
    let branch = |op: &str| graph(&[], &[], &[node(op, &["a"], &["r"])], &[floats("r", &[1, 2, 4, 4])]);
    let nodes = [
        node("Conv", &["x", "w"], &["a"])
            .with(ints("pads", &[1, 1, 1, 1]))
            .with(ints("strides", &[1, 1]))
            .with(int("group", 1)),
        node("If", &["c"], &["b"])
            .with(graph_attribute("then_branch", branch("Relu")))
            .with(graph_attribute("else_branch", branch("Sigmoid"))),
        node("Twice", &["b"], &["d"]).in_domain("local"),
        node("MaxPool", &["d"], &["e"])
            .with(ints("kernel_shape", &[2, 2]))
            .with(string("auto_pad", b"SAME_UPPER")),
        node("Reshape", &["e", "shape"], &["f"]),
        node("Transpose", &["f"], &["g"]).with(ints("perm", &[1, 0])),
        node("Slice", &["g", "from", "to", "axes"], &["h"]),
        node("Concat", &["h", "h"], &["i"]).with(int("axis", 1)),
        node("ReduceSum", &["i", "axes"], &["y"]).with(int("keepdims", 1)),
    ];
    let initializers = [
        weight("w", &[2, 1, 3, 3], &[0.5; 18]),
        crate::tensor::encode("c", &ir::Tensor::scalar(ir::Scalar::bool(true))),
        ints64("shape", &[2, -1]),
        ints64("from", &[1]),
        ints64("to", &[3]),
        ints64("axes", &[0]),
    ];
    let mut model =
        model(graph(&[floats("x", &[1, 1, 4, 4])], &initializers, &nodes, &[info("y", FLOAT, &[])]));
    model.opset_import.push(opset("local", 1));
    model.functions = vec![FunctionProto {
        name: "Twice".into(),
        domain: "local".into(),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: vec![node("Add", &["a", "a"], &["b"])],
        ..FunctionProto::default()
    }];
    model.encode_to_vec()
}

#[test]
fn the_rich_model_imports() {
    import_bytes(&rich(), None, &Options::default()).unwrap_or_else(|problems| panic!("{}", text(&problems)));
}

#[test]
fn every_prefix_is_refused_or_imported() {
    let whole = rich();
    for end in 0..whole.len() {
        let _ = import_bytes(&whole[..end], None, &Options::default());
    }
}

#[test]
fn a_fold_that_would_take_hours_stays_a_computation() {
    let shape = crate::tensor::encode("s", &ir::Tensor::from_slice([2], &[4096i64, 4096]));
    let nodes = [node("ConstantOfShape", &["s"], &["a"]), node("MatMul", &["a", "a"], &["y"])];
    let imported = imported(&model(graph(&[], &[shape], &nodes, &[floats("y", &[4096, 4096])])));
    assert_eq!(applied(&imported).len(), 1, "the product of 2^36 steps");
}

fn look_at(bytes: &[u8]) {
    let _ = import_bytes(bytes, None, &Options::default());
    let _ = inspect(bytes);
    let _ = read_tensor_pb(bytes);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_bytes_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = rich();
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        look_at(&bytes);
    }

    #[test]
    fn moved_bytes_never_panic(from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(), length in 1usize..64) {
        let mut bytes = rich();
        let from = from.index(bytes.len());
        let piece: Vec<u8> = bytes[from..].iter().copied().take(length).collect();
        let to = to.index(bytes.len());
        bytes.splice(to..to, piece);
        look_at(&bytes);
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        look_at(&bytes);
    }
}
