//! What every stage speaks: element types, tensors and the graph.
//!
//! This room knows no operator, no model format, no e-graph and no target. Values are plain data and
//! compare by value.

mod dtype;
mod float;
mod graph;
mod scalar;
mod tensor;
mod text;
mod verify;

pub use dtype::DType;
pub use float::Float;
pub use graph::{Graph, Node, NodeId, NodeKind, Operator, Value};
pub use scalar::Scalar;
pub use tensor::{Element, Tensor, TensorType};
pub use text::{ParseError, parse, print, print_elided};
pub use verify::{VerifyError, verify};

/// Why an operator rejects its attributes or inputs. The caller knows which node it is and adds that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpError {
    /// What is wrong, as a sentence without the node's name: "3 groups do not divide 64 channels".
    pub message: String,
    /// What the user can do about it, if there is something.
    pub hint: Option<String>,
    /// Whether the model breaks ONNX's own rules, and not merely asks for something that is not there.
    pub invalid: bool,
}

impl OpError {
    pub fn new(message: impl Into<String>) -> OpError {
        OpError { message: message.into(), hint: None, invalid: false }
    }

    /// The model breaks ONNX's own rules; no compiler could take it.
    pub fn invalid(message: impl Into<String>) -> OpError {
        OpError { invalid: true, ..OpError::new(message) }
    }

    pub fn with_hint(mut self, hint: impl Into<String>) -> OpError {
        self.hint = Some(hint.into());
        self
    }
}

impl std::fmt::Display for OpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for OpError {}
