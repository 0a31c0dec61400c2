use ir::{OpError, TensorType};
use loops::{Expr, Source};
use serde::{Deserialize, Serialize};

use crate::{AnyOp, Meaning, Onnx, Op, ops};

/// An operator with elementwise work applied to its operands as they are read, and to its result while that is still
/// in registers.
///
/// The operands are the root's, then those that prologues and epilogue read beside them. The root has one result.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fused {
    pub root: Box<AnyOp>,
    /// How many of the operands are the root's.
    pub root_operands: usize,
    /// Over the result's axes: `Folded` is the root's element, `Operand(k)` the k-th operand of all.
    pub epilogue: Expr,
    pub dtype: ir::DType,
    /// At most one for each of the root's operands.
    pub prologues: Vec<Prologue>,
}

/// Elementwise work on an operand wherever the root reads it; the root sees a tensor of the operand's shape.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Prologue {
    /// The root's operand.
    pub operand: usize,
    /// Over that operand's axes: `Operand(k)` is the k-th operand of all, as it is without any prologue.
    pub body: Expr,
    pub dtype: ir::DType,
}

impl Default for Fused {
    fn default() -> Fused {
        let root = Box::new(ops::relu::Relu.into());
        Fused { root, root_operands: 1, epilogue: Expr::Folded, dtype: ir::DType::F32, prologues: vec![] }
    }
}

impl Op for Fused {
    const NAME: &'static str = "fused";
    const ONNX: &'static [Onnx] = &[];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        if inputs.len() < self.root_operands {
            return Err(OpError::new("the root's operands are missing"));
        }
        if self.prologues.iter().any(|prologue| prologue.operand >= self.root_operands) {
            return Err(OpError::new("a prologue is for none of the root's operands"));
        }
        match self.root.infer(&self.root_inputs(inputs))?.as_slice() {
            [result] => Ok(vec![result.with_dtype(self.dtype)]),
            _ => Err(OpError::new("the root has several results")),
        }
    }

    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let root = self.root_inputs(inputs);
        let results = self.root.infer(&root).unwrap_or_default();
        let mut definition = self.root.meaning(&root).definition(&root, &results);
        if !self.prologues.is_empty() {
            for stage in &mut definition.stages {
                stage.body = self.with_prologues(&stage.body);
                stage.finish = stage.finish.as_ref().map(|finish| self.with_prologues(finish));
            }
        }
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
            AnyOp::Chain(chain) => {
                chain.links.iter().map(|link| link.op.label()).collect::<Vec<_>>().join("_")
            }
            other => other.kind().name().to_owned(),
        }
    }
}

impl Fused {
    /// The epilogue's expression and those of the prologues.
    pub fn expressions(&self) -> impl Iterator<Item = &Expr> {
        [&self.epilogue].into_iter().chain(self.prologues.iter().map(|prologue| &prologue.body))
    }

    /// The types of the root's operands, after the prologues.
    pub(crate) fn root_inputs(&self, inputs: &[TensorType]) -> Vec<TensorType> {
        let mut root = inputs[..self.root_operands].to_vec();
        for prologue in &self.prologues {
            root[prologue.operand].dtype = prologue.dtype;
        }
        root
    }

    /// An expression of the root's, with what the prologues say in place of their operands.
    fn with_prologues(&self, expr: &Expr) -> Expr {
        expr.rewrite(&mut |node| match node {
            Expr::Read { source: Source::Operand(k), index } => {
                let prologue = self.prologues.iter().find(|prologue| prologue.operand == *k)?;
                Some(prologue.body.substitute_axes(index))
            }
            _ => None,
        })
    }

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
