use std::collections::BTreeMap;

use ir::{DType, NodeKind, OpError, Scalar, Tensor, TensorType, Value};

use crate::ops::{cast::Cast, reshape::Reshape};
use crate::{AnyOp, Graph, Meaning};

/// An ONNX operator that an operator file reads.
#[derive(Debug, Clone, Copy)]
pub struct Onnx {
    /// `""` is the standard domain.
    pub domain: &'static str,
    pub op_type: &'static str,
    /// The first opset whose form of it `import` understands; it must understand all later ones up to the newest.
    pub since: i64,
    /// Adds the nodes that stand for it and gives the value of each output, in order.
    pub import: fn(&mut Import) -> Result<Vec<Value>, OpError>,
}

/// An entry of the standard domain.
pub const fn onnx(
    op_type: &'static str,
    since: i64,
    import: fn(&mut Import) -> Result<Vec<Value>, OpError>,
) -> Onnx {
    Onnx { domain: "", op_type, since, import }
}

/// An ONNX attribute's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    Int(i64),
    Float(f32),
    String(String),
    Tensor(Tensor),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Strings(Vec<String>),
}

/// The element type behind ONNX's `TensorProto.DataType` code.
pub fn element_type(code: i64) -> Result<DType, OpError> {
    Ok(match code {
        1 => DType::F32,
        2 => DType::U8,
        3 => DType::I8,
        4 => DType::U16,
        5 => DType::I16,
        6 => DType::I32,
        7 => DType::I64,
        9 => DType::Bool,
        10 => DType::F16,
        11 => DType::F64,
        12 => DType::U32,
        13 => DType::U64,
        16 => DType::BF16,
        other => {
            let name = match other {
                8 => "string",
                14 | 15 => "complex",
                17..=20 | 24 => "float8",
                21 | 22 => "4-bit integer",
                23 => "float4",
                25 | 26 => "2-bit integer",
                _ => "unknown",
            };
            return Err(OpError::new(format!("element type {other} ({name}) is not supported"))
                .with_hint("bool, integers of 8 to 64 bits, float16, bfloat16, float and double are"));
        }
    })
}

/// One ONNX node on its way into the graph, as an operator's file sees it.
pub struct Import<'a> {
    pub graph: &'a mut Graph,
    /// The ONNX node's name, for the nodes that come of it.
    pub name: String,
    /// The version of the node's domain that the model asks for.
    pub opset: i64,
    /// `None` is an optional input that was left out.
    pub inputs: Vec<Option<Value>>,
    pub attributes: BTreeMap<String, Attribute>,
    /// For each output whether anybody reads it.
    pub outputs: Vec<bool>,
}

/// More elements than any target holds; larger tensors are refused before anything is allocated.
const MOST_ELEMENTS: usize = 1 << 31;

/// Tensors of more bytes are not computed at import; what would need them stays a computation.
const MOST_FOLDED_BYTES: usize = 1 << 30;

/// Computations of more steps (points of a domain, each with its whole reduction) are not done at import.
const MOST_FOLDED_STEPS: usize = 1 << 32;

/// Whether evaluating `op` at import takes bounded time and memory, however hostile the model.
fn folds(op: &AnyOp, operands: &[TensorType], results: &[TensorType]) -> bool {
    let small = |ty: &TensorType| elements_within_limits(&ty.shape) && ty.bytes() <= MOST_FOLDED_BYTES;
    let Meaning::Compute(definition) = op.meaning(operands) else { return results.iter().all(small) };
    let steps = definition.stages.iter().map(|stage| {
        let extents = stage.domain.iter().chain(&stage.reduction);
        extents.fold(1usize, |steps, &extent| steps.saturating_mul(extent))
    });
    definition.stages.iter().all(|stage| small(&stage.ty()))
        && steps.fold(0, usize::saturating_add) <= MOST_FOLDED_STEPS
}

/// Whether sizes and strides of a tensor of `shape` can be computed with, also where an extent is 0.
pub fn elements_within_limits(shape: &[usize]) -> bool {
    let elements = shape.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent.max(1)));
    elements.is_some_and(|n| n <= MOST_ELEMENTS)
}

impl Import<'_> {
    /// The `k`-th input, which must be there.
    pub fn input(&self, k: usize) -> Result<Value, OpError> {
        self.optional(k).ok_or_else(|| OpError::invalid(format!("input {k} is missing")))
    }

    pub fn optional(&self, k: usize) -> Option<Value> {
        self.inputs.get(k).copied().flatten()
    }

    /// All inputs, none of which may be left out.
    pub fn all_inputs(&self) -> Result<Vec<Value>, OpError> {
        (0..self.inputs.len()).map(|k| self.input(k)).collect()
    }

    pub fn ty(&self, value: Value) -> &TensorType {
        self.graph.ty(value)
    }

    /// The `k`-th input's value, if it is there; an error if it is not known at compile time.
    pub fn optional_constant(&self, k: usize) -> Result<Option<Tensor>, OpError> {
        let Some(value) = self.optional(k) else { return Ok(None) };
        match self.graph.constant_value(value) {
            Some(tensor) => Ok(Some(tensor.clone())),
            None => Err(OpError::new(format!(
                "input {k} (`{}`) is not known at compile time",
                self.graph.node(value.node).name
            ))
            .with_hint("make it an initializer, pin the dimensions it is computed from (--dim, --shape), or give its value (--set)")),
        }
    }

    pub fn constant(&self, k: usize) -> Result<Tensor, OpError> {
        self.optional_constant(k)?.ok_or_else(|| OpError::invalid(format!("input {k} is missing")))
    }

    pub fn int(&self, name: &str) -> Result<Option<i64>, OpError> {
        self.attribute(name, "an integer", |a| if let Attribute::Int(v) = a { Some(*v) } else { None })
    }

    pub fn float(&self, name: &str) -> Result<Option<f32>, OpError> {
        self.attribute(name, "a float", |a| if let Attribute::Float(v) = a { Some(*v) } else { None })
    }

    pub fn ints(&self, name: &str) -> Result<Option<Vec<i64>>, OpError> {
        self.attribute(name, "a list of integers", |a| {
            if let Attribute::Ints(v) = a { Some(v.clone()) } else { None }
        })
    }

    pub fn floats(&self, name: &str) -> Result<Option<Vec<f32>>, OpError> {
        self.attribute(name, "a list of floats", |a| {
            if let Attribute::Floats(v) = a { Some(v.clone()) } else { None }
        })
    }

    pub fn string(&self, name: &str) -> Result<Option<String>, OpError> {
        self.attribute(
            name,
            "a string",
            |a| if let Attribute::String(v) = a { Some(v.clone()) } else { None },
        )
    }

    pub fn tensor(&self, name: &str) -> Result<Option<Tensor>, OpError> {
        self.attribute(
            name,
            "a tensor",
            |a| if let Attribute::Tensor(v) = a { Some(v.clone()) } else { None },
        )
    }

    fn attribute<T>(
        &self,
        name: &str,
        kind: &str,
        get: impl Fn(&Attribute) -> Option<T>,
    ) -> Result<Option<T>, OpError> {
        match self.attributes.get(name) {
            None => Ok(None),
            Some(attribute) => get(attribute)
                .map(Some)
                .ok_or_else(|| OpError::invalid(format!("attribute `{name}` is not {kind}"))),
        }
    }

    /// Adds `op`; where every operand is a constant it is evaluated on the spot and becomes constants.
    pub fn apply_all(&mut self, op: impl Into<AnyOp>, operands: &[Value]) -> Result<Vec<Value>, OpError> {
        let op = op.into();
        let types = self.graph.types(operands);
        let results = op.infer(&types)?;
        if let Some(ty) = results.iter().find(|ty| !elements_within_limits(&ty.shape)) {
            return Err(OpError::new(format!("the result {ty} has too many elements")));
        }
        let constants: Option<Vec<&Tensor>> =
            operands.iter().map(|&value| self.graph.constant_value(value)).collect();
        match constants {
            Some(tensors) if folds(&op, &types, &results) => {
                let results = op.eval(&tensors);
                Ok(results.into_iter().map(|tensor| self.graph.constant(self.name.clone(), tensor)).collect())
            }
            _ => self.graph.apply(self.name.clone(), op, operands),
        }
    }

    /// As [`Import::apply_all`], for an operator with one result.
    pub fn apply(&mut self, op: impl Into<AnyOp>, operands: &[Value]) -> Result<Value, OpError> {
        Ok(self.apply_all(op, operands)?[0])
    }

    /// The usual import: one operator over all inputs as they come, one output.
    pub fn direct(&mut self, op: impl Into<AnyOp>) -> Result<Vec<Value>, OpError> {
        let operands = self.all_inputs()?;
        self.apply_all(op, &operands)
    }

    /// `op` over the inputs one after the other, for ONNX operators that take any number of them.
    pub fn chain(&mut self, op: impl Into<AnyOp>) -> Result<Vec<Value>, OpError> {
        let op = op.into();
        let inputs = self.all_inputs()?;
        let (&first, rest) = inputs.split_first().ok_or_else(|| OpError::new("input 0 is missing"))?;
        let last = rest.iter().try_fold(first, |sum, &next| self.apply(op.clone(), &[sum, next]))?;
        Ok(vec![last])
    }

    /// `value` as `dtype`, without a node where it is that already.
    pub fn cast(&mut self, value: Value, dtype: DType) -> Result<Value, OpError> {
        if self.ty(value).dtype == dtype { Ok(value) } else { self.apply(Cast { to: dtype }, &[value]) }
    }

    /// `value` in another shape of as many elements, without a node where it has it already.
    pub fn reshape(&mut self, value: Value, shape: &[usize]) -> Result<Value, OpError> {
        if self.ty(value).shape == shape {
            return Ok(value);
        }
        self.apply(Reshape { shape: shape.to_vec() }, &[value])
    }

    pub fn tensor_constant(&mut self, tensor: Tensor) -> Value {
        self.graph.constant(self.name.clone(), tensor)
    }

    /// A scalar (rank 0) constant.
    pub fn scalar(&mut self, dtype: DType, value: f64) -> Value {
        self.tensor_constant(Tensor::scalar(Scalar::from_f64(dtype, value)))
    }

    /// Whether `value` is known now.
    pub fn is_constant(&self, value: Value) -> bool {
        matches!(self.graph.node(value.node).kind, NodeKind::Constant(_))
    }
}
