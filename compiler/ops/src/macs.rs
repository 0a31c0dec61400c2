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
        if let AnyOp::Fused(fused) = self {
            // A product in a prologue is summed, but it is not the root's.
            return fused.root.macs(&fused.root_inputs(inputs));
        }
        if let AnyOp::Chain(chain) = self {
            let links = chain.with_inputs(inputs).unwrap_or_default();
            return links.iter().map(|(link, types)| link.op.macs(types)).fold(0, u64::saturating_add);
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

#[cfg(test)]
mod tests {
    use ir::{DType, TensorType};

    use crate::AnyOp;
    use crate::ops::{add::Add, conv::Conv, matmul::Matmul, max_pool::MaxPool, reduce::Reduce};
    use crate::shape::{Layout, Pool, Window};

    #[test]
    fn products_that_are_summed_count() {
        let f32s = |shape: &[usize]| TensorType::new(DType::F32, shape);
        let macs = |op: AnyOp, shapes: &[&[usize]]| {
            op.macs(&shapes.iter().map(|shape| f32s(shape)).collect::<Vec<_>>())
        };
        assert_eq!(macs(Matmul.into(), &[&[5, 2, 3], &[3, 4]]), 5 * 2 * 4 * 3);
        let window = Window { pads: vec![(1, 1); 2], ..Window::plain(2) };
        let conv = Conv { window: window.clone(), group: 2, layout: Layout::ChannelsFirst };
        assert_eq!(macs(conv.into(), &[&[1, 4, 5, 5], &[6, 2, 3, 3], &[6]]), 6 * 5 * 5 * 2 * 3 * 3);
        let pool = Pool { kernel: vec![3, 3], window, layout: Layout::ChannelsFirst };
        assert_eq!(macs(MaxPool { pool }.into(), &[&[1, 4, 5, 5]]), 0);
        assert_eq!(macs(Reduce { axes: vec![0], ..Reduce::default() }.into(), &[&[7]]), 0);
        assert_eq!(macs(Add.into(), &[&[7], &[7]]), 0);
        assert_eq!(macs(Matmul.into(), &[&[2, 3], &[2, 3]]), 0, "types that do not fit");
    }
}
