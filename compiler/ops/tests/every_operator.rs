//! What holds for every operator, whichever: `infer` judges any types without panicking, what it accepts the reference
//! evaluates to just those types, and what is printed parses.

use ir::{DType, Operator, Tensor, TensorType};
use ops::{AnyOp, OpKind};
use proptest::prelude::*;

fn types() -> impl Strategy<Value = Vec<TensorType>> {
    let dtype = prop::sample::select(&DType::ALL[..]);
    // Often alike, as most operators want their operands.
    let alike = (dtype.clone(), prop::collection::vec(0usize..4, 0..5), 0usize..6)
        .prop_map(|(dtype, shape, count)| vec![TensorType::new(dtype, shape); count]);
    let any = (dtype, prop::collection::vec(0usize..4, 0..5))
        .prop_map(|(dtype, shape)| TensorType::new(dtype, shape));
    prop_oneof![alike, prop::collection::vec(any, 0..6)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn infer_judges_and_the_reference_agrees(kind in prop::sample::select(OpKind::ALL), types in types()) {
        let op = kind.with_defaults();
        if let Ok(results) = op.infer(&types) {
            let operands: Vec<Tensor> = types.iter().cloned().map(Tensor::zeros).collect();
            let operands: Vec<&Tensor> = operands.iter().collect();
            let given: Vec<TensorType> = op.eval(&operands).into_iter().map(|tensor| tensor.ty).collect();
            prop_assert_eq!(given, results);
        }
    }
}

#[test]
fn defaults_print_as_nothing_and_parse() {
    for kind in OpKind::ALL {
        let op = kind.with_defaults();
        assert!(op.attributes().is_empty(), "{}", kind.name());
        assert_eq!(AnyOp::parse(kind.name(), op.attributes()), Ok(op));
    }
}

#[test]
fn float_attributes_print_shortest_and_parse() {
    let clip = AnyOp::from(ops::ops::clip::Clip::between(f32::NEG_INFINITY, 0.1));
    assert_eq!(serde_json::Value::from(clip.attributes()).to_string(), r#"{"max":0.1}"#);
    assert_eq!(AnyOp::parse("clip", clip.attributes()), Ok(clip));
    let clip = AnyOp::from(ops::ops::clip::Clip::between(0.0, f32::NAN));
    assert_eq!(AnyOp::parse("clip", clip.attributes()), Ok(clip));
}

#[test]
fn no_onnx_operator_is_read_twice() {
    let mut seen = std::collections::BTreeSet::new();
    for onnx in OpKind::ALL.iter().flat_map(|kind| kind.onnx()) {
        assert!(seen.insert((onnx.domain, onnx.op_type)), "{} is in two files", onnx.op_type);
    }
}
