use ir::{Float, OpError, TensorType, Value};
use loops::{Definition, Expr, Fold, Unary};
use serde::{Deserialize, Serialize};

use crate::along::{Along, accumulator, operand, stored};
use crate::{Import, Meaning, Onnx, Op, check, onnx, shape};

/// `(x - mean) / √(variance + epsilon) · scale + bias`, mean and variance taken along `axes`.
///
/// Operands `x` and optionally `scale`, then `bias`, which broadcast to `x`. Instance and group normalization are
/// this as well, on other axes.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LayerNorm {
    /// Sorted.
    pub axes: Vec<usize>,
    pub epsilon: Float,
    /// Whether the mean and `1 / √(variance + epsilon)` are results too.
    pub statistics: bool,
}

impl Op for LayerNorm {
    const NAME: &'static str = "layer_norm";
    const ONNX: &'static [Onnx] = &[
        onnx("LayerNormalization", 17, layer_normalization),
        onnx("InstanceNormalization", 6, instance_normalization),
        onnx("GroupNormalization", 18, group_normalization),
    ];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let x = infer_norm(&self.axes, inputs, 3)?;
        let mut results = vec![x.clone()];
        if self.statistics {
            let extent = |(axis, &e): (usize, &usize)| if self.axes.contains(&axis) { 1 } else { e };
            let kept: Vec<usize> = x.shape.iter().enumerate().map(extent).collect();
            results.extend(vec![TensorType::new(accumulator(x.dtype), kept); 2]);
        }
        Ok(results)
    }

    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let x = &inputs[0];
        let (along, acc) = (Along::new(&x.shape, &self.axes), accumulator(x.dtype));
        let constant = |value| Expr::constant(acc, value);
        let centred = |element: &[Expr]| operand(0, x, acc, element) - along.result(0);
        let mean = Expr::Folded / constant(along.count() as f64);
        let deviation = Expr::unary(Unary::Sqrt, mean.clone() + constant(self.epsilon.wide()));
        let stages = vec![
            along.fold(acc, Fold::Sum, |element| operand(0, x, acc, element)).finished(acc, &mean),
            along
                .fold(acc, Fold::Sum, |element| centred(element) * centred(element))
                .finished(acc, &(constant(1.0) / deviation)),
            along.map(x.dtype, |element| {
                let mut value = centred(element) * along.result(1);
                if let Some(scale) = inputs.get(1) {
                    value = value * operand(1, scale, acc, element);
                }
                if let Some(bias) = inputs.get(2) {
                    value = value + operand(2, bias, acc, element);
                }
                stored(value, acc, x.dtype)
            }),
        ];
        let results = if self.statistics { vec![2, 0, 1] } else { vec![2] };
        Meaning::Compute(Definition { stages, tables: vec![], results })
    }
}

/// Floats `x` with these axes, and up to `most - 1` floats that broadcast to it. Gives `x`.
pub(super) fn infer_norm<'a>(
    axes: &[usize],
    inputs: &'a [TensorType],
    most: usize,
) -> Result<&'a TensorType, OpError> {
    let x = inputs.first().filter(|_| inputs.len() <= most);
    let x = x.ok_or_else(|| OpError::new(format!("takes 1 to {most} inputs, got {}", inputs.len())))?;
    for input in inputs {
        check::require(input.dtype, input.dtype.is_float(), "a float type")?;
        if shape::broadcast(&[&x.shape, &input.shape])? != x.shape {
            return Err(OpError::new(format!("{input} does not broadcast to {x}")));
        }
    }
    if !axes.is_sorted_by(|a, b| a < b) || axes.last().is_some_and(|&axis| axis >= x.rank()) {
        return Err(OpError::new(format!("{axes:?} are no sorted axes of {x}")));
    }
    Ok(x)
}

fn epsilon(node: &Import) -> Result<Float, OpError> {
    Ok(Float(node.float("epsilon")?.unwrap_or(1e-5)))
}

fn layer_normalization(node: &mut Import) -> Result<Vec<Value>, OpError> {
    let operands = node.all_inputs()?;
    let ty = node.ty(node.input(0)?).clone();
    let first = shape::axis(node.int("axis")?.unwrap_or(-1), ty.rank())?;
    let statistics = node.outputs.iter().skip(1).any(|&read| read);
    let op = LayerNorm { axes: (first..ty.rank()).collect(), epsilon: epsilon(node)?, statistics };
    let mut results = node.apply_all(op, &operands)?;
    if statistics {
        let stash = crate::element_type(node.int("stash_type")?.unwrap_or(1))?;
        for result in &mut results[1..] {
            *result = node.cast(*result, stash)?;
        }
    }
    Ok(results)
}

/// Per instance and channel; scale and bias are per channel.
fn instance_normalization(node: &mut Import) -> Result<Vec<Value>, OpError> {
    let x = node.input(0)?;
    let ty = node.ty(x).clone();
    if ty.rank() < 3 {
        return Err(OpError::new(format!("takes a batch of channels with spatial axes, got {ty}")));
    }
    let mut per_channel = vec![1; ty.rank() - 1];
    per_channel[0] = ty.shape[1];
    let (scale, bias) = (node.input(1)?, node.input(2)?);
    let operands = [x, node.reshape(scale, &per_channel)?, node.reshape(bias, &per_channel)?];
    let op = LayerNorm { axes: (2..ty.rank()).collect(), epsilon: epsilon(node)?, statistics: false };
    Ok(vec![node.apply(op, &operands)?])
}

/// Per instance and group of channels; scale and bias are per group in opset 18, per channel from 21 on.
fn group_normalization(node: &mut Import) -> Result<Vec<Value>, OpError> {
    let x = node.input(0)?;
    let ty = node.ty(x).clone();
    let groups = node.int("num_groups")?.ok_or_else(|| OpError::new("attribute `num_groups` is missing"))?;
    let groups = shape::positive(groups, "num_groups")?;
    if ty.rank() < 2 || !ty.shape[1].is_multiple_of(groups) {
        return Err(OpError::new(format!("{groups} groups do not divide the channels of {ty}")));
    }
    let mut grouped = vec![ty.shape[0], groups, ty.shape[1] / groups];
    grouped.extend(&ty.shape[2..]);
    let mut weights = vec![1; grouped.len() - 1];
    weights[0] = groups;
    if node.opset >= 21 {
        weights[1] = ty.shape[1] / groups;
    }
    let (scale, bias) = (node.input(1)?, node.input(2)?);
    let operands =
        [node.reshape(x, &grouped)?, node.reshape(scale, &weights)?, node.reshape(bias, &weights)?];
    let op = LayerNorm { axes: (2..grouped.len()).collect(), epsilon: epsilon(node)?, statistics: false };
    let result = node.apply(op, &operands)?;
    Ok(vec![node.reshape(result, &ty.shape)?])
}
