//! A picture of the optimised graph: a box per kernel with the ONNX nodes inside that it computes, shaded by its share
//! of the cost, and between the boxes what they hand on.

mod html;
mod place;
pub mod roofline;
mod svg;

use std::collections::{BTreeSet, HashMap};

use ir::{NodeId, NodeKind, Value};
use ops::Graph;

use crate::explain::Kernel;

/// What is drawn.
pub struct Picture<'a> {
    /// The model, the target, and how many kernels there are.
    pub heading: String,
    pub kernels: &'a [Kernel],
    boxes: Vec<Block<'a>>,
    edges: Vec<Edge>,
}

enum Block<'a> {
    Input(&'a str),
    Output(&'a str),
    /// And the types of its nodes in the ONNX model, where they are known.
    Kernel(&'a Kernel, Vec<Option<&'a str>>),
}

/// A tensor on its way from one box to another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    from: usize,
    to: usize,
    label: String,
}

/// The picture's forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Svg,
    /// With the kernels as a table, to be moved and enlarged in a browser; nothing is fetched from elsewhere.
    Html,
}

impl<'a> Picture<'a> {
    /// Of the rewritten `graph`, of which `kernels` are computed; `op_type` knows the ONNX nodes.
    pub fn new(
        heading: String,
        graph: &'a Graph,
        kernels: &'a [Kernel],
        op_type: impl Fn(&str) -> Option<&'a str>,
    ) -> Picture<'a> {
        let mut boxes: Vec<Block> = Vec::new();
        let mut places: HashMap<NodeId, usize> = HashMap::new();
        for &id in graph.inputs() {
            places.insert(id, boxes.len());
            boxes.push(Block::Input(&graph.node(id).name));
        }
        for kernel in kernels {
            places.insert(kernel.node, boxes.len());
            let types = kernel.nodes.iter().map(|name| op_type(name)).collect();
            boxes.push(Block::Kernel(kernel, types));
        }
        let mut edges = BTreeSet::new();
        let mut join = |to: usize, value: Value| {
            for source in sources(graph, &places, value) {
                edges.insert(Edge { from: places[&source.node], to, label: label(graph, source) });
            }
        };
        for kernel in kernels {
            graph.operands(kernel.node).into_iter().for_each(|value| join(places[&kernel.node], value));
        }
        for (name, value) in graph.outputs() {
            join(boxes.len(), *value);
            boxes.push(Block::Output(name));
        }
        Picture { heading, kernels, boxes, edges: edges.into_iter().collect() }
    }

    pub fn draw(&self, form: Form) -> String {
        let drawn = svg::draw(self, &place::place(self));
        match form {
            Form::Svg => drawn,
            Form::Html => html::page(self, &drawn),
        }
    }
}

/// The values with a box of their own that `value` is made of: itself, or what it is only seen through.
fn sources(graph: &Graph, places: &HashMap<NodeId, usize>, value: Value) -> Vec<Value> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut work = vec![value];
    while let Some(value) = work.pop() {
        if !seen.insert(value) {
            continue;
        }
        match places.contains_key(&value.node) {
            true => found.push(value),
            false => work.extend(graph.operands(value.node)),
        }
    }
    found
}

/// The tensor's type, and where its channels are if its producer says so.
fn label(graph: &Graph, value: Value) -> String {
    let layout = match &graph.node(value.node).kind {
        NodeKind::Apply(op) => op.layout(),
        _ => None,
    };
    let ty = graph.ty(value);
    layout.map_or_else(|| ty.to_string(), |layout| format!("{ty} {layout}"))
}

/// `text` for XML and HTML, in an element or a quoted attribute; characters that XML cannot have are replaced.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            '\t' | '\n' | '\r' => escaped.push(' '),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            _ if character.is_control() => escaped.push('\u{fffd}'),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// At most `most` characters of `text`: of a path the end, which tells nodes apart.
pub fn shortened(text: &str, most: usize) -> String {
    let count = text.chars().count();
    match count <= most {
        true => text.to_owned(),
        false => std::iter::once('…').chain(text.chars().skip(count + 1 - most)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::rewrite;
    use crate::explain::{Names, kernels};
    use crate::lower::lower;
    use targets::Target;

    fn drawn(text: &str, form: Form) -> String {
        let graph: Graph = ir::parse(text).unwrap();
        let cost = rewrite::DefaultCost::default();
        let optimized = rewrite(&graph, &cost, &rewrite::Options::default()).unwrap();
        let target = Target::preset("cortex-m4f").unwrap();
        let lowered = lower(&optimized.graph, &target, "net").unwrap();
        let kernels = kernels(&optimized, &lowered, &cost, &Names::new(["a", "b"]));
        Picture::new("net".to_owned(), &optimized.graph, &kernels, |_| Some("Op")).draw(form)
    }

    const SPLIT: &str = r#"graph @g(%x "x": f32[8,4]) {
        %a "a" = relu %x : f32[8,4]
        %t "t" = transpose {"permutation":[1,0]} %a : f32[4,8]
        %s "<script>alert(1)</script>&\"'\u0000" = softmax {"axis":1} %t : f32[4,8]
        return %s "]]> y" }"#;

    #[test]
    fn hostile_names_stay_text() {
        for form in [Form::Svg, Form::Html] {
            let text = drawn(SPLIT, form);
            assert!(!text.contains("<script>alert"), "{text}");
            assert!(text.contains("&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;&#39;\u{fffd}"), "{text}");
            assert!(text.contains("]]&gt; y") && !text.contains('\0'), "{text}");
        }
    }

    #[test]
    fn edges_pass_through_views() {
        let text = drawn(SPLIT, Form::Svg);
        assert_eq!(text.matches("class=\"kernel\"").count(), 2, "{text}");
        assert_eq!(text.matches("class=\"edge\"").count(), 3, "{text}");
        assert_eq!(text, drawn(SPLIT, Form::Svg));
    }

    #[test]
    fn long_names_keep_their_end() {
        assert_eq!(shortened("/a/b/Conv", 20), "/a/b/Conv");
        assert_eq!(shortened("/features/Conv", 6), "…/Conv");
    }
}
