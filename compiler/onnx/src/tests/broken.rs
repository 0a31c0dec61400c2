//! Files that are no good, and what is said about them.

use prost::Message;

use super::build::*;
use crate::proto::*;
use crate::{Kind, Options, import_bytes};

/// A case: its name, the file, whose fault it is, and what the message must say.
type Case = (&'static str, Vec<u8>, Kind, &'static str);

#[test]
fn broken_files_are_refused_with_a_reason() {
    let cases: Vec<Case> =
        [files(), structure(), tensors(), types(), attributes(), functions(), branches(), limits()].concat();
    assert!(cases.len() >= 60, "{} cases", cases.len());
    let failures: Vec<String> = cases.iter().filter_map(failure).collect();
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

fn failure((name, bytes, kind, says): &Case) -> Option<String> {
    let Err(problems) = import_bytes(bytes, None, &Options::default()) else {
        return Some(format!("`{name}` imports"));
    };
    let found = problems.iter().any(|problem| problem.kind == *kind && problem.to_string().contains(says));
    (!found).then(|| format!("`{name}` should be {kind:?} and say `{says}`, but:\n{}", text(&problems)))
}

fn bytes(model: &ModelProto) -> Vec<u8> {
    model.encode_to_vec()
}

/// The small model, changed.
fn changed(change: impl FnOnce(&mut ModelProto)) -> Vec<u8> {
    let mut model = small();
    change(&mut model);
    bytes(&model)
}

/// The small model with another graph in it, changed.
fn changed_graph(change: impl FnOnce(&mut GraphProto)) -> Vec<u8> {
    changed(|model| change(model.graph.as_mut().unwrap()))
}

/// The small model with another `w`.
fn changed_weight(change: impl FnOnce(&mut TensorProto)) -> Vec<u8> {
    changed_graph(|graph| change(&mut graph.initializer[0]))
}

/// One node over `x`: float [1,4].
fn one(node: NodeProto) -> Vec<u8> {
    bytes(&model(graph(&[floats("x", &[1, 4])], &[], &[node], &[floats("y", &[1, 4])])))
}

fn files() -> Vec<Case> {
    use Kind::{Invalid, Unsupported};
    let whole = bytes(&small());
    vec![
        ("empty file", vec![], Invalid, "no graph"),
        ("truncated", whole[..whole.len() - 7].to_vec(), Invalid, "not an ONNX model"),
        ("half", whole[..whole.len() / 2].to_vec(), Invalid, "not an ONNX model"),
        ("text", b"this is not a model at all".to_vec(), Invalid, "not an ONNX model"),
        (
            "a length of 2^63",
            [0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f].to_vec(),
            Invalid,
            "not an ONNX model",
        ),
        (
            "a tensor, not a model",
            weight("w", &[2], &[1.0, 2.0]).encode_to_vec(),
            Invalid,
            "not an ONNX model",
        ),
        ("name is not UTF-8", [0x3a, 0x03, 0x12, 0x01, 0xff].to_vec(), Invalid, "not an ONNX model"),
        ("no graph", changed(|model| model.graph = None), Invalid, "no graph"),
        (
            "opset 6",
            changed(|model| model.opset_import[0].version = 6),
            Unsupported,
            "opset 6 of ai.onnx; 7 to",
        ),
        ("opset 999", changed(|model| model.opset_import[0].version = 999), Unsupported, "opset 999"),
        ("opset -1", changed(|model| model.opset_import[0].version = -1), Unsupported, "opset -1"),
        ("no opset at all", changed(|model| model.opset_import.clear()), Unsupported, "opset 1 of ai.onnx"),
        (
            "only another domain's opset",
            changed(|model| model.opset_import[0].domain = "ai.onnx.ml".into()),
            Invalid,
            "does not import the operator's domain",
        ),
        ("IR version 999", changed(|model| model.ir_version = 999), Unsupported, "IR version 999"),
    ]
}

fn structure() -> Vec<Case> {
    use Kind::{Invalid, Unsupported};
    vec![
        ("empty graph", changed_graph(|graph| *graph = GraphProto::default()), Invalid, "no outputs"),
        ("no outputs", changed_graph(|graph| graph.output.clear()), Invalid, "no outputs"),
        (
            "no nodes",
            changed_graph(|graph| graph.node.clear()),
            Invalid,
            "nothing in the graph gives its output (`y`)",
        ),
        (
            "output of nothing",
            changed_graph(|graph| graph.output[0].name = "z".into()),
            Invalid,
            "nothing in the graph gives its output (`z`)",
        ),
        (
            "output without a name",
            changed_graph(|graph| graph.output[0].name.clear()),
            Invalid,
            "gives its output",
        ),
        (
            "missing initializer",
            changed_graph(|graph| graph.initializer.clear()),
            Invalid,
            "gives the value `w`",
        ),
        ("missing input", changed_graph(|graph| graph.input.clear()), Invalid, "gives the value `x`"),
        (
            "two outputs of one name",
            changed_graph(|graph| graph.output.push(floats("y", &[1, 4]))),
            Invalid,
            "two outputs have the same name",
        ),
        (
            "two inputs of one name",
            changed_graph(|graph| graph.input.push(floats("x", &[1, 4]))),
            Invalid,
            "two inputs have the same name",
        ),
        (
            "two initializers of one name",
            changed_graph(|graph| graph.initializer.push(weight("w", &[1], &[0.0]))),
            Invalid,
            "two initializers have the same name",
        ),
        (
            "a value given twice",
            changed_graph(|graph| graph.node.push(node("Relu", &["x"], &["y"]))),
            Invalid,
            "`y` is given twice",
        ),
        (
            "a node gives an input",
            changed_graph(|graph| graph.node.push(node("Relu", &["w"], &["x"]))),
            Invalid,
            "given twice",
        ),
        (
            "a node gives an initializer",
            changed_graph(|graph| graph.node.push(node("Relu", &["x"], &["w"]))),
            Invalid,
            "`w` is given twice",
        ),
        (
            "a node gives a name twice",
            one(node("Split", &["x"], &["y", "y"]).with(int("axis", 1))),
            Invalid,
            "`y` is given twice",
        ),
        (
            "a node reads itself",
            changed_graph(|graph| graph.node[0].input[1] = "sum".into()),
            Invalid,
            "cycle",
        ),
        (
            "a cycle of two",
            changed_graph(|graph| graph.node[0].input[1] = "y".into()),
            Invalid,
            "cycle (2 nodes",
        ),
        (
            "unknown operator",
            one(node("Frobnicate", &["x"], &["y"])),
            Unsupported,
            "ai.onnx.Frobnicate v17: the operator is not supported",
        ),
        ("node without a type", one(node("", &["x"], &["y"])), Unsupported, "not supported"),
        (
            "unknown domain",
            one(node("Relu", &["x"], &["y"]).in_domain("com.acme")),
            Invalid,
            "com.acme.Relu v0: the model does not import",
        ),
        ("a missing operand", one(node("Add", &["x"], &["y"])), Invalid, "Add"),
        ("no operand", one(node("Relu", &[], &["y"])), Invalid, "Relu"),
        ("an omitted operand", one(node("Add", &["x", ""], &["y"])), Invalid, "input 1 is missing"),
        ("too many operands", one(node("Relu", &["x", "x"], &["y"])), Invalid, "takes"),
        (
            "shapes that do not broadcast",
            changed_graph(|graph| graph.initializer[0] = weight("w", &[3], &[0.0; 3])),
            Invalid,
            "do not broadcast",
        ),
    ]
}

fn tensors() -> Vec<Case> {
    use Kind::{Invalid, Unsupported};
    let external = |location: &str| {
        let entry = StringStringEntryProto { key: "location".into(), value: location.into() };
        changed_weight(|w| (w.data_location, w.external_data) = (1, vec![entry]))
    };
    vec![
        (
            "short raw data",
            changed_weight(|w| w.raw_data = Some(vec![0; 15].into())),
            Invalid,
            "needs 16 bytes, the file has 15",
        ),
        (
            "long raw data",
            changed_weight(|w| w.raw_data = Some(vec![0; 20].into())),
            Invalid,
            "needs 16 bytes, the file has 20",
        ),
        ("no data", changed_weight(|w| w.raw_data = None), Invalid, "needs 4 elements, the file has 0"),
        ("data twice", changed_weight(|w| w.float_data = vec![0.0; 4]), Invalid, "more than one field"),
        (
            "data in another type's field",
            changed_weight(|w| (w.raw_data, w.int64_data) = (None, vec![0; 4])),
            Invalid,
            "needs 4 elements, the file has 0",
        ),
        ("negative extent", changed_weight(|w| w.dims = vec![-4]), Invalid, "extent -4 is negative"),
        ("2^62 elements", changed_weight(|w| w.dims = vec![1 << 62]), Unsupported, "too many elements"),
        (
            "2^80 elements",
            changed_weight(|w| w.dims = vec![1 << 40, 1 << 40]),
            Unsupported,
            "too many elements",
        ),
        (
            "2^62 by 0 elements",
            changed_weight(|w| (w.dims, w.raw_data) = (vec![1 << 62, 4, 0], None)),
            Unsupported,
            "too many elements",
        ),
        (
            "2^30 elements that are not there",
            changed_weight(|w| w.dims = vec![1 << 30]),
            Invalid,
            "the file has 16",
        ),
        ("a thousand axes", changed_weight(|w| w.dims = vec![1; 1000]), Unsupported, "1000 axes"),
        (
            "an int8 of 300",
            changed_weight(|w| (w.data_type, w.raw_data, w.int32_data) = (3, None, vec![1, 2, 3, 300])),
            Invalid,
            "the element 300 is not of type i8",
        ),
        (
            "strings",
            changed_weight(|w| (w.data_type, w.raw_data, w.string_data) = (8, None, vec!["a".into(); 4])),
            Unsupported,
            "elements of type string",
        ),
        ("complex numbers", changed_weight(|w| w.data_type = 14), Unsupported, "elements of type complex64"),
        ("float8", changed_weight(|w| w.data_type = 17), Unsupported, "elements of type float8e4m3fn"),
        ("int4", changed_weight(|w| w.data_type = 22), Unsupported, "elements of type int4"),
        (
            "no element type",
            changed_weight(|w| w.data_type = 0),
            Invalid,
            "0 is not the number of an element type",
        ),
        (
            "element type 99",
            changed_weight(|w| w.data_type = 99),
            Invalid,
            "99 is not the number of an element type",
        ),
        (
            "element type -1",
            changed_weight(|w| w.data_type = -1),
            Invalid,
            "-1 is not the number of an element type",
        ),
        (
            "a segment",
            changed_weight(|w| w.segment = Some(Segment { begin: 0, end: 4 })),
            Unsupported,
            "segments",
        ),
        ("data location 7", changed_weight(|w| w.data_location = 7), Invalid, "data location 7"),
        ("external data without a folder", external("w.bin"), Invalid, "no folder"),
        (
            "external data without a location",
            changed_weight(|w| w.data_location = 1),
            Invalid,
            "without a location",
        ),
        (
            "a sparse initializer",
            changed_graph(|graph| {
                let values = graph.initializer.pop();
                graph.sparse_initializer.push(SparseTensorProto { values });
            }),
            Unsupported,
            "sparse initializers are not supported (`w`)",
        ),
    ]
}

fn types() -> Vec<Case> {
    use Kind::{Invalid, Unsupported};
    let input = |info: ValueInfoProto| changed_graph(|graph| graph.input[0] = info);
    vec![
        (
            "input without a type",
            input(ValueInfoProto { name: "x".into(), r#type: None }),
            Invalid,
            "no type",
        ),
        (
            "input of a type without a kind",
            input(ValueInfoProto { name: "x".into(), r#type: Some(TypeProto { value: None }) }),
            Invalid,
            "no type",
        ),
        (
            "input of strings",
            input(info("x", 8, &[D::N(4)])),
            Unsupported,
            "elements of type string are not supported (`x`)",
        ),
        (
            "a sequence",
            input(typed("x", TypeValue::Sequence(OtherType {}))),
            Unsupported,
            "values of kind sequence",
        ),
        ("a map", input(typed("x", TypeValue::Map(OtherType {}))), Unsupported, "values of kind map"),
        (
            "an optional",
            input(typed("x", TypeValue::Optional(OtherType {}))),
            Unsupported,
            "values of kind optional",
        ),
        (
            "a sparse tensor",
            input(typed("x", TypeValue::SparseTensor(OtherType {}))),
            Unsupported,
            "values of kind sparse tensor",
        ),
        ("input of a negative extent", input(floats("x", &[1, -7])), Invalid, "the extent -7 is negative"),
        ("input of 2^62 elements", input(floats("x", &[1 << 31, 1 << 31])), Unsupported, "too many elements"),
        (
            "input of an open shape",
            input(typed("x", TypeValue::Tensor(TensorTypeProto { elem_type: FLOAT, shape: None }))),
            Unsupported,
            "--shape x:",
        ),
        (
            "named extents",
            input(info("x", FLOAT, &[D::S("batch"), D::N(4)])),
            Unsupported,
            "add --dim batch=1",
        ),
        ("unnamed extents", input(info("x", FLOAT, &[D::S(""), D::N(4)])), Unsupported, "add --shape x:1x4"),
        ("extents of -1", input(info("x", FLOAT, &[D::N(-1), D::N(4)])), Unsupported, "add --shape x:1x4"),
        ("float plus int64", input(info("x", INT64, &[D::N(4)])), Unsupported, "Add"),
        (
            "output of another type",
            changed_graph(|graph| graph.output[0] = info("y", INT64, &[D::N(4)])),
            Invalid,
            "declared i64 but computed as f32",
        ),
    ]
}

fn attributes() -> Vec<Case> {
    use Kind::{Invalid, Unsupported};
    let transpose = |attribute: AttributeProto| one(node("Transpose", &["x"], &["y"]).with(attribute));
    let kind = |kind: i32| AttributeProto { r#type: kind, ..ints("perm", &[1, 0]) };
    vec![
        (
            "an integer for a list",
            transpose(int("perm", 1)),
            Invalid,
            "attribute `perm` is not a list of integers",
        ),
        (
            "declared Int, holds Ints",
            transpose(kind(AttributeType::Int as i32)),
            Invalid,
            "is declared Int but holds Ints",
        ),
        ("kind 77", transpose(kind(77)), Invalid, "a kind that does not exist"),
        (
            "given twice",
            one(node("Transpose", &["x"], &["y"]).with(ints("perm", &[1, 0])).with(ints("perm", &[0, 1]))),
            Invalid,
            "given twice",
        ),
        ("no permutation", transpose(ints("perm", &[0, 0])), Unsupported, "Transpose"),
        ("axes outside", transpose(ints("perm", &[0, 5])), Invalid, "Transpose"),
        ("a graph", transpose(graph_attribute("perm", GraphProto::default())), Unsupported, "kind Graph"),
        (
            "a type",
            transpose(AttributeProto { name: "perm".into(), r#type: 13, ..Default::default() }),
            Unsupported,
            "kind TypeProto",
        ),
        (
            "a tensor without a value",
            transpose(AttributeProto { name: "perm".into(), r#type: 4, ..Default::default() }),
            Invalid,
            "has no value",
        ),
        ("not UTF-8", transpose(string("perm", b"\xff\xfe")), Invalid, "not UTF-8"),
        (
            "a reference outside of a function",
            transpose(reference("perm", "p", AttributeType::Ints)),
            Invalid,
            "outside of any function",
        ),
    ]
}

fn function(name: &str, nodes: &[NodeProto]) -> FunctionProto {
    FunctionProto {
        name: name.into(),
        domain: "local".into(),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: nodes.into(),
        opset_import: vec![opset("", 17), opset("local", 1)],
        ..FunctionProto::default()
    }
}

/// `y = F(x)` over `functions`.
fn calling(functions: &[FunctionProto]) -> Vec<u8> {
    let call = node("F", &["x"], &["y"]).in_domain("local");
    let mut model = model(graph(&[floats("x", &[1, 4])], &[], &[call], &[floats("y", &[1, 4])]));
    model.opset_import.push(opset("local", 1));
    model.functions = functions.into();
    bytes(&model)
}

fn functions() -> Vec<Case> {
    use Kind::{Invalid, Unsupported};
    let local =
        |op_type: &str, inputs: &[&str], outputs: &[&str]| node(op_type, inputs, outputs).in_domain("local");
    // Each function calls the next one twice: 2^40 nodes.
    let doubling: Vec<FunctionProto> = (0..40)
        .map(|k| {
            let next = if k == 39 {
                node("Relu", &["a"], &["b"])
            } else {
                local(&format!("F{}", k + 1), &["m"], &["b"])
            };
            let first = if k == 39 {
                node("Relu", &["a"], &["m"])
            } else {
                local(&format!("F{}", k + 1), &["a"], &["m"])
            };
            function(&if k == 0 { "F".into() } else { format!("F{k}") }, &[first, next])
        })
        .collect();
    // A chain of calls deeper than is allowed.
    let chain: Vec<FunctionProto> = (0..200)
        .map(|k| {
            let name = if k == 0 { "F".into() } else { format!("F{k}") };
            function(&name, &[local(&format!("F{}", k + 1), &["a"], &["b"])])
        })
        .collect();
    let inner = |nodes: &[NodeProto]| calling(&[function("F", nodes)]);
    vec![
        (
            "a function that calls itself",
            inner(&[local("F", &["a"], &["b"])]),
            Invalid,
            "function `F` calls itself",
        ),
        (
            "two functions that call each other",
            calling(&[
                function("F", &[local("G", &["a"], &["b"])]),
                function("G", &[local("F", &["a"], &["b"])]),
            ]),
            Invalid,
            "calls itself",
        ),
        ("2^40 nodes by doubling", calling(&doubling), Unsupported, "nodes, with functions inlined"),
        ("calls 200 deep", calling(&chain), Unsupported, "deep inside each other"),
        (
            "a function defined twice",
            calling(&[function("F", &[]), function("F", &[])]),
            Invalid,
            "defined twice",
        ),
        (
            "a function without its output",
            inner(&[]),
            Invalid,
            "nothing in the function `F` gives its output",
        ),
        (
            "a function that reads its caller's names",
            inner(&[node("Relu", &["x"], &["b"])]),
            Invalid,
            "gives the value `x`",
        ),
        (
            "a function that does not exist",
            calling(&[]),
            Unsupported,
            "local.F v1: the operator is not supported",
        ),
        (
            "a function with an unknown operator",
            inner(&[node("Frobnicate", &["a"], &["b"])]),
            Unsupported,
            "(`F/y/Frobnicate/b`)",
        ),
        (
            "a function of opset 3",
            calling(&[FunctionProto { opset_import: vec![opset("", 3)], ..function("F", &[]) }]),
            Unsupported,
            "opset 3",
        ),
        (
            "too many inputs",
            calling(&[FunctionProto { input: vec![], ..function("F", &[]) }]),
            Invalid,
            "takes 0 inputs, got 1",
        ),
    ]
}

fn branches() -> Vec<Case> {
    use Kind::{Invalid, Unsupported};
    let branch = |nodes: &[NodeProto]| graph(&[], &[], nodes, &[floats("r", &[1, 4])]);
    let relu = branch(&[node("Relu", &["x"], &["r"])]);
    let condition = |value: bool| encode_bool("c", value);
    let decided = |then: Option<GraphProto>| {
        let mut node = node("If", &["c"], &["y"]).with(graph_attribute("else_branch", relu.clone()));
        node.attribute.extend(then.map(|graph| graph_attribute("then_branch", graph)));
        bytes(&model(graph(&[floats("x", &[1, 4])], &[condition(true)], &[node], &[floats("y", &[1, 4])])))
    };
    let open = {
        let node = node("If", &["c"], &["y"])
            .with(graph_attribute("then_branch", relu.clone()))
            .with(graph_attribute("else_branch", relu.clone()));
        bytes(&model(graph(
            &[floats("x", &[1, 4]), info("c", 9, &[])],
            &[],
            &[node],
            &[floats("y", &[1, 4])],
        )))
    };
    let float_condition = changed_graph(|graph| {
        graph.node = vec![node("If", &["w"], &["y"]).with(graph_attribute("then_branch", relu.clone()))];
    });
    let mut nested = relu.clone();
    for _ in 0..60 {
        nested = branch(&[node("If", &["c"], &["r"])
            .with(graph_attribute("then_branch", nested))
            .with(graph_attribute("else_branch", relu.clone()))]);
    }
    vec![
        (
            "an open condition",
            open,
            Unsupported,
            "ai.onnx.If v17: the condition is not known at compile time",
        ),
        ("a float for a condition", float_condition, Invalid, "not one bool"),
        ("no then_branch", decided(None), Invalid, "no then_branch"),
        ("a branch without outputs", decided(Some(graph(&[], &[], &[], &[]))), Invalid, "0 outputs"),
        (
            "a branch whose output nothing gives",
            decided(Some(branch(&[]))),
            Invalid,
            "gives its output (`r`)",
        ),
        (
            "a branch with an unknown operator",
            decided(Some(branch(&[node("Frobnicate", &["x"], &["r"])]))),
            Unsupported,
            "Frobnicate",
        ),
        ("branches 60 deep", decided(Some(nested)), Invalid, "recursion limit"),
        ("an If without a condition", one(node("If", &[], &["y"])), Invalid, "condition is missing"),
        ("a Loop", one(node("Loop", &["", "", "x"], &["y"])), Unsupported, "loops are not supported"),
        ("a Scan", one(node("Scan", &["x"], &["y"])), Unsupported, "loops are not supported"),
    ]
}

fn encode_bool(name: &str, value: bool) -> TensorProto {
    crate::tensor::encode(name, &ir::Tensor::scalar(ir::Scalar::bool(value)))
}

fn limits() -> Vec<Case> {
    use Kind::Unsupported;
    let shape_of = |name: &str, shape: &[i64]| {
        crate::tensor::encode(name, &ir::Tensor::from_slice([shape.len()], shape))
    };
    let filled = |shape: &[i64]| {
        let nodes = [node("ConstantOfShape", &["s"], &["y"])];
        bytes(&model(graph(&[], &[shape_of("s", shape)], &nodes, &[floats("y", shape)])))
    };
    let expanded = bytes(&model(graph(
        &[floats("x", &[1, 4])],
        &[shape_of("s", &[1 << 20, 1 << 20, 4])],
        &[node("Expand", &["x", "s"], &["y"])],
        &[floats("y", &[1, 4])],
    )));
    let many: Vec<&str> = vec!["x"; 5000];
    vec![
        ("a constant of 2^62 elements", filled(&[1 << 31, 1 << 31]), Unsupported, "elements"),
        ("an expansion to 2^42 elements", expanded, Unsupported, "too many elements"),
        (
            "5000 operands",
            one(node("Concat", &many, &["y"]).with(int("axis", 0))),
            Unsupported,
            "5000 inputs",
        ),
    ]
}
