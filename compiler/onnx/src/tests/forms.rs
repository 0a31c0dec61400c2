//! Models that must import: functions, branches, pins, old files.

use prost::Message;

use ir::{DType, Scalar, Tensor, TensorType};

use super::build::*;
use crate::proto::*;
use crate::{Dim, Kind, Options, SummaryOperator, SummaryPort, inspect};

#[test]
fn a_small_model_imports() {
    let imported = imported(&small());
    assert_eq!(applied(&imported), ["add", "relu"]);
    assert_eq!(imported.inputs[0].ty, TensorType::new(DType::F32, [1, 4]));
    assert_eq!(imported.outputs[0].ty, TensorType::new(DType::F32, [1, 4]));
    assert_eq!(imported.opsets, [("ai.onnx".to_owned(), 17)]);
    assert_eq!(imported.producer, "tests");
}

#[test]
fn nodes_need_not_be_sorted() {
    let mut model = small();
    model.graph.as_mut().unwrap().node.reverse();
    assert_eq!(applied(&imported(&model)), ["add", "relu"]);
}

#[test]
fn initializers_may_be_listed_as_inputs() {
    let mut model = small();
    model.ir_version = 3;
    model.graph.as_mut().unwrap().input.push(floats("w", &[4]));
    let imported = imported(&model);
    assert_eq!(imported.inputs.len(), 1);
    assert_eq!(applied(&imported), ["add", "relu"]);
}

#[test]
fn what_is_known_folds_and_what_nobody_reads_goes() {
    let mut model = small();
    let graph = model.graph.as_mut().unwrap();
    graph.node.push(node("Relu", &["w"], &["folded"]));
    graph.node.push(node("Relu", &["sum"], &["unread"]));
    graph.output.push(floats("folded", &[4]));
    let imported = imported(&model);
    assert_eq!(applied(&imported), ["add", "relu"]);
    assert_eq!(folded(&imported, 1), &Tensor::from_slice([4], &[1.0f32, 0.0, 3.0, 0.0]));
    assert_eq!(imported.graph.node_count(), 5);
}

#[test]
fn a_folded_shape_decides_a_reshape() {
    let first = node("Slice", &["shape", "zero", "one"], &["first"]);
    let rest = weight_i64("rest", &[2, -1]);
    let nodes = [
        node("Shape", &["x"], &["shape"]),
        first,
        node("Concat", &["first", "rest"], &["target"]).with(int("axis", 0)),
        node("Reshape", &["x", "target"], &["y"]),
    ];
    let constants = [rest, weight_i64("zero", &[0]), weight_i64("one", &[1])];
    let model = model(graph(&[floats("x", &[3, 4, 5])], &constants, &nodes, &[floats("y", &[3, 2, 10])]));
    let imported = imported(&model);
    assert_eq!(applied(&imported), ["reshape"]);
    assert_eq!(imported.outputs[0].ty.shape, [3, 2, 10]);
}

fn weight_i64(name: &str, values: &[i64]) -> TensorProto {
    crate::tensor::encode(name, &Tensor::from_slice([values.len()], values))
}

/// `b = transpose(a, perm = p)`, by default `[1, 0]`, and its shape.
fn transposing() -> FunctionProto {
    let default = AttributeProto { name: "p".into(), ..ints("p", &[1, 0]) };
    FunctionProto {
        name: "Turn".into(),
        domain: "local".into(),
        input: vec!["a".into(), "plus".into()],
        output: vec!["b".into()],
        node: vec![node("Transpose", &["a"], &["b"]).with(reference("perm", "p", AttributeType::Ints))],
        opset_import: vec![opset("", 13)],
        attribute_proto: vec![default],
        ..FunctionProto::default()
    }
}

fn with_functions(nodes: &[NodeProto], functions: &[FunctionProto]) -> ModelProto {
    let mut model = model(graph(&[floats("x", &[2, 3])], &[], nodes, &[floats("y", &[2, 3])]));
    model.opset_import.push(opset("local", 1));
    model.functions = functions.into();
    model
}

#[test]
fn functions_are_inlined_with_their_attributes() {
    let call = || node("Turn", &["x"], &["y"]).in_domain("local");
    let default = imported(&with_functions(&[call()], &[transposing()]));
    assert_eq!(default.outputs[0].ty.shape, [3, 2]);
    let given = imported(&with_functions(&[call().with(ints("p", &[0, 1]))], &[transposing()]));
    assert_eq!(given.outputs[0].ty.shape, [2, 3]);
}

#[test]
fn a_function_passes_its_attribute_on_to_another() {
    let outer = FunctionProto {
        name: "Outer".into(),
        node: vec![node("Turn", &["a"], &["b"]).in_domain("local").with(reference(
            "p",
            "q",
            AttributeType::Ints,
        ))],
        opset_import: vec![opset("", 13), opset("local", 1)],
        attribute_proto: vec![],
        ..transposing()
    };
    let call = node("Outer", &["x"], &["y"]).in_domain("local");
    let functions = [transposing(), outer];
    // Without `q`, the reference is left out and `Turn`'s own default holds.
    assert_eq!(
        imported(&with_functions(std::slice::from_ref(&call), &functions)).outputs[0].ty.shape,
        [3, 2]
    );
    let call = call.with(ints("q", &[0, 1]));
    assert_eq!(imported(&with_functions(&[call], &functions)).outputs[0].ty.shape, [2, 3]);
}

#[test]
fn a_function_hides_an_operator_of_its_name() {
    let relu = FunctionProto {
        name: "Relu".into(),
        domain: "ai.onnx".into(),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: vec![node("Transpose", &["a"], &["b"])],
        ..FunctionProto::default()
    };
    let imported = imported(&with_functions(&[node("Relu", &["x"], &["y"])], &[relu]));
    assert_eq!(applied(&imported), ["transpose"]);
}

/// `y = c ? transpose(x) : relu(x + w)`; both branches read `x` from around them, the second has its own `w`.
fn choosing(condition: &[TensorProto], input: &[ValueInfoProto]) -> ModelProto {
    let then = graph(&[], &[], &[node("Transpose", &["x"], &["r"])], &[floats("r", &[3, 2])]);
    let nodes = [node("Add", &["x", "w"], &["s"]), node("Relu", &["s"], &["r"])];
    let other = graph(&[], &[weight("w", &[], &[1.0])], &nodes, &[floats("r", &[2, 3])]);
    let choose = node("If", &["c"], &["y"])
        .with(graph_attribute("then_branch", then))
        .with(graph_attribute("else_branch", other));
    let inputs = [&[floats("x", &[2, 3])], input].concat();
    model(graph(&inputs, condition, &[choose], &[info("y", FLOAT, &[])]))
}

fn condition(value: bool) -> TensorProto {
    crate::tensor::encode("c", &Tensor::scalar(Scalar::bool(value)))
}

#[test]
fn a_decided_if_becomes_its_branch() {
    assert_eq!(applied(&imported(&choosing(&[condition(true)], &[]))), ["transpose"]);
    assert_eq!(applied(&imported(&choosing(&[condition(false)], &[]))), ["add", "relu"]);
}

#[test]
fn set_decides_an_if() {
    let model = choosing(&[], &[info("c", 9, &[])]);
    let set = |value: &str| Options { scalars: vec![("c".into(), value.into())], ..Options::default() };
    let imported = import_with(&model, &set("true")).unwrap();
    assert_eq!(applied(&imported), ["transpose"]);
    assert_eq!(imported.inputs.len(), 1, "a set input is no input any more");
    assert_eq!(applied(&import_with(&model, &set("0")).unwrap()), ["add", "relu"]);
}

/// `y = x + w` with `x` as declared.
fn open(dims: &[D]) -> ModelProto {
    let nodes = [node("Add", &["x", "w"], &["y"])];
    model(graph(&[info("x", FLOAT, dims)], &[weight("w", &[], &[1.0])], &nodes, &[info("y", FLOAT, &[])]))
}

fn dims(pins: &[(&str, usize)]) -> Options {
    Options {
        dims: pins.iter().map(|(name, extent)| ((*name).into(), *extent)).collect(),
        ..Options::default()
    }
}

fn shapes(pins: &[(&str, &[usize])]) -> Options {
    let pin = |(name, shape): &(&str, &[usize])| ((*name).to_owned(), shape.to_vec());
    Options { shapes: pins.iter().map(pin).collect(), ..Options::default() }
}

#[test]
fn pins_close_open_shapes() {
    let named = open(&[D::S("batch"), D::N(3), D::S("size")]);
    let pinned = import_with(&named, &dims(&[("batch", 1), ("size", 7)])).unwrap();
    assert_eq!(pinned.outputs[0].ty.shape, [1, 3, 7]);
    let declared = [Dim::Named("batch".into()), Dim::Known(3), Dim::Named("size".into())];
    assert_eq!(pinned.inputs[0].declared.as_deref(), Some(&declared[..]));

    let unnamed = open(&[D::N(-1), D::N(3), D::S("?")]);
    assert_eq!(import_with(&unnamed, &shapes(&[("x", &[2, 3, 5])])).unwrap().outputs[0].ty.shape, [2, 3, 5]);
}

#[test]
fn a_shape_gives_its_names_to_the_other_inputs() {
    let mut model = open(&[D::S("batch"), D::N(3)]);
    model.graph.as_mut().unwrap().input.push(info("z", FLOAT, &[D::S("batch")]));
    assert_eq!(import_with(&model, &shapes(&[("x", &[4, 3])])).unwrap().inputs[1].ty.shape, [4]);
}

#[test]
fn pins_that_do_not_fit_are_refused() {
    let model = open(&[D::S("batch"), D::N(3)]);
    let set = |name: &str, value: &str| Options {
        scalars: vec![(name.into(), value.into())],
        ..dims(&[("batch", 1)])
    };
    let cases = [
        (
            dims(&[("batch", 1), ("time", 2)]),
            "no input has a dimension of this name; the named dimensions: `batch`",
        ),
        (dims(&[("batch", 1), ("batch", 2)]), "given twice"),
        (shapes(&[("x", &[1, 4])]), "--shape x:1x4 does not fit the model's batchx3"),
        (shapes(&[("x", &[1, 3, 1])]), "does not fit"),
        (shapes(&[("z", &[1])]), "--shape z: the model has no input of this name; the inputs: `x`"),
        (set("z", "1"), "--set z: the model has no input of this name"),
        (set("x", "1"), "not one number"),
    ];
    for (options, says) in cases {
        let problems = import_with(&model, &options).unwrap_err();
        let found =
            problems.iter().any(|problem| problem.kind == Kind::Usage && problem.to_string().contains(says));
        assert!(found, "{says}:\n{}", text(&problems));
    }
}

#[test]
fn set_values_must_be_of_the_inputs_type() {
    let of = |elem_type: i32, value: &str| {
        let model =
            model(graph(&[info("x", elem_type, &[D::N(1)])], &[], &[], &[info("x", elem_type, &[D::N(1)])]));
        import_with(&model, &Options { scalars: vec![("x".into(), value.into())], ..Options::default() })
            .map(|imported| folded(&imported, 0).get(0).to_string())
            .map_err(|problems| text(&problems))
    };
    assert_eq!(of(INT64, "-16000").as_deref(), Ok("-16000"));
    assert_eq!(of(2, "255").as_deref(), Ok("255"));
    assert_eq!(of(13, "18446744073709551615").as_deref(), Ok("18446744073709551615"));
    assert_eq!(of(FLOAT, "0.5").as_deref(), Ok("0.5"));
    for (elem_type, value) in [(2, "256"), (2, "-1"), (INT64, "0.5"), (FLOAT, "loud"), (9, "2"), (INT64, "")]
    {
        let message = of(elem_type, value).unwrap_err();
        assert!(message.contains("is not a value of type"), "{value}: {message}");
    }
}

#[test]
fn every_problem_is_reported_once_with_all_its_nodes() {
    let nodes = [
        node("Frobnicate", &["x"], &["a"]),
        node("Relu", &["a"], &["b"]),
        node("Frobnicate", &["b"], &["c"]),
        node("Add", &["x", "gone"], &["d"]),
        node("Transpose", &["x"], &["e"]).with(int("perm", 1)),
    ];
    let outputs: Vec<ValueInfoProto> = ["c", "d", "e"].map(|name| floats(name, &[4])).into();
    let model = model(graph(&[info("x", FLOAT, &[D::N(4)]), info("s", 8, &[])], &[], &nodes, &outputs));
    let problems = import_with(&model, &Options::default()).unwrap_err();
    assert_eq!(problems.len(), 4, "{}", text(&problems));
    let unknown = &problems[1];
    assert_eq!(unknown.nodes, ["Frobnicate/a", "Frobnicate/c"]);
    assert_eq!(unknown.operator.as_ref().map(ToString::to_string).as_deref(), Some("ai.onnx.Frobnicate v17"));
    let kinds: Vec<Kind> = problems.iter().map(|problem| problem.kind).collect();
    assert_eq!(kinds, [Kind::Unsupported, Kind::Unsupported, Kind::Invalid, Kind::Invalid]);
}

#[test]
fn a_constant_takes_an_inputs_place() {
    let model = open(&[D::S("batch"), D::N(2)]);
    let given = |tensor: Tensor| Options { constants: vec![("x".into(), tensor)], ..Options::default() };
    let imported = import_with(&model, &given(Tensor::from_slice([1, 2], &[1f32, 2.0]))).unwrap();
    assert_eq!(folded(&imported, 0), &Tensor::from_slice([1, 2], &[2f32, 3.0]));
    for wrong in [Tensor::from_slice([1, 3], &[0f32; 3]), Tensor::from_slice([1, 2], &[0i64; 2])] {
        assert_eq!(import_with(&model, &given(wrong)).unwrap_err()[0].kind, Kind::Usage);
    }
}

#[test]
fn the_flags_to_add_are_named_for_each_input() {
    let mut model = open(&[D::S("batch"), D::S("time"), D::S("time")]);
    let graph = model.graph.as_mut().unwrap();
    graph.input.push(info("state", FLOAT, &[D::N(2), D::S("batch")]));
    graph.input.push(info("image", FLOAT, &[D::S("batch"), D::N(3), D::S(""), D::N(-1)]));
    let hints = |options: &Options| -> Vec<String> {
        import_with(&model, options).unwrap_err().into_iter().filter_map(|problem| problem.hint).collect()
    };
    let each = ", with a number for each ?";
    assert_eq!(
        hints(&Options::default()),
        [
            format!("add --dim batch=1 --dim time=?{each}"),
            "add --dim batch=1".into(),
            format!("add --shape image:1x3x?x?{each}")
        ]
    );
    let pinned = dims(&[("batch", 4)]);
    assert_eq!(
        hints(&pinned),
        [format!("add --dim time=?{each}"), format!("add --shape image:4x3x?x?{each}")]
    );
}

#[test]
fn a_model_that_cannot_be_imported_can_be_looked_at() {
    let mut model = choosing(&[condition(true)], &[info("text", 8, &[D::S("n"), D::N(-1)])]);
    let graph = model.graph.as_mut().unwrap();
    graph.node.push(node("Frobnicate", &["text"], &["z"]));
    graph.input.push(typed("list", TypeValue::Sequence(OtherType {})));
    let summary = inspect(&model.encode_to_vec()).unwrap();
    let port = |name: &str, kind: &str, shape: Option<&[&str]>| SummaryPort {
        name: name.into(),
        kind: kind.into(),
        shape: shape.map(|shape| shape.iter().map(ToString::to_string).collect()),
    };
    let inputs = [
        port("x", "float", Some(&["2", "3"])),
        port("text", "string", Some(&["n", "?"])),
        port("list", "sequence", None),
    ];
    assert_eq!(summary.inputs, inputs);
    let operator = |op_type: &str, supported: bool| SummaryOperator {
        domain: "ai.onnx".into(),
        op_type: op_type.into(),
        nodes: 1,
        supported,
    };
    let operators = [
        operator("Add", true),
        operator("Frobnicate", false),
        operator("If", true),
        operator("Relu", true),
        operator("Transpose", true),
    ];
    assert_eq!(summary.operators, operators);
    assert_eq!((summary.parameters, summary.ir_version), (2, 8));
}
