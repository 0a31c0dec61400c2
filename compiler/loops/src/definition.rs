use ir::{DType, Tensor, TensorType};
use serde::{Deserialize, Serialize};

use crate::Expr;

/// Where a definition reads from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The operator's `k`-th operand.
    Operand(usize),
    /// The definition's `k`-th stage, an earlier one.
    Stage(usize),
    /// The definition's `k`-th constant table.
    Table(usize),
}

/// How a reduction combines its elements; the body's type is the accumulator's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fold {
    Sum,
    Product,
    Min,
    Max,
}

impl Fold {
    /// The value that changes nothing: what an empty reduction gives.
    pub fn identity(self, dtype: DType) -> ir::Scalar {
        let limits = match dtype {
            d if d.is_float() => (f64::NEG_INFINITY, f64::INFINITY),
            DType::Bool => (0.0, 1.0),
            // Exact at the 64-bit ends as well: conversion to integers saturates.
            d if d.is_unsigned_int() => (0.0, 2f64.powi(d.bits() as i32)),
            d => (-(2f64.powi(d.bits() as i32 - 1)), 2f64.powi(d.bits() as i32 - 1)),
        };
        let saturated = |value: f64| match dtype {
            DType::Bool | DType::F16 | DType::BF16 | DType::F32 | DType::F64 => {
                ir::Scalar::from_f64(dtype, value)
            }
            d if d.bits() < 64 && value > 0.0 => ir::Scalar::from_i64(d, value as i64 - 1),
            d => ir::Scalar::from_f64(d, value),
        };
        match self {
            Fold::Sum => ir::Scalar::from_f64(dtype, 0.0),
            Fold::Product => ir::Scalar::from_f64(dtype, 1.0),
            Fold::Min => saturated(limits.1),
            Fold::Max => saturated(limits.0),
        }
    }

    pub fn binary(self) -> crate::Binary {
        match self {
            Fold::Sum => crate::Binary::Add,
            Fold::Product => crate::Binary::Mul,
            Fold::Min => crate::Binary::Min,
            Fold::Max => crate::Binary::Max,
        }
    }
}

/// One tensor, element by element: for every point of `domain`, `finish(fold over reduction of body)`.
///
/// Without a fold there is no reduction, and `body` is the element itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The stage's element type: that of `finish`, or of `body` where there is none.
    pub dtype: DType,
    /// Extents of the result's axes.
    pub domain: Vec<usize>,
    /// Extents of the axes that are folded away; they are numbered after the domain's.
    pub reduction: Vec<usize>,
    pub fold: Option<Fold>,
    pub body: Expr,
    /// What becomes of the folded value, over the domain's axes alone; reads it as [`Expr::Folded`].
    pub finish: Option<Expr>,
}

impl Stage {
    /// A map: every element on its own.
    pub fn map(dtype: DType, domain: impl Into<Vec<usize>>, body: Expr) -> Stage {
        Stage { dtype, domain: domain.into(), reduction: vec![], fold: None, body, finish: None }
    }

    /// A reduction of `body` over `reduction` by `fold`.
    pub fn reduce(
        dtype: DType,
        domain: impl Into<Vec<usize>>,
        fold: Fold,
        reduction: impl Into<Vec<usize>>,
        body: Expr,
    ) -> Stage {
        Stage {
            dtype,
            domain: domain.into(),
            reduction: reduction.into(),
            fold: Some(fold),
            body,
            finish: None,
        }
    }

    /// `finish` applied to what this stage gives; `finish` reads it as [`Expr::Folded`].
    ///
    /// For a map the body is put in place of `Folded`; after a fold it becomes (or extends) the finish.
    pub fn finished(mut self, dtype: DType, finish: &Expr) -> Stage {
        self.dtype = dtype;
        let into =
            |inner: &Expr| finish.rewrite(&mut |node| matches!(node, Expr::Folded).then(|| inner.clone()));
        match (&self.fold, &self.finish) {
            (None, _) => self.body = into(&self.body),
            (Some(_), None) => self.finish = Some(finish.clone()),
            (Some(_), Some(inner)) => self.finish = Some(into(inner)),
        }
        self
    }

    pub fn ty(&self) -> TensorType {
        TensorType::new(self.dtype, self.domain.clone())
    }
}

/// What an operator means: stages in order, each reading operands, tables and earlier stages.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Definition {
    pub stages: Vec<Stage>,
    /// Constants that the expressions look up (resize positions, pooling counts, ...).
    pub tables: Vec<Tensor>,
    /// The stage that each of the operator's results is.
    pub results: Vec<usize>,
}

impl Definition {
    pub fn single(stage: Stage) -> Definition {
        Definition::of(vec![stage])
    }

    /// The last of `stages` is the one result.
    pub fn of(stages: Vec<Stage>) -> Definition {
        let results = vec![stages.len() - 1];
        Definition { stages, tables: vec![], results }
    }

    /// Adds a constant table and gives the source to read it by.
    pub fn with_tables(mut self, tables: Vec<Tensor>) -> Definition {
        self.tables = tables;
        self
    }
}
