//! Every operator's file, given inputs and attributes of all sorts: refused or imported, never a panic.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ir::{DType, Tensor, TensorType};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use prost::Message;

use super::build::*;
use crate::body::operators;
use crate::proto::*;
use crate::{Options, import_bytes};

/// Names of attributes that operators read. An operator ignores those it does not know.
#[rustfmt::skip]
const INTS: [&str; 13] = [
    "axes", "dilations", "kernel_shape", "output_padding", "output_shape", "pads", "perm", "shape", "split", "starts",
    "ends", "strides", "value_ints",
];
#[rustfmt::skip]
const INT: [&str; 22] = [
    "allowzero", "axis", "batch_dims", "ceil_mode", "count_include_pad", "direction", "end", "exclusive", "fmod",
    "group", "keepdims", "num_outputs", "p", "reverse", "select_last_index", "size", "start", "storage_order", "to",
    "transA", "transB", "blocksize",
];
const STRINGS: [(&str, &[&str]); 6] = [
    ("auto_pad", &["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", "?"]),
    ("mode", &["constant", "reflect", "edge", "wrap", "nearest", "linear", "cubic", "DCR", "CRD"]),
    ("coordinate_transformation_mode", &["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]),
    ("nearest_mode", &["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]),
    ("approximate", &["none", "tanh"]),
    ("equation", &["ij,jk->ik", "i->", "...", "ii->i", "->"]),
];

/// Numbers at and beyond the edges of what attributes and shapes may be.
fn number() -> impl Strategy<Value = i64> {
    prop_oneof![12 => -3i64..5, 1 => Just(i64::MIN), 1 => Just(i64::MAX), 1 => Just(1 << 31), 1 => Just(-(1 << 40)), 1 => 0i64..300]
}

/// Lists are of one entry or two an axis of `spatial`, as strides and pads are, or of any length.
fn attribute(spatial: usize) -> impl Strategy<Value = AttributeProto> {
    let length = prop_oneof![3 => Just(spatial), 2 => Just(2 * spatial), 1 => 0usize..5];
    let small = prop_oneof![6 => 1i64..4, 1 => number()];
    let values = prop_oneof![3 => prop::collection::vec(small, 8), 1 => prop::collection::vec(number(), 8)];
    let list = (prop::sample::select(&INTS[..]), values, length).prop_map(|(name, mut values, length)| {
        values.truncate(length);
        (name, values)
    });
    let text = prop::sample::select(&STRINGS[..])
        .prop_flat_map(|(name, values)| (Just(name), prop::sample::select(values)));
    prop_oneof![
        list.prop_map(|(name, values)| ints(name, &values)),
        (prop::sample::select(&INT[..]), number()).prop_map(|(name, value)| int(name, value)),
        text.prop_map(|(name, value)| string(name, value.as_bytes())),
    ]
}

/// A tensor, and whether its value is known. Mostly of element type `dtype` and of two axes more than `spatial`.
fn operand(dtype: DType, spatial: usize) -> impl Strategy<Value = (Tensor, bool)> {
    let dtype =
        prop_oneof![8 => Just(dtype), 2 => Just(DType::I64), 1 => prop::sample::select(&DType::ALL[..])];
    let extent = prop_oneof![6 => 1usize..3, 4 => 3usize..5, 1 => Just(0usize)];
    let rank = prop_oneof![4 => Just(spatial + 2), 2 => Just(1usize), 1 => 0usize..5];
    let shape = (prop::collection::vec(extent, 5), rank).prop_map(|(mut shape, rank)| {
        shape.truncate(rank);
        shape
    });
    (dtype, shape, prop::collection::vec(number(), 1..4), any::<bool>()).prop_map(
        |(dtype, shape, values, known)| {
            let ty = TensorType::new(dtype, shape);
            let element = |k| ir::Scalar::from_i64(dtype, values[k % values.len()]).to_le_bytes();
            let data = (0..ty.elements()).flat_map(element).collect();
            (Tensor::new(ty, data), known)
        },
    )
}

/// A model of one node of `op_type`.
fn single(
    domain: &str,
    op_type: &str,
    opset: i64,
    operands: &[(Tensor, bool)],
    attributes: &[AttributeProto],
) -> ModelProto {
    let names: Vec<String> = (0..operands.len()).map(|k| format!("x{k}")).collect();
    let mut inputs = Vec::new();
    let mut initializers = Vec::new();
    for (name, (tensor, known)) in names.iter().zip(operands) {
        if *known {
            initializers.push(crate::tensor::encode(name, tensor));
        } else {
            let dims: Vec<D> = tensor.ty.shape.iter().map(|&extent| D::N(extent as i64)).collect();
            inputs.push(info(name, crate::element::number(tensor.ty.dtype), &dims));
        }
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut node = node(op_type, &names, &["y", "z"]).in_domain(domain);
    node.attribute = attributes.to_vec();
    node.attribute.dedup_by(|a, b| a.name == b.name);
    let output = ValueInfoProto { name: "y".into(), r#type: None };
    let mut model = model(graph(&inputs, &initializers, &[node], &[output]));
    model.opset_import = vec![super::build::opset("", opset), super::build::opset("com.microsoft", 1)];
    model
}

#[test]
fn operators_never_panic() {
    let mut known: Vec<(&str, &str)> = operators().into_keys().collect();
    known.sort_unstable();
    let cases = std::env::var("CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(150);
    let mut panicked: Vec<String> = Vec::new();
    for (domain, op_type) in known {
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(
            config,
            proptest::test_runner::TestRng::deterministic_rng(Default::default()),
        );
        let dtype = prop_oneof![6 => Just(DType::F32), 1 => prop::sample::select(&DType::ALL[..])];
        let strategy =
            (dtype, 1usize..3, 7i64..=ops::NEWEST_OPSET).prop_flat_map(|(dtype, spatial, opset)| {
                let operands = prop::collection::vec(operand(dtype, spatial), 1..5);
                (Just(opset), operands, prop::collection::vec(attribute(spatial), 0..6))
            });
        let outcome = runner.run(&strategy, |(opset, operands, attributes)| {
            let model = single(domain, op_type, opset, &operands, &attributes);
            let run = || drop(import_bytes(&model.encode_to_vec(), None, &Options::default()));
            catch_unwind(AssertUnwindSafe(run)).map_err(|_| TestCaseError::fail(op_type.to_owned()))
        });
        if let Err(error) = outcome {
            panicked.push(format!("{op_type}: {error}"));
        }
    }
    assert!(panicked.is_empty(), "{}", panicked.join("\n"));
}
