//! Models that must import: functions, branches, pins, old files.

use ir::{DType, TensorType};

use super::build::*;
use crate::proto::*;
use crate::{Options, inspect};
use prost::Message;

#[test]
fn a_small_model_imports() {
    let imported = imported(&small());
    assert_eq!(applied(&imported), ["add", "relu"]);
    assert_eq!(imported.inputs[0].ty, TensorType::new(DType::F32, [1, 4]));
    assert_eq!(imported.outputs[0].ty, TensorType::new(DType::F32, [1, 4]));
    assert_eq!(imported.opsets, [("ai.onnx".to_owned(), 17)]);
    assert_eq!(imported.producer, "tests");
}
