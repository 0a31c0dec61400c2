//! The operator set: one file an operator under `ops/`, and here what they have in common.
//!
//! An operator says how it is read from ONNX ([`Op::ONNX`]), which types it takes and gives ([`Op::infer`]) and what
//! it means ([`Op::meaning`]). Everything else (reference evaluation, constant folding, fusion, code) follows from
//! the meaning.

mod along;
mod elementwise;
mod gather;
mod import;
mod macs;
mod meaning;
// The list in `ops/mod.rs` is generated from the files beside it; `UPDATE=1 cargo test -p ops` rewrites it.
pub mod ops;
mod reference;
pub mod shape;

use std::fmt::Debug;
use std::hash::Hash;

use ir::{OpError, Tensor, TensorType};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use elementwise::{Elementwise, check};
pub use import::{Attribute, Import, Onnx, element_type, elements_within_limits, onnx};
pub use meaning::Meaning;
pub use ops::{AnyOp, OpKind};
pub use reference::evaluate;

/// The graph that all of the compiler works on.
pub type Graph = ir::Graph<AnyOp>;

/// The newest ONNX opset that the operators were written against (`onnx` 1.22).
pub const NEWEST_OPSET: i64 = 27;

/// An operator of the graph. Its attributes are the fields of the implementing struct.
///
/// `Default` gives the attribute values that the textual IR leaves out.
pub trait Op: Clone + Debug + Eq + Ord + Hash + Default + Serialize + DeserializeOwned {
    /// The mnemonic in the textual IR.
    const NAME: &'static str;
    /// The ONNX operators that import as this one, possibly among others.
    const ONNX: &'static [Onnx];
    /// Types of the results. The only place that judges an operator's inputs; never panics, whatever they are.
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError>;
    /// What the operator means for inputs that `infer` accepted.
    fn meaning(&self, inputs: &[TensorType]) -> Meaning;
    /// The same operator with its feature maps, operand 0 and the result, in `layout`; `None` where it has none.
    fn in_layout(&self, _layout: shape::Layout) -> Option<Self> {
        None
    }
    /// The operator `f` and the axes `q` such that `self(transpose(x, permutation)) = transpose(f(x), q)`; `None`
    /// where there is no such operator.
    ///
    /// The permutation is one of operand 0, and of all others where the operator is elementwise or a concatenation.
    fn before_transpose(&self, _permutation: &[usize]) -> Option<(Self, Vec<usize>)> {
        None
    }
}

impl AnyOp {
    /// The layout of the feature maps, operand 0 and the result, of the root for a fused operator and of the first link
    /// of a chain; `None` where they have none.
    pub fn layout(&self) -> Option<shape::Layout> {
        match self {
            AnyOp::Fused(fused) => fused.root.layout(),
            AnyOp::Chain(chain) => chain.links.first().and_then(|link| link.op.layout()),
            _ => shape::Layout::ALL.into_iter().find(|&layout| self.in_layout(layout).as_ref() == Some(self)),
        }
    }

    /// The operator that changes the order of axes: result axis `k` is operand axis `permutation[k]`.
    pub fn transpose(permutation: Vec<usize>) -> AnyOp {
        ops::transpose::Transpose { permutation }.into()
    }

    /// The reference evaluator: what the operator gives for `inputs`, whose types `infer` accepted.
    pub fn eval(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let types: Vec<TensorType> = inputs.iter().map(|tensor| tensor.ty.clone()).collect();
        let Ok(results) = self.infer(&types) else {
            panic!("eval of {self:?} with types that it does not take: {types:?}");
        };
        match self.meaning(&types) {
            Meaning::Reshape => vec![inputs[0].reshaped(results[0].shape.clone())],
            meaning => loops::evaluate(&meaning.definition(&types, &results), inputs),
        }
    }
}

#[cfg(test)]
mod tests;
