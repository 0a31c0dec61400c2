//! ONNX bytes → [`ops::Graph`]. The only room that knows protobuf.
//!
//! Importing decodes the model, pins what the user pins, and walks the nodes in order: each goes to the operator file
//! that reads it, which adds to the graph or, where all inputs are known, folds at once. Functions are inlined and an
//! `If` that is decided becomes its branch on the way. A node that fails poisons its outputs and the walk goes on, so
//! that one run reports every problem of a model.
//!
//! Files are taken for hostile: nothing is allocated on the word of a size that was not held against the data, and
//! no file makes this room panic.

#![expect(
    clippy::result_large_err,
    reason = "a problem is built once and reported; boxing it would buy nothing"
)]

mod attribute;
mod body;
mod element;
mod external;
mod import;
mod inspect;
mod interface;
mod order;
mod problem;
mod proto;
mod tensor;

pub use import::{Imported, OLDEST_OPSET, import, import_bytes};
pub use inspect::{Summary, SummaryNode, SummaryOperator, SummaryPort, inspect};
pub use interface::{Dim, Port};
pub use problem::{Kind, Operator, Problem, code};
pub use tensor::{read_tensor_pb, write_tensor_pb};

/// What the user pins before anything is inferred.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `--dim batch=1`: extents of the dimensions that the model gives a name.
    pub dims: Vec<(String, usize)>,
    /// `--shape x:1x3x224x224`: whole shapes of inputs.
    pub shapes: Vec<(String, Vec<usize>)>,
    /// `--set sr=16000`: inputs of one element that become constants.
    pub scalars: Vec<(String, String)>,
    /// Inputs of any size that become constants.
    pub constants: Vec<(String, ir::Tensor)>,
}

#[cfg(test)]
mod tests;
