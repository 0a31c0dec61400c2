use ir::{OpError, TensorType};
use loops::{Definition, Expr, Fold, Source, Stage};
use serde::{Deserialize, Serialize};

use crate::{Import, Meaning, Onnx, Op, onnx, ops, shape};

/// Matrix product: `a` is `[batch..., m, k]`, `b` is `[batch..., k, n]`; the batch axes broadcast.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Matmul;

impl Op for Matmul {
    const NAME: &'static str = "matmul";
    const ONNX: &'static [Onnx] = &[
        onnx("MatMul", 1, |node| {
            let (a, b) = (node.input(0)?, node.input(1)?);
            Ok(vec![product(node, a, b)?])
        }),
        onnx("Gemm", 7, gemm),
    ];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [a, b] = shape::inputs(inputs)?;
        if a.dtype != b.dtype || a.dtype == ir::DType::Bool {
            return Err(OpError::new(format!("takes numbers of one type, got {a} and {b}")));
        }
        let ([batch_a @ .., m, k], [batch_b @ .., rows, n]) = (a.shape.as_slice(), b.shape.as_slice()) else {
            return Err(OpError::new(format!("takes matrices, got {a} and {b}")));
        };
        if k != rows {
            return Err(OpError::new(format!("{a} has {k} columns, {b} has {rows} rows")));
        }
        let mut result = shape::broadcast(&[batch_a, batch_b])?;
        result.extend([m, n]);
        Ok(vec![a.with_shape(result)])
    }

    /// `y[b, m, n] = Σ_k a[b, m, k] · b[b, k, n]`.
    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let (a, b) = (&inputs[0].shape, &inputs[1].shape);
        let (batch_a, batch_b) = (&a[..a.len() - 2], &b[..b.len() - 2]);
        let mut domain = shape::broadcast(&[batch_a, batch_b]).unwrap_or_default();
        let batch = domain.len();
        let (m, n, k) = (Expr::Axis(batch), Expr::Axis(batch + 1), Expr::Axis(batch + 2));
        let read = |operand: usize, shape: &[usize], row: &Expr, column: &Expr| {
            let mut index = crate::meaning::broadcast_index(shape, batch);
            index.extend([row.clone(), column.clone()]);
            Expr::read(Source::Operand(operand), index)
        };
        let body = read(0, batch_a, &m, &k) * read(1, batch_b, &k, &n);
        domain.extend([a[a.len() - 2], b[b.len() - 1]]);
        Meaning::Compute(Definition::single(Stage::reduce(
            inputs[0].dtype,
            domain,
            Fold::Sum,
            vec![a[a.len() - 1]],
            body,
        )))
    }
}

/// `numpy.matmul`: a vector on the left is one row, on the right one column, and the axis so added is dropped again.
fn product(node: &mut Import, a: ir::Value, b: ir::Value) -> Result<ir::Value, OpError> {
    let (a_shape, b_shape) = (node.ty(a).shape.clone(), node.ty(b).shape.clone());
    let row = match a_shape.as_slice() {
        [k] => node.apply(ops::reshape::Reshape { shape: vec![1, *k] }, &[a])?,
        _ => a,
    };
    let column = match b_shape.as_slice() {
        [k] => node.apply(ops::reshape::Reshape { shape: vec![*k, 1] }, &[b])?,
        _ => b,
    };
    let result = node.apply(Matmul, &[row, column])?;
    let mut shape = node.ty(result).shape.clone();
    if b_shape.len() == 1 {
        shape.pop();
    }
    if a_shape.len() == 1 {
        let row = shape.len() - usize::from(b_shape.len() != 1) - 1;
        shape.remove(row);
    }
    if shape == node.ty(result).shape {
        Ok(result)
    } else {
        node.apply(ops::reshape::Reshape { shape }, &[result])
    }
}

/// `alpha · A' · B' + beta · C`, as transposes, a product, scales and a sum; each only where it does something.
fn gemm(node: &mut Import) -> Result<Vec<ir::Value>, OpError> {
    let operand = |node: &mut Import, k: usize, flag: &str| -> Result<ir::Value, OpError> {
        let value = node.input(k)?;
        if node.ty(value).rank() != 2 {
            return Err(OpError::new(format!("takes matrices, got {}", node.ty(value))));
        }
        match node.int(flag)?.unwrap_or(0) {
            0 => Ok(value),
            _ => node.apply(ops::transpose::Transpose { permutation: vec![1, 0] }, &[value]),
        }
    };
    let a = operand(node, 0, "transA")?;
    let b = operand(node, 1, "transB")?;
    let (alpha, beta) = (node.float("alpha")?.unwrap_or(1.0), node.float("beta")?.unwrap_or(1.0));
    // The scale goes to a constant operand if there is one, where it costs nothing.
    let (a, b, alpha) = match (node.is_constant(a), node.is_constant(b)) {
        (_, true) => (a, scaled(node, b, alpha)?, 1.0),
        (true, _) => (scaled(node, a, alpha)?, b, 1.0),
        _ => (a, b, alpha),
    };
    let mut result = node.apply(Matmul, &[a, b])?;
    result = scaled(node, result, alpha)?;
    if let Some(c) = node.optional(2).filter(|_| beta != 0.0) {
        let expected = node.ty(result).clone();
        let c = scaled(node, c, beta)?;
        result = node.apply(ops::add::Add, &[result, c])?;
        if *node.ty(result) != expected {
            return Err(OpError::new(format!("C of type {} does not broadcast to {expected}", node.ty(c))));
        }
    }
    Ok(vec![result])
}

fn scaled(node: &mut Import, value: ir::Value, factor: f32) -> Result<ir::Value, OpError> {
    if factor == 1.0 {
        return Ok(value);
    }
    let dtype = node.ty(value).dtype;
    if !dtype.is_float() && factor.fract() != 0.0 {
        return Err(OpError::new(format!("the factor {factor} is none of {dtype}")));
    }
    let factor = node.scalar(dtype, f64::from(factor));
    node.apply(ops::mul::Mul, &[value, factor])
}
