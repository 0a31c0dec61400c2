use ir::{OpError, TensorType};
use loops::{Expr, Source};
use serde::{Deserialize, Serialize};

use crate::{AnyOp, Meaning, Onnx, Op, ops};

/// An operator with elementwise work applied to its result while that is still in registers.
///
/// The operands are the root's, then those of the epilogue. The root has one result.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fused {
    pub root: Box<AnyOp>,
    /// How many of the operands are the root's.
    pub root_operands: usize,
    /// Over the result's axes: `Folded` is the root's element, `Operand(k)` the k-th operand of all.
    pub epilogue: Expr,
    pub dtype: ir::DType,
}

impl Default for Fused {
    fn default() -> Fused {
        let root = Box::new(ops::relu::Relu.into());
        Fused { root, root_operands: 1, epilogue: Expr::Folded, dtype: ir::DType::F32 }
    }
}

impl Op for Fused {
    const NAME: &'static str = "fused";
    const ONNX: &'static [Onnx] = &[];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let root = inputs.get(..self.root_operands).ok_or_else(|| OpError::new("the root's operands are missing"))?;
        match self.root.infer(root)?.as_slice() {
            [result] => Ok(vec![result.with_dtype(self.dtype)]),
            _ => Err(OpError::new("the root has several results")),
        }
    }

    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let root = &inputs[..self.root_operands];
        let results = self.root.infer(root).unwrap_or_default();
        let mut definition = self.root.meaning(root).definition(root, &results);
        if let Some(stage) = definition.stages.pop() {
            definition.stages.push(stage.finished(self.dtype, &self.epilogue));
        }
        Meaning::Compute(definition)
    }
}

impl AnyOp {
    /// A short name for symbols and tables: the mnemonic, of the root for a fused operator.
    pub fn label(&self) -> String {
        match self {
            AnyOp::Fused(fused) => fused.root.label(),
            other => other.kind().name().to_owned(),
        }
    }
}

impl Fused {
    /// The operands that the epilogue reads, in order of their number.
    pub fn epilogue_operands(&self) -> Vec<usize> {
        let mut seen = std::collections::BTreeSet::new();
        self.epilogue.any(&mut |node| {
            if let Expr::Read { source: Source::Operand(k), .. } = node {
                seen.insert(*k);
            }
            false
        });
        seen.into_iter().collect()
    }
}
