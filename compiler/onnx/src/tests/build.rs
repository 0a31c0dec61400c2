//! Models for tests, in as few words as possible.

use ir::Tensor;
use prost::Message;

use crate::proto::*;
use crate::tensor::encode;
use crate::{Imported, Options, Problem, import_bytes};

pub const FLOAT: i32 = 1;
pub const INT64: i32 = 7;

pub fn node(op_type: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let strings = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    NodeProto {
        op_type: op_type.into(),
        name: format!("{op_type}/{}", outputs.first().unwrap_or(&"")),
        input: strings(inputs),
        output: strings(outputs),
        ..NodeProto::default()
    }
}

impl NodeProto {
    pub fn with(mut self, attribute: AttributeProto) -> NodeProto {
        self.attribute.push(attribute);
        self
    }

    pub fn in_domain(mut self, domain: &str) -> NodeProto {
        self.domain = domain.into();
        self
    }
}

pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        i: Some(value),
        r#type: AttributeType::Int as i32,
        ..Default::default()
    }
}

pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        ints: values.into(),
        r#type: AttributeType::Ints as i32,
        ..Default::default()
    }
}

pub fn string(name: &str, value: &[u8]) -> AttributeProto {
    let s = Some(value.to_vec().into());
    AttributeProto { name: name.into(), s, r#type: AttributeType::String as i32, ..Default::default() }
}

pub fn graph_attribute(name: &str, graph: GraphProto) -> AttributeProto {
    let g = Some(Box::new(graph));
    AttributeProto { name: name.into(), g, r#type: AttributeType::Graph as i32, ..Default::default() }
}

/// The function's attribute `of`, as the node's attribute `name`.
pub fn reference(name: &str, of: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: name.into(), ref_attr_name: of.into(), r#type: kind as i32, ..Default::default() }
}

/// An extent: a number, or a name. The empty name is an extent that is not given at all.
pub enum D {
    N(i64),
    S(&'static str),
}

pub fn info(name: &str, elem_type: i32, dims: &[D]) -> ValueInfoProto {
    let dim = |dim: &D| Dimension {
        value: match dim {
            D::N(extent) => Some(DimensionValue::Value(*extent)),
            D::S("") => None,
            D::S(name) => Some(DimensionValue::Param((*name).into())),
        },
    };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    typed(name, TypeValue::Tensor(TensorTypeProto { elem_type, shape }))
}

pub fn typed(name: &str, value: TypeValue) -> ValueInfoProto {
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { value: Some(value) }) }
}

pub fn floats(name: &str, extents: &[i64]) -> ValueInfoProto {
    let dims: Vec<D> = extents.iter().map(|&extent| D::N(extent)).collect();
    info(name, FLOAT, &dims)
}

pub fn weight(name: &str, shape: &[usize], values: &[f32]) -> TensorProto {
    encode(name, &Tensor::from_slice(shape, values))
}

pub fn graph(
    input: &[ValueInfoProto],
    initializer: &[TensorProto],
    node: &[NodeProto],
    output: &[ValueInfoProto],
) -> GraphProto {
    GraphProto {
        name: "test".into(),
        input: input.into(),
        initializer: initializer.into(),
        node: node.into(),
        output: output.into(),
        ..GraphProto::default()
    }
}

pub fn opset(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto { domain: domain.into(), version }
}

pub fn model(graph: GraphProto) -> ModelProto {
    ModelProto {
        ir_version: 8,
        producer_name: "tests".into(),
        opset_import: vec![opset("", 17)],
        graph: Some(graph),
        ..ModelProto::default()
    }
}

/// `y = relu(x + w)` over four floats.
pub fn small() -> ModelProto {
    model(graph(
        &[floats("x", &[1, 4])],
        &[weight("w", &[4], &[1.0, -2.0, 3.0, -4.0])],
        &[node("Add", &["x", "w"], &["sum"]), node("Relu", &["sum"], &["y"])],
        &[floats("y", &[1, 4])],
    ))
}

pub fn import_with(model: &ModelProto, options: &Options) -> Result<Imported, Vec<Problem>> {
    import_bytes(&model.encode_to_vec(), None, options)
}

pub fn imported(model: &ModelProto) -> Imported {
    import_with(model, &Options::default()).unwrap_or_else(|problems| panic!("{}", text(&problems)))
}

pub fn text(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

/// The names of the applied operators, operands before users.
pub fn applied(imported: &Imported) -> Vec<&'static str> {
    let graph = &imported.graph;
    let name = |id| match &graph.node(id).kind {
        ir::NodeKind::Apply(op) => Some(op.kind().name()),
        _ => None,
    };
    graph.order().into_iter().filter_map(name).collect()
}

/// The value of an output that folded to a constant.
pub fn folded(imported: &Imported, output: usize) -> &Tensor {
    imported.graph.constant_value(imported.graph.outputs()[output].1).expect("a constant output")
}
