//! What is supported, as ONNX's own tests have shown it.

use serde::{Deserialize, Serialize};

/// Every ONNX operator that is read, and every other one that ONNX's tests use.
///
/// Made by the test `onnx_node` (`UPDATE=1 cargo test -p tests --test onnx_node`), never by hand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Support {
    pub oldest_opset: i64,
    pub newest_opset: i64,
    pub operators: Vec<SupportedOperator>,
    pub not_supported: Vec<UnsupportedOperator>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupportedOperator {
    /// `ai.onnx` is the standard one.
    pub domain: String,
    pub name: String,
    /// The first opset whose form of the operator is read; all later ones are, too.
    pub since: i64,
    /// Cases of ONNX's tests whose model has the operator and whose compiled code gives what it should.
    pub passed: usize,
    /// Cases that are declined because of the operator.
    pub declined: usize,
    /// Element types of the inputs and outputs of passed cases that have this operator alone.
    pub types: Vec<String>,
    /// Why cases are declined.
    pub limits: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnsupportedOperator {
    pub domain: String,
    pub name: String,
    /// Cases of ONNX's tests whose model has the operator.
    pub cases: usize,
}

impl Support {
    /// What was found when this compiler was last tested.
    pub fn committed() -> Result<Support, serde_json::Error> {
        serde_json::from_str(include_str!("../support.json"))
    }
}
