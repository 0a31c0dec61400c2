//! What the tests of several rooms share: random values, and results held to the reference evaluator.

pub mod classes;
pub mod costs;
pub mod onnx_cases;
pub mod random_cnns;
pub mod random_graphs;
pub mod spellings;
pub mod values;
