//! The graph again, without the strands that go.

use std::collections::HashMap;

use ir::{NodeId, NodeKind, Tensor, Value};
use ops::{AnyOp, Graph};

use super::analysis::Analysis;
use super::flow::{Flow, Origins, with_extent};
use super::strands::Strands;
use super::{Dropped, Eliminated};
use crate::Error;

pub fn without(
    graph: &Graph,
    order: &[NodeId],
    analysis: &Analysis,
    strands: &Strands,
) -> Result<Eliminated, Error> {
    let mut narrower =
        Narrower { graph, analysis, strands, result: Graph::new(graph.name.clone()), values: HashMap::new() };
    // The interface first, in its order.
    for &id in graph.inputs() {
        let node = graph.node(id);
        let input = narrower.result.input(node.name.clone(), node.types[0].clone());
        narrower.values.insert(Value { node: id, result: 0 }, input);
    }
    let mut dropped = vec![];
    let mut macs_saved = 0;
    for &id in order {
        let node = graph.node(id);
        match &node.kind {
            NodeKind::Input => (),
            NodeKind::Constant(tensor) => {
                let constant = narrower.result.constant(node.name.clone(), tensor.clone());
                narrower.values.insert(Value { node: id, result: 0 }, constant);
            }
            NodeKind::Apply(op) => {
                macs_saved += narrower.apply(id, op)?;
                dropped.extend(narrower.dropped(id));
            }
        }
    }
    for (name, value) in graph.outputs() {
        let value = narrower.values[value];
        narrower.result.output(name.clone(), value);
    }
    let mut graph = narrower.result;
    graph.drop_dead();
    Ok(Eliminated { graph, dropped, macs_saved })
}

struct Narrower<'a> {
    graph: &'a Graph,
    analysis: &'a Analysis,
    strands: &'a Strands,
    result: Graph,
    /// What each value has become.
    values: HashMap<Value, Value>,
}

impl Narrower<'_> {
    /// Adds the node in its narrow form; how many multiply-accumulates it saves.
    fn apply(&mut self, id: NodeId, op: &AnyOp) -> Result<u64, Error> {
        let node = self.graph.node(id);
        let operands = self.graph.operands(id);
        let mut narrow: Vec<Value> = operands.iter().map(|value| self.values[value]).collect();
        let kept = |result: usize| self.strands.kept(Value { node: id, result });
        let narrow_op = match &self.analysis.flows[&id] {
            Flow::Opaque => op.clone(),
            Flow::Carried(carried) => {
                let kept = kept(0);
                for (k, along) in carried.along.iter().enumerate() {
                    if let Some(axis) = *along {
                        self.cut(operands[k], &mut narrow[k], axis, &kept);
                    }
                }
                with_extent(op, carried.axis, kept.len())
            }
            Flow::Contracted(contraction) => {
                let outputs = kept(0);
                let summed = self.analysis.axis(operands[0]) == Some(contraction.summed);
                let inputs = summed.then(|| self.strands.kept(operands[0]));
                let (output_axis, input_axis) = match op {
                    AnyOp::Matmul(_) => (1, 0),
                    _ => (0, 1),
                };
                self.cut(operands[1], &mut narrow[1], output_axis, &outputs);
                if let Some(inputs) = inputs {
                    self.cut(operands[1], &mut narrow[1], input_axis, &inputs);
                }
                if let Some(&bias) = operands.get(2) {
                    self.cut(bias, &mut narrow[2], 0, &outputs);
                }
                op.clone()
            }
            Flow::Grouped { group, contraction } => {
                let outputs = kept(0);
                self.cut(operands[1], &mut narrow[1], 0, &outputs);
                if let Some(&bias) = operands.get(2) {
                    self.cut(bias, &mut narrow[2], 0, &outputs);
                }
                let mut op = op.clone();
                if let AnyOp::Conv(conv) = &mut op {
                    conv.group = outputs.len() / (contraction.outputs / group);
                }
                op
            }
            Flow::Placed { axis, origins } => {
                let kept: Vec<Vec<usize>> = (0..origins.len()).map(kept).collect();
                if let AnyOp::Concat(_) = op {
                    let mut start = 0;
                    for (k, &operand) in operands.iter().enumerate() {
                        let end = start + self.graph.ty(operand).shape[*axis];
                        let part: Vec<usize> =
                            kept[0].iter().filter(|c| (start..end).contains(c)).map(|c| c - start).collect();
                        self.cut(operand, &mut narrow[k], *axis, &part);
                        start = end;
                    }
                }
                let from = self.strands.kept(operands[0]);
                placed(op, *axis, origins, &from, &kept)
            }
        };
        let types = self.graph.types(&operands);
        let narrow_types = self.result.types(&narrow);
        let saved = op.macs(&types).saturating_sub(narrow_op.macs(&narrow_types));
        let results = self
            .result
            .apply(node.name.clone(), narrow_op, &narrow)
            .map_err(|error| Error::internal(format!("`{}` without channels: {error}", node.name)))?;
        for (result, value) in results.into_iter().enumerate() {
            self.values.insert(Value { node: id, result }, value);
        }
        Ok(saved)
    }

    /// Cuts a constant operand, or what is left of it; what is not constant has become narrow already.
    fn cut(&mut self, operand: Value, narrow: &mut Value, axis: usize, kept: &[usize]) {
        let Some(tensor) = self.result.constant_value(*narrow) else { return };
        if tensor.ty.shape[axis] != kept.len() {
            let tensor = chosen(tensor, axis, kept);
            *narrow = self.result.constant(self.graph.node(operand.node).name.clone(), tensor);
        }
    }

    fn dropped(&self, id: NodeId) -> Option<Dropped> {
        let (Flow::Contracted(contraction) | Flow::Grouped { contraction, .. }) = &self.analysis.flows[&id]
        else {
            return None;
        };
        let value = Value { node: id, result: 0 };
        let channels = contraction.outputs - self.strands.kept(value).len();
        (channels > 0).then(|| Dropped {
            node: self.graph.node(id).name.clone(),
            channels,
            of: contraction.outputs,
            zero: self.strands.zeros(value),
        })
    }
}

/// `op`, which puts channels elsewhere, for those that are `kept` of each result and those of operand 0 that are left.
fn placed(op: &AnyOp, axis: usize, origins: &[Origins], from: &[usize], kept: &[Vec<usize>]) -> AnyOp {
    let mut op = op.clone();
    match &mut op {
        AnyOp::Reshape(reshape) => reshape.shape[axis] = kept[0].len(),
        AnyOp::Slice(slice) => {
            slice.starts[axis] = from.iter().filter(|&&channel| channel < slice.starts[axis]).count();
            slice.shape[axis] = kept[0].len();
        }
        AnyOp::Split(split) => split.sizes = kept.iter().map(Vec::len).collect(),
        AnyOp::Pad(pad) => {
            let own = |c: &usize| origins[0][*c].is_some();
            let before = kept[0].iter().take_while(|c| !own(c)).count();
            let after = kept[0].iter().rev().take_while(|c| !own(c)).count();
            pad.pads[axis] = (before as i64, after as i64);
        }
        _ => (),
    }
    op
}

/// The slices of `tensor` at the places `kept` of an axis.
fn chosen(tensor: &Tensor, axis: usize, kept: &[usize]) -> Tensor {
    let extent = tensor.ty.shape[axis];
    let slice = tensor.ty.strides()[axis] * tensor.ty.dtype.bytes();
    let mut shape = tensor.ty.shape.clone();
    shape[axis] = kept.len();
    let ty = tensor.ty.with_shape(shape);
    let mut data = Vec::with_capacity(ty.bytes());
    for block in tensor.data.chunks_exact((slice * extent).max(1)) {
        kept.iter().for_each(|&place| data.extend_from_slice(&block[place * slice..(place + 1) * slice]));
    }
    Tensor::new(ty, data)
}
