use std::collections::{BTreeMap, HashMap};

use ops::Attribute;
use prost::bytes::Bytes;

use crate::external::External;
use crate::problem::{Problem, code};
use crate::proto::{AttributeProto, AttributeType, FunctionProto, NodeProto};
use crate::tensor;

/// A node's attributes by name, references to a function's attributes resolved.
pub(crate) type Attributes<'m> = HashMap<&'m str, &'m AttributeProto>;

/// `node`'s attributes, where `function` are the attributes of the call whose body the node is in. A reference to an
/// attribute that the call leaves out is left out.
pub(crate) fn resolve<'m>(
    node: &'m NodeProto,
    function: Option<&Attributes<'m>>,
) -> Result<Attributes<'m>, Problem> {
    let mut attributes = Attributes::new();
    for attribute in &node.attribute {
        let value = match (attribute.ref_attr_name.as_str(), function) {
            ("", _) => Some(attribute),
            (name, Some(function)) => function.get(name).copied(),
            (name, None) => {
                return Err(invalid(
                    attribute,
                    &format!("refers to `{name}` of a function, outside of any function"),
                ));
            }
        };
        let Some(value) = value else { continue };
        if attributes.insert(attribute.name.as_str(), value).is_some() {
            return Err(invalid(attribute, "is given twice"));
        }
    }
    Ok(attributes)
}

/// The attributes that the body of `function` sees: those of the call, and the defaults of those it leaves out.
pub(crate) fn with_defaults<'m>(mut call: Attributes<'m>, function: &'m FunctionProto) -> Attributes<'m> {
    for default in &function.attribute_proto {
        call.entry(default.name.as_str()).or_insert(default);
    }
    call
}

/// The attributes as an operator's file reads them.
pub(crate) fn values(
    attributes: &Attributes,
    external: &mut External,
) -> Result<BTreeMap<String, Attribute>, Problem> {
    let one = |(name, attribute): (&&str, &&AttributeProto)| {
        value(attribute, external).map(|value| ((*name).to_owned(), value))
    };
    attributes.iter().map(one).collect()
}

fn invalid(attribute: &AttributeProto, what: &str) -> Problem {
    Problem::invalid(code::USE, format!("attribute `{}` {what}", attribute.name))
}

fn value(attribute: &AttributeProto, external: &mut External) -> Result<Attribute, Problem> {
    Ok(match kind(attribute)? {
        AttributeType::Float => Attribute::Float(attribute.f.unwrap_or_default()),
        AttributeType::Int => Attribute::Int(attribute.i.unwrap_or_default()),
        AttributeType::String => {
            Attribute::String(string(attribute, attribute.s.as_ref().unwrap_or(&Bytes::new()))?)
        }
        AttributeType::Tensor => match &attribute.t {
            Some(proto) => {
                let named = |mut problem: Problem| {
                    problem.message = format!("attribute `{}`: {}", attribute.name, problem.message);
                    problem
                };
                Attribute::Tensor(tensor::decode(proto, external).map_err(named)?)
            }
            None => return Err(invalid(attribute, "has no value")),
        },
        AttributeType::Floats => Attribute::Floats(attribute.floats.clone()),
        AttributeType::Ints => Attribute::Ints(attribute.ints.clone()),
        AttributeType::Strings => Attribute::Strings(
            attribute.strings.iter().map(|bytes| string(attribute, bytes)).collect::<Result<_, _>>()?,
        ),
        other => {
            let message =
                format!("attribute `{}` is of kind {other:?}, which is not supported", attribute.name);
            return Err(Problem::unsupported(code::USE, message));
        }
    })
}

fn string(attribute: &AttributeProto, bytes: &Bytes) -> Result<String, Problem> {
    String::from_utf8(bytes.to_vec()).map_err(|_| invalid(attribute, "is not UTF-8"))
}

/// The attribute's kind: as declared, or by the field that has a value where nothing is declared (IR version 1).
///
/// A declared kind whose field is missing stands for 0 or the empty list, which some writers do not write; but not if
/// another field has a value.
fn kind(attribute: &AttributeProto) -> Result<AttributeType, Problem> {
    use AttributeType as Kind;
    let stored = [
        (Kind::Float, attribute.f.is_some()),
        (Kind::Int, attribute.i.is_some()),
        (Kind::String, attribute.s.is_some()),
        (Kind::Tensor, attribute.t.is_some()),
        (Kind::Graph, attribute.g.is_some()),
        (Kind::Floats, !attribute.floats.is_empty()),
        (Kind::Ints, !attribute.ints.is_empty()),
        (Kind::Strings, !attribute.strings.is_empty()),
        (Kind::Tensors, !attribute.tensors.is_empty()),
        (Kind::Graphs, !attribute.graphs.is_empty()),
    ];
    let mut stored = stored.into_iter().filter(|(_, there)| *there).map(|(kind, _)| kind);
    let declared = Kind::try_from(attribute.r#type)
        .map_err(|_| invalid(attribute, "is of a kind that does not exist"))?;
    if declared == Kind::Undefined {
        return Ok(stored.next().unwrap_or(Kind::Ints));
    }
    let stored: Vec<Kind> = stored.collect();
    match stored.first() {
        Some(other) if !stored.contains(&declared) => {
            Err(invalid(attribute, &format!("is declared {declared:?} but holds {other:?}")))
        }
        _ => Ok(declared),
    }
}
