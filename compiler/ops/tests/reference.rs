//! Operators as their ONNX nodes against values from ONNX Runtime, or from the `onnx` package's reference
//! implementation where ONNX Runtime differs from it.
//!
//! `reference/*.json` holds the cases: a node with its attributes and input values, and what must come out. Each runs
//! with all inputs constant, so that the import folds it, and with as many of them computed as the import allows.

use std::{collections::BTreeMap, fs, path::Path};

use ir::{DType, Scalar, Tensor, TensorType, Value};
use ops::{Attribute, Graph, Import, OpKind};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    op: String,
    opset: i64,
    attributes: BTreeMap<String, AttributeValue>,
    inputs: Vec<Option<Elements>>,
    /// `None` is an output that nobody reads.
    outputs: Vec<Option<Elements>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum AttributeValue {
    Int(i64),
    Float(f32),
    String(String),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
}

#[derive(Deserialize)]
struct Elements {
    dtype: DType,
    shape: Vec<usize>,
    data: Vec<Element>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Element {
    Integer(i64),
    Number(f64),
    /// `inf`, `-inf` or `nan`.
    Text(String),
}

impl Elements {
    fn tensor(&self) -> Tensor {
        let scalar = |element: &Element| match element {
            Element::Integer(value) => Scalar::from_i64(self.dtype, *value),
            Element::Number(value) => Scalar::from_f64(self.dtype, *value),
            Element::Text(text) => Scalar::from_f64(self.dtype, text.parse().unwrap()),
        };
        let bytes = self.data.iter().flat_map(|element| scalar(element).to_le_bytes()).collect();
        Tensor::new(TensorType::new(self.dtype, self.shape.clone()), bytes)
    }
}

#[test]
fn nodes_give_the_reference_values() {
    let mut failures = vec![];
    let mut count = 0;
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference");
    for entry in fs::read_dir(dir).unwrap() {
        let cases: Vec<Case> =
            serde_json::from_str(&fs::read_to_string(entry.unwrap().path()).unwrap()).unwrap();
        count += cases.len();
        failures.extend(
            cases.iter().filter_map(|case| run(case).err().map(|why| format!("{}: {why}", case.name))),
        );
    }
    assert!(count > 0, "there are no cases");
    assert!(failures.is_empty(), "{} of {count} failed:\n{}", failures.len(), failures.join("\n"));
}

fn run(case: &Case) -> Result<(), String> {
    import_and_compare(case, 0)??;
    // Shapes, axes and the like, which are later inputs, have to be constants for many operators.
    match import_and_compare(case, case.inputs.len()) {
        Ok(compared) => compared,
        Err(_) => import_and_compare(case, 1)?,
    }
}

/// Runs the case with the first `computed` inputs as graph inputs and the others as constants. The outer error is the
/// import's, the inner one says which value is wrong.
fn import_and_compare(case: &Case, computed: usize) -> Result<Result<(), String>, String> {
    let entries = OpKind::ALL.iter().flat_map(|kind| kind.onnx());
    let entry = entries
        .filter(|entry| entry.domain.is_empty() && entry.op_type == case.op && entry.since <= case.opset);
    let entry = entry.max_by_key(|entry| entry.since).ok_or("no operator reads it")?;
    let mut graph = Graph::new("case");
    let mut tensors = vec![];
    let mut inputs: Vec<Option<Value>> = vec![];
    for (k, elements) in case.inputs.iter().enumerate() {
        inputs.push(elements.as_ref().map(|elements| {
            let tensor = elements.tensor();
            if k >= computed {
                return graph.constant("input", tensor);
            }
            let value = graph.input(format!("input {k}"), tensor.ty.clone());
            tensors.push(tensor);
            value
        }));
    }
    let mut node = Import {
        graph: &mut graph,
        name: case.name.clone(),
        opset: case.opset,
        inputs,
        attributes: case.attributes.iter().map(|(name, value)| (name.clone(), attribute(value))).collect(),
        outputs: case.outputs.iter().map(Option::is_some).collect(),
    };
    let values = (entry.import)(&mut node).map_err(|error| error.message)?;
    let expected: Vec<(usize, &Elements)> = case
        .outputs
        .iter()
        .enumerate()
        .filter_map(|(k, output)| output.as_ref().map(|output| (k, output)))
        .collect();
    for &(k, _) in &expected {
        graph.output(format!("output {k}"), *values.get(k).ok_or(format!("output {k} is missing"))?);
    }
    let got = ops::evaluate(&graph, &tensors);
    Ok(expected.iter().zip(&got).try_for_each(|((_, expected), got)| compare(got, &expected.tensor())))
}

fn attribute(value: &AttributeValue) -> Attribute {
    match value {
        AttributeValue::Int(v) => Attribute::Int(*v),
        AttributeValue::Float(v) => Attribute::Float(*v),
        AttributeValue::String(v) => Attribute::String(v.clone()),
        AttributeValue::Ints(v) => Attribute::Ints(v.clone()),
        AttributeValue::Floats(v) => Attribute::Floats(v.clone()),
    }
}

fn compare(got: &Tensor, expected: &Tensor) -> Result<(), String> {
    if got.ty != expected.ty {
        return Err(format!("got type {}, expected {}", got.ty, expected.ty));
    }
    let tolerance = match expected.ty.dtype {
        DType::F16 | DType::BF16 => 2e-3,
        DType::F32 => 1e-5,
        DType::F64 => 1e-12,
        _ => 0.0,
    };
    let scale =
        expected.to_f64s().into_iter().filter(|v| v.is_finite()).fold(1.0, |a: f64, v| a.max(v.abs()));
    for (k, (a, b)) in got.to_f64s().into_iter().zip(expected.to_f64s()).enumerate() {
        let same = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * scale;
        if !same {
            return Err(format!("element {k} is {a}, expected {b}"));
        }
    }
    Ok(())
}
