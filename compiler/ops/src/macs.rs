//! How much arithmetic an operator is, from its meaning alone.

use ir::TensorType;
use loops::{Binary, Expr, Fold, Stage};

use crate::{AnyOp, Meaning};

impl AnyOp {
    /// Multiply-accumulates for operands of these types: every point of every sum of products counts one, taps that
    /// fall on padding included. 0 for types that `infer` rejects.
    pub fn macs(&self, inputs: &[TensorType]) -> u64 {
        if self.infer(inputs).is_err() {
            return 0;
        }
        match self.meaning(inputs) {
            Meaning::Compute(definition) => definition.stages.iter().map(stage).fold(0, u64::saturating_add),
            Meaning::View(_) | Meaning::Reshape | Meaning::Concat { .. } => 0,
        }
    }
}

fn stage(stage: &Stage) -> u64 {
    if stage.fold != Some(Fold::Sum) || !is_product(&stage.body) {
        return 0;
    }
    stage.domain.iter().chain(&stage.reduction).fold(1u64, |n, &extent| n.saturating_mul(extent as u64))
}

/// Whether what is summed is a product of elements, be it under a guard or a conversion.
fn is_product(body: &Expr) -> bool {
    match body {
        Expr::Binary(Binary::Mul, ..) => true,
        Expr::Select { then, .. } => is_product(then),
        Expr::Cast(_, inner) => is_product(inner),
        _ => false,
    }
}
