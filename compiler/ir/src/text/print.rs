use std::collections::HashMap;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::LISTED;
use super::parse::{is_word, scalar};
use crate::{Graph, NodeKind, Operator, Tensor, Value};

/// The whole graph; [`parse`](super::parse) reads it back.
pub fn print<O: Operator>(graph: &Graph<O>) -> String {
    Printer::new(graph, full).print()
}

/// As [`print`], for people: of a large constant only the first elements are shown.
pub fn print_elided<O: Operator>(graph: &Graph<O>) -> String {
    Printer::new(graph, elided).print()
}

struct Printer<'a, O> {
    graph: &'a Graph<O>,
    numbers: HashMap<Value, usize>,
    elements: fn(&Tensor) -> String,
}

impl<'a, O: Operator> Printer<'a, O> {
    fn new(graph: &'a Graph<O>, elements: fn(&Tensor) -> String) -> Printer<'a, O> {
        Printer { graph, numbers: HashMap::new(), elements }
    }

    fn print(mut self) -> String {
        let inputs: Vec<String> =
            self.graph.inputs().iter().map(|&id| self.header(Value { node: id, result: 0 })).collect();
        let name = match is_word(&self.graph.name) {
            true => self.graph.name.clone(),
            false => quoted(&self.graph.name),
        };
        let mut out = format!("graph @{name}({}) {{\n", inputs.join(", "));
        for id in self.graph.order() {
            let node = self.graph.node(id);
            let results = (0..node.types.len()).map(|result| self.define(Value { node: id, result }));
            let results = match node.kind {
                NodeKind::Input => continue,
                _ => results.collect::<Vec<_>>().join(", "),
            };
            let meaning = match &node.kind {
                NodeKind::Constant(tensor) => format!("constant {} {}", tensor.ty, (self.elements)(tensor)),
                NodeKind::Apply(op) => {
                    let operands: Vec<String> =
                        self.graph.operands(id).iter().map(|&value| self.value(value)).collect();
                    let types: Vec<String> = node.types.iter().map(ToString::to_string).collect();
                    let operands = spaced(&operands.join(", "));
                    format!("{}{}{operands} : {}", op.name(), attributes(op), types.join(", "))
                }
                NodeKind::Input => continue,
            };
            let _ = writeln!(out, "  {results}{} = {meaning}", name_after(&node.name));
        }
        let output = |(name, value): &(String, Value)| self.value(*value) + &name_after(name);
        let outputs: Vec<String> = self.graph.outputs().iter().map(output).collect();
        out + "  return" + &spaced(&outputs.join(", ")) + "\n}\n"
    }

    fn header(&mut self, input: Value) -> String {
        let node = self.graph.node(input.node);
        format!("{}{}: {}", self.define(input), name_after(&node.name), node.types[0])
    }

    fn define(&mut self, value: Value) -> String {
        let next = self.numbers.len();
        self.numbers.insert(value, next);
        format!("%{next}")
    }

    fn value(&self, value: Value) -> String {
        match self.numbers.get(&value) {
            Some(number) => format!("%{number}"),
            // Only a graph that does not verify has such a value; its text says so and does not parse.
            None => "%?".to_owned(),
        }
    }
}

fn attributes<O: Operator>(op: &O) -> String {
    let attributes = op.attributes();
    if attributes.is_empty() { String::new() } else { format!(" {}", serde_json::Value::Object(attributes)) }
}

fn quoted(name: &str) -> String {
    serde_json::Value::from(name).to_string()
}

fn name_after(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(" {}", quoted(name)) }
}

fn spaced(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" {text}") }
}

fn full(tensor: &Tensor) -> String {
    // A NaN's payload has no text of its own: such tensors go by their bytes.
    let readable = || tensor.scalars().all(|s| scalar(s.dtype, &s.to_string()) == Some(s));
    match tensor.ty.elements() <= LISTED && readable() {
        true => list(tensor, LISTED),
        false => format!("base64 \"{}\"", STANDARD.encode(tensor.data.as_slice())),
    }
}

fn elided(tensor: &Tensor) -> String {
    list(tensor, if tensor.ty.elements() <= LISTED { LISTED } else { 4 })
}

fn list(tensor: &Tensor, most: usize) -> String {
    let mut elements: Vec<String> = tensor.scalars().take(most).map(|s| s.to_string()).collect();
    if tensor.ty.elements() > most {
        elements.push("...".to_owned());
    }
    format!("[{}]", elements.join(", "))
}
