use ir::{OpError, TensorType};
use loops::{Definition, Expr, Source, Stage};
use serde::{Deserialize, Serialize};

use crate::{AnyOp, Meaning, Onnx, Op, ops};

/// Operators on feature maps one after the other, each reading the result of the one before as its first operand, that
/// are computed row by row: of what lies between two of them only the rows exist that the later one looks at.
///
/// The operands are the first link's, then those of every later link but its first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Chain {
    pub links: Vec<Link>,
    /// The axis of rows, the same of all results.
    pub rows: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Link {
    pub op: AnyOp,
    /// How many operands it has, the result of the link before included.
    pub operands: usize,
}

impl Default for Chain {
    fn default() -> Chain {
        Chain { links: vec![Link { op: ops::relu::Relu.into(), operands: 1 }], rows: 0 }
    }
}

impl Op for Chain {
    const NAME: &'static str = "chain";
    const ONNX: &'static [Onnx] = &[];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let mut last = None;
        for (link, types) in self.with_inputs(inputs)? {
            let results = link.op.infer(&types)?;
            let Meaning::Compute(Definition { stages, .. }) = link.op.meaning(&types) else {
                return Err(OpError::new(format!("{} computes nothing", link.op.label())));
            };
            if results.len() != 1 || stages.len() != 1 || stages[0].domain.len() <= self.rows {
                return Err(OpError::new(format!("{} is no link by rows of axis {}", link.op.label(), self.rows)));
            }
            last = Some(stages[0].ty());
        }
        last.map(|ty| vec![ty]).ok_or_else(|| OpError::new("has no links"))
    }

    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let (mut stages, mut tables) = (Vec::<Stage>::new(), Vec::new());
        let mut given = 0;
        for (k, (link, types)) in self.with_inputs(inputs).unwrap_or_default().into_iter().enumerate() {
            let results = link.op.infer(&types).unwrap_or_default();
            let own = link.op.meaning(&types).definition(&types, &results);
            let placed = |source: &Source| match *source {
                Source::Operand(0) if k > 0 => Source::Stage(stages.len() - 1),
                Source::Operand(operand) => Source::Operand(given + operand - usize::from(k > 0)),
                Source::Stage(stage) => Source::Stage(stages.len() + stage),
                Source::Table(table) => Source::Table(tables.len() + table),
            };
            let moved = |expr: &Expr| with_sources(expr, &placed);
            let own_stages: Vec<Stage> = own
                .stages
                .iter()
                .map(|stage| Stage { body: moved(&stage.body), finish: stage.finish.as_ref().map(moved), ..stage.clone() })
                .collect();
            stages.extend(own_stages);
            tables.extend(own.tables);
            given += link.operands - usize::from(k > 0);
        }
        Meaning::Compute(Definition::of(stages).with_tables(tables))
    }
}

impl Chain {
    /// Every link with the types of its operands.
    pub fn with_inputs(&self, inputs: &[TensorType]) -> Result<Vec<(&Link, Vec<TensorType>)>, OpError> {
        let mut rest = inputs.iter().cloned();
        let mut links: Vec<(&Link, Vec<TensorType>)> = Vec::new();
        for link in &self.links {
            let before = match links.last() {
                Some((before, types)) => before.op.infer(types)?.into_iter().next(),
                None => None,
            };
            let types: Vec<TensorType> = before.into_iter().chain(rest.by_ref()).take(link.operands).collect();
            if types.len() < link.operands.max(1) {
                return Err(OpError::new(format!("operands of {} are missing", link.op.label())));
            }
            links.push((link, types));
        }
        if rest.next().is_some() {
            return Err(OpError::new("there are more operands than its links take"));
        }
        Ok(links)
    }

    /// The link that reads operand `k` of the chain, and which of the link's operands that is.
    pub fn reader(&self, mut k: usize) -> Option<(&Link, usize)> {
        for (place, link) in self.links.iter().enumerate() {
            let own = link.operands - usize::from(place > 0);
            if k < own {
                return Some((link, k + usize::from(place > 0)));
            }
            k -= own;
        }
        None
    }
}

fn with_sources(expr: &Expr, placed: &impl Fn(&Source) -> Source) -> Expr {
    expr.rewrite(&mut |node| match node {
        Expr::Read { source, index } => Some(Expr::Read { source: placed(source), index: index.clone() }),
        _ => None,
    })
}
