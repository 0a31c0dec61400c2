//! A model's inputs and outputs, and the pins that make them static.

use std::collections::{HashMap, HashSet};
use std::fmt;

use ir::{DType, Scalar, Tensor, TensorType};

use crate::Options;
use crate::element;
use crate::problem::{Problem, code};
use crate::proto::{Dimension, DimensionValue, TypeValue, ValueInfoProto};
use crate::tensor::within_limits;

/// One extent as the model declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    Known(usize),
    /// The same name is the same extent everywhere.
    Named(String),
    Unknown,
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Known(extent) => write!(f, "{extent}"),
            Dim::Named(name) => f.write_str(name),
            Dim::Unknown => f.write_str("?"),
        }
    }
}

/// An input or output of an imported model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub name: String,
    /// After the pins.
    pub ty: TensorType,
    /// As the model declares it; `None` if it leaves the shape open.
    pub declared: Option<Vec<Dim>>,
}

/// Element type and shape of a tensor input or output.
pub(crate) fn declared(info: &ValueInfoProto) -> Result<(DType, Option<Vec<Dim>>), Problem> {
    let tensor = match info.r#type.as_ref().and_then(|ty| ty.value.as_ref()) {
        Some(TypeValue::Tensor(tensor)) => tensor,
        Some(other) => {
            let kind = kind(other);
            return Err(Problem::unsupported(
                code::TYPE,
                format!("values of kind {kind} are not supported, only tensors"),
            ));
        }
        None => return Err(Problem::invalid(code::GRAPH, "the value has no type")),
    };
    let dtype = element::dtype(tensor.elem_type)?;
    let dims = tensor
        .shape
        .as_ref()
        .map(|shape| shape.dim.iter().map(dim).collect::<Result<Vec<_>, _>>())
        .transpose()?;
    Ok((dtype, dims))
}

/// What the model calls a value's kind, for messages and summaries.
pub(crate) fn kind(value: &TypeValue) -> String {
    match value {
        TypeValue::Tensor(tensor) => element::name(tensor.elem_type),
        TypeValue::Sequence(_) => "sequence".into(),
        TypeValue::Map(_) => "map".into(),
        TypeValue::SparseTensor(_) => "sparse tensor".into(),
        TypeValue::Optional(_) => "optional".into(),
    }
}

/// Exporters write an extent that they do not know as nothing, as -1, or as the name `?`.
pub(crate) fn dim(dim: &Dimension) -> Result<Dim, Problem> {
    match &dim.value {
        None | Some(DimensionValue::Value(-1)) => Ok(Dim::Unknown),
        Some(DimensionValue::Param(name)) if name.is_empty() || name == "?" => Ok(Dim::Unknown),
        Some(DimensionValue::Param(name)) => Ok(Dim::Named(name.clone())),
        Some(DimensionValue::Value(extent)) => usize::try_from(*extent)
            .map(Dim::Known)
            .map_err(|_| Problem::invalid(code::GRAPH, format!("the extent {extent} is negative"))),
    }
}

/// The user's pins, and which of them met something in the model.
pub(crate) struct Pins<'a> {
    options: &'a Options,
    /// Extents by name: from `--dim`, else from the first `--shape` of an input that has the name.
    named: HashMap<&'a str, usize>,
    /// Names of leading extents, which are nearly always the batch; on a device that is 1.
    leading: HashSet<&'a str>,
}

impl<'a> Pins<'a> {
    /// Takes in what the options say about `inputs`. Pins that meet nothing are problems, as is a contradiction.
    pub fn new(options: &'a Options, inputs: &'a [ValueInfoProto]) -> (Pins<'a>, Vec<Problem>) {
        let mut pins = Pins { options, named: HashMap::new(), leading: HashSet::new() };
        let mut problems = Vec::new();
        for (name, extent) in &options.dims {
            if pins.named.insert(name, *extent).is_some_and(|other| other != *extent) {
                problems.push(Problem::usage(format!("--dim {name} is given twice, with different extents")));
            }
        }
        let mut met: Vec<&str> = Vec::new();
        for info in inputs {
            for (axis, dim) in info_dims(info).iter().enumerate() {
                if let Some(DimensionValue::Param(name)) = &dim.value {
                    met.push(name);
                    if axis == 0 {
                        pins.leading.insert(name);
                    }
                    if let Some(&extent) = pins.shape(&info.name).and_then(|shape| shape.get(axis)) {
                        pins.named.entry(name).or_insert(extent);
                    }
                }
            }
        }
        for (name, extent) in &options.dims {
            if !met.contains(&name.as_str()) {
                let known = if met.is_empty() { "none has a name".into() } else { listed(&met) };
                problems.push(
                    Problem::usage(format!("--dim {name}={extent}: no input has a dimension of this name"))
                        .hint(format!("the named dimensions: {known}")),
                );
            }
        }
        let names: Vec<&str> = inputs.iter().map(|info| info.name.as_str()).collect();
        let flags = options.shapes.iter().map(|(name, _)| ("--shape", name));
        let scalars = options.scalars.iter().map(|(name, _)| ("--set", name));
        let constants = options.constants.iter().map(|(name, _)| ("--set", name));
        for (flag, name) in flags.chain(scalars).chain(constants) {
            if !names.contains(&name.as_str()) {
                problems.push(
                    Problem::usage(format!("{flag} {name}: the model has no input of this name"))
                        .hint(format!("the inputs: {}", listed(&names))),
                );
            }
        }
        (pins, problems)
    }

    fn shape(&self, input: &str) -> Option<&'a [usize]> {
        self.options.shapes.iter().find(|(name, _)| name == input).map(|(_, shape)| shape.as_slice())
    }

    /// The static type of an input.
    pub fn resolve(&self, name: &str, dtype: DType, declared: Option<&[Dim]>) -> Result<TensorType, Problem> {
        let shape = match (self.shape(name), declared) {
            (Some(shape), Some(dims)) => fitting(name, shape, dims)?,
            (Some(shape), None) => shape.to_vec(),
            (None, Some(dims)) => self.named_extents(name, dims)?,
            (None, None) => {
                return Err(Problem::unsupported(code::SYMBOLIC, "the input's shape is not declared").hint(
                    format!("add --shape {name}:… with its extents, as in --shape {name}:1x3x224x224"),
                ));
            }
        };
        within_limits(&shape)?;
        Ok(TensorType::new(dtype, shape))
    }

    fn named_extents(&self, input: &str, dims: &[Dim]) -> Result<Vec<usize>, Problem> {
        let extent = |dim: &Dim| match dim {
            Dim::Known(extent) => Some(*extent),
            Dim::Named(name) => self.named.get(name.as_str()).copied(),
            Dim::Unknown => None,
        };
        match dims.iter().all(|dim| extent(dim).is_some()) {
            true => Ok(dims.iter().filter_map(extent).collect()),
            false => Err(self.unpinned(input, dims)),
        }
    }

    /// The problem of an input with open extents, and the flags that would close them.
    fn unpinned(&self, input: &str, dims: &[Dim]) -> Problem {
        let declared = dims.iter().map(Dim::to_string).collect::<Vec<_>>().join(", ");
        let flags = match dims.contains(&Dim::Unknown) {
            true => format!("--shape {input}:{}", self.suggested_shape(dims).join("x")),
            false => self.suggested_dims(dims).join(" "),
        };
        let numbers = if flags.contains('?') { ", with a number for each ?" } else { "" };
        Problem::unsupported(code::SYMBOLIC, format!("the input's shape [{declared}] is not static"))
            .hint(format!("add {flags}{numbers}"))
    }

    fn suggested_shape(&self, dims: &[Dim]) -> Vec<String> {
        let extent = |(axis, dim): (usize, &Dim)| match dim {
            Dim::Known(extent) => extent.to_string(),
            Dim::Named(name) if self.named.contains_key(name.as_str()) => {
                self.named[name.as_str()].to_string()
            }
            Dim::Named(_) | Dim::Unknown if axis == 0 => "1".into(),
            Dim::Named(_) | Dim::Unknown => "?".into(),
        };
        dims.iter().enumerate().map(extent).collect()
    }

    fn suggested_dims(&self, dims: &[Dim]) -> Vec<String> {
        let mut flags: Vec<String> = Vec::new();
        for dim in dims {
            if let Dim::Named(name) = dim
                && !self.named.contains_key(name.as_str())
            {
                let extent = if self.leading.contains(name.as_str()) { "1" } else { "?" };
                flags.push(format!("--dim {name}={extent}"));
            }
        }
        flags.dedup();
        flags
    }

    /// Whether the user makes a constant of the input `name`.
    pub fn sets(&self, name: &str) -> bool {
        let given = self.options.constants.iter().map(|(input, _)| input);
        self.options.scalars.iter().map(|(input, _)| input).chain(given).any(|input| input == name)
    }

    /// The constant that the user makes of an input, if he does.
    pub fn constant(
        &self,
        name: &str,
        dtype: DType,
        declared: Option<&[Dim]>,
    ) -> Option<Result<Tensor, Problem>> {
        if let Some((_, tensor)) = self.options.constants.iter().find(|(input, _)| input == name) {
            return Some(given(name, tensor, dtype, declared));
        }
        let (_, text) = self.options.scalars.iter().find(|(input, _)| input == name)?;
        Some(parsed(name, text, dtype, declared))
    }
}

fn info_dims(info: &ValueInfoProto) -> &[Dimension] {
    match info.r#type.as_ref().and_then(|ty| ty.value.as_ref()) {
        Some(TypeValue::Tensor(tensor)) => tensor.shape.as_ref().map_or(&[], |shape| &shape.dim),
        _ => &[],
    }
}

fn listed(names: &[&str]) -> String {
    let mut names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.sort();
    names.dedup();
    names.join(", ")
}

fn joined<T: fmt::Display>(extents: &[T]) -> String {
    extents.iter().map(T::to_string).collect::<Vec<_>>().join("x")
}

/// `--shape` may fill what the model leaves open, and must repeat what it does not.
fn fitting(name: &str, shape: &[usize], dims: &[Dim]) -> Result<Vec<usize>, Problem> {
    let fits = |(extent, dim): (&usize, &Dim)| !matches!(dim, Dim::Known(known) if known != extent);
    if shape.len() == dims.len() && shape.iter().zip(dims).all(fits) {
        return Ok(shape.to_vec());
    }
    let message = format!("--shape {name}:{} does not fit the model's {}", joined(shape), joined(dims));
    Err(Problem::usage(message).hint("only the extents that the model leaves open can be chosen"))
}

/// `tensor`, if the input may have this value.
fn given(name: &str, tensor: &Tensor, dtype: DType, declared: Option<&[Dim]>) -> Result<Tensor, Problem> {
    if tensor.ty.dtype != dtype {
        return Err(Problem::usage(format!(
            "--set {name}: the input is of type {dtype}, not {}",
            tensor.ty.dtype
        )));
    }
    if let Some(dims) = declared {
        fitting(name, &tensor.ty.shape, dims)?;
    }
    Ok(tensor.clone())
}

/// `text` as a tensor of one element.
fn parsed(name: &str, text: &str, dtype: DType, declared: Option<&[Dim]>) -> Result<Tensor, Problem> {
    let dims = declared.unwrap_or(&[]);
    if dims.iter().any(|dim| matches!(dim, Dim::Known(extent) if *extent != 1)) {
        let message = format!("--set {name}: the input is a tensor of {}, not one number", joined(dims));
        return Err(Problem::usage(message));
    }
    let scalar = scalar(text, dtype)
        .ok_or_else(|| Problem::usage(format!("--set {name}: `{text}` is not a value of type {dtype}")))?;
    Ok(Tensor::scalar(scalar).reshaped(vec![1; dims.len()]))
}

fn scalar(text: &str, dtype: DType) -> Option<Scalar> {
    match dtype {
        DType::Bool => match text {
            "true" | "1" => Some(Scalar::bool(true)),
            "false" | "0" => Some(Scalar::bool(false)),
            _ => None,
        },
        DType::U64 => text.parse().ok().map(|bits| Scalar { dtype, bits }),
        dtype if dtype.is_float() => text.parse().ok().map(|value| Scalar::from_f64(dtype, value)),
        dtype => {
            let value: i64 = text.parse().ok()?;
            let scalar = Scalar::from_i64(dtype, value);
            (scalar.as_i64() == value).then_some(scalar)
        }
    }
}
