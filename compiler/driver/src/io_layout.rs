//! `--io-layout`: public inputs and outputs with their channels last.

use std::str::FromStr;

use clap::ValueEnum;
use ir::{NodeKind, OpError, Tensor, TensorType, Value};
use ops::shape::Layout;
use ops::{AnyOp, Graph};
use serde::{Deserialize, Serialize};

use crate::diagnostic::{Diagnostic, code};

/// The order of the axes of a public tensor `[n, c, spatial...]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum IoLayout {
    /// As the model has it.
    Nchw,
    /// `[n, spatial..., c]`.
    Nhwc,
}

/// One `--io-layout`: a layout for the input or output of a name, or for all of three and more axes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    pub name: Option<String>,
    pub layout: IoLayout,
}

impl FromStr for Wish {
    type Err = String;

    fn from_str(text: &str) -> Result<Wish, String> {
        let (name, layout) = match text.rsplit_once('=') {
            Some((name, layout)) => (Some(name.to_owned()), layout),
            None => (None, text),
        };
        let layout = IoLayout::from_str(layout, false).map_err(|_| "write nhwc, nchw, or NAME=nhwc")?;
        Ok(Wish { name, layout })
    }
}

/// Which public tensors have their channels last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublicLayouts {
    pub inputs: Vec<bool>,
    pub outputs: Vec<bool>,
}

impl PublicLayouts {
    /// What the wishes say about `graph`'s inputs and outputs; of several about one tensor the last one counts.
    pub fn of(graph: &Graph, wishes: &[Wish]) -> Result<PublicLayouts, Diagnostic> {
        let inputs: Vec<(&str, Value)> = graph
            .inputs()
            .iter()
            .map(|&node| (graph.node(node).name.as_str(), Value { node, result: 0 }))
            .collect();
        let outputs: Vec<(&str, Value)> =
            graph.outputs().iter().map(|(name, value)| (name.as_str(), *value)).collect();
        for wish in wishes {
            let Some(name) = &wish.name else { continue };
            let Some((_, value)) = inputs.iter().chain(&outputs).find(|(known, _)| known == name) else {
                let known: Vec<&str> = inputs.iter().chain(&outputs).map(|(name, _)| *name).collect();
                let message = format!("--io-layout: the model has no input or output `{name}`");
                return Err(Diagnostic::usage(code::COMMAND_LINE, message)
                    .with_hint(format!("it has {}", known.join(", "))));
            };
            let ty = graph.ty(*value);
            if wish.layout == IoLayout::Nhwc && ty.rank() < 3 {
                let message = format!("--io-layout: `{name}` is {ty}, which has no channels and places");
                return Err(Diagnostic::usage(code::COMMAND_LINE, message));
            }
        }
        let last = |tensors: &[(&str, Value)]| {
            let one = |(name, value): &(&str, Value)| {
                let about = |wish: &&Wish| wish.name.as_deref().is_none_or(|wished| wished == *name);
                let wish = wishes.iter().rev().find(about);
                wish.is_some_and(|wish| wish.layout == IoLayout::Nhwc) && graph.ty(*value).rank() > 2
            };
            tensors.iter().map(one).collect()
        };
        Ok(PublicLayouts { inputs: last(&inputs), outputs: last(&outputs) })
    }

    /// `graph` with its inputs and outputs in these layouts, and transposes where it had them in the other.
    pub fn apply(&self, graph: &Graph) -> Result<Graph, OpError> {
        if !self.inputs.contains(&true) && !self.outputs.contains(&true) {
            return Ok(graph.clone());
        }
        let mut laid_out = Graph::new(graph.name.clone());
        let mut values: std::collections::HashMap<Value, Value> = std::collections::HashMap::new();
        for (&node, &last) in graph.inputs().iter().zip(&self.inputs) {
            let input = Value { node, result: 0 };
            let (name, ty) = (graph.node(node).name.clone(), graph.ty(input).clone());
            let value = if last {
                let value = laid_out.input(name, ty.with_shape(permuted(&ty.shape, &to_last(ty.rank()))));
                laid_out.apply("", AnyOp::transpose(to_first(ty.rank())), &[value])?[0]
            } else {
                laid_out.input(name, ty)
            };
            values.insert(input, value);
        }
        for id in graph.order() {
            let node = graph.node(id);
            let results = match &node.kind {
                NodeKind::Input => continue,
                NodeKind::Constant(tensor) => vec![laid_out.constant(node.name.clone(), tensor.clone())],
                NodeKind::Apply(op) => {
                    let operands: Vec<Value> = graph.operands(id).iter().map(|value| values[value]).collect();
                    laid_out.apply(node.name.clone(), op.clone(), &operands)?
                }
            };
            for (result, value) in results.into_iter().enumerate() {
                values.insert(Value { node: id, result }, value);
            }
        }
        for ((name, value), &last) in graph.outputs().iter().zip(&self.outputs) {
            let rank = graph.ty(*value).rank();
            let mut value = values[value];
            if last {
                value = laid_out.apply("", AnyOp::transpose(to_last(rank)), &[value])?[0];
            }
            laid_out.output(name.clone(), value);
        }
        Ok(laid_out)
    }
}

/// `tensor`, which is in the model's order, with its channels last.
pub fn channels_last(tensor: &Tensor) -> Tensor {
    transposed(tensor, to_last(tensor.ty.rank()))
}

/// The inverse of [`channels_last`].
pub fn channels_first(tensor: &Tensor) -> Tensor {
    transposed(tensor, to_first(tensor.ty.rank()))
}

/// The model's type of a tensor that has its channels last.
pub fn model_type(ty: &TensorType) -> TensorType {
    ty.with_shape(permuted(&ty.shape, &to_first(ty.rank())))
}

fn transposed(tensor: &Tensor, permutation: Vec<usize>) -> Tensor {
    let mut results = AnyOp::transpose(permutation).eval(&[tensor]);
    results.swap_remove(0)
}

fn to_last(rank: usize) -> Vec<usize> {
    Layout::ChannelsLast.join(0, 1, &(2..rank).collect::<Vec<_>>())
}

fn to_first(rank: usize) -> Vec<usize> {
    Layout::ChannelsFirst.join(0, rank - 1, &(1..rank - 1).collect::<Vec<_>>())
}

fn permuted(shape: &[usize], permutation: &[usize]) -> Vec<usize> {
    permutation.iter().map(|&axis| shape[axis]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Graph {
        let text = r#"
graph @g(%x "x": f32[1,2,2,3], %s "s": f32[2]) {
  %r "r" = relu %x : f32[1,2,2,3]
  %t "t" = relu %s : f32[2]
  return %r "y", %t "z"
}"#;
        match ir::parse(text) {
            Ok(graph) => graph,
            Err(error) => panic!("{error:?}"),
        }
    }

    fn wishes(texts: &[&str]) -> Vec<Wish> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn wishes_are_for_all_or_for_one_and_the_last_counts() {
        let of = |texts: &[&str]| PublicLayouts::of(&model(), &wishes(texts)).unwrap();
        assert_eq!(of(&["nhwc"]), PublicLayouts { inputs: vec![true, false], outputs: vec![true, false] });
        assert_eq!(of(&["y=nhwc"]), PublicLayouts { inputs: vec![false; 2], outputs: vec![true, false] });
        assert_eq!(
            of(&["nhwc", "x=nchw"]),
            PublicLayouts { inputs: vec![false; 2], outputs: vec![true, false] }
        );
        assert!("x=hwc".parse::<Wish>().is_err());
    }

    #[test]
    fn names_and_ranks_are_checked() {
        let message = |text: &str| PublicLayouts::of(&model(), &wishes(&[text])).unwrap_err().message;
        assert!(message("a=nhwc").contains("no input or output `a`"));
        assert!(message("s=nhwc").contains("`s` is f32[2]"));
    }

    #[test]
    fn the_values_are_those_of_the_model_in_the_other_order() {
        let graph = model();
        let layouts = PublicLayouts::of(&graph, &wishes(&["nhwc"])).unwrap();
        let laid_out = layouts.apply(&graph).unwrap();
        let x = Tensor::from_slice([1, 2, 2, 3], &(0..12).map(|k| k as f32 - 5.0).collect::<Vec<_>>());
        let s = Tensor::from_slice([2], &[1.0f32, -1.0]);
        let expected = ops::evaluate(&graph, &[x.clone(), s.clone()]);
        let actual = ops::evaluate(&laid_out, &[channels_last(&x), s]);
        assert_eq!(actual[0].ty.shape, [1, 2, 3, 2]);
        assert_eq!(channels_first(&actual[0]), expected[0]);
        assert_eq!(model_type(&actual[0].ty), expected[0].ty);
        assert_eq!(actual[1], expected[1]);
    }
}
