//! How much work a model is, from the operators' meanings.

use ir::NodeKind;
use loops::{Binary, Expr, Fold, Stage};
use ops::{Graph, Meaning};

/// Multiply-accumulates of one inference: the terms of all sums of products (convolutions, matrix products). Padding
/// counts as if it were read, as it is usual.
pub fn macs(graph: &Graph) -> u64 {
    let node = |id| match &graph.node(id).kind {
        NodeKind::Apply(op) => {
            let types = graph.types(&graph.operands(id));
            match op.meaning(&types) {
                Meaning::Compute(definition) => definition.stages.iter().map(terms).sum(),
                _ => 0,
            }
        }
        _ => 0,
    };
    graph.order().into_iter().map(node).sum()
}

fn terms(stage: &Stage) -> u64 {
    let is_product = stage.fold == Some(Fold::Sum)
        && stage.body.any(&mut |node| match node {
            Expr::Binary(Binary::Mul, a, b) => reads(a) && reads(b),
            _ => false,
        });
    let points = || stage.domain.iter().chain(&stage.reduction).map(|&extent| extent as u64);
    if is_product { points().product() } else { 0 }
}

fn reads(expr: &Expr) -> bool {
    expr.any(&mut |node| matches!(node, Expr::Read { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_convolution_counts_its_terms_and_nothing_else_counts() {
        let text = r#"
graph @g(%x "x": f32[1,3,8,8], %w "w": f32[4,3,3,3]) {
  %c "c" = conv {"window":{"strides":[1,1],"dilations":[1,1],"pads":[[0,0],[0,0]]},"group":1} %x, %w : f32[1,4,6,6]
  %r "r" = relu %c : f32[1,4,6,6]
  return %r "y"
}"#;
        let graph: Graph = ir::parse(text).unwrap();
        assert_eq!(macs(&graph), 4 * 6 * 6 * 3 * 3 * 3);
    }
}
