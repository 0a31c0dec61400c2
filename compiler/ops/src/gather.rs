/// Declares the operator modules and the closed set of operators over them.
///
/// `AnyOp` is an enum and not `dyn Op`: equality, order and hash come derived, and a match over operators is checked
/// for completeness.
macro_rules! ops {
    ($($module:ident :: $op:ident),* $(,)?) => {
        $(pub mod $module;)*

        /// Any operator, by value.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum AnyOp { $($op($module::$op)),* }

        /// An operator's name without its attributes; what a rewrite pattern matches on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum OpKind { $($op),* }

        impl OpKind {
            pub const ALL: &'static [OpKind] = &[$(OpKind::$op),*];

            pub fn name(self) -> &'static str {
                match self { $(OpKind::$op => <$module::$op as crate::Op>::NAME),* }
            }
            /// The ONNX operators that this one's file reads.
            pub fn onnx(self) -> &'static [crate::Onnx] {
                match self { $(OpKind::$op => <$module::$op as crate::Op>::ONNX),* }
            }
            fn default_json(self) -> serde_json::Value {
                match self { $(OpKind::$op => crate::gather::json(&$module::$op::default())),* }
            }
            fn read_json(self, value: serde_json::Value) -> Result<AnyOp, serde_json::Error> {
                match self { $(OpKind::$op => serde_json::from_value(value).map(AnyOp::$op)),* }
            }
            /// The operator with its default attributes.
            pub fn with_defaults(self) -> AnyOp {
                match self { $(OpKind::$op => AnyOp::$op($module::$op::default())),* }
            }
        }

        impl AnyOp {
            pub fn kind(&self) -> OpKind {
                match self { $(AnyOp::$op(_) => OpKind::$op),* }
            }
            pub fn infer(&self, inputs: &[ir::TensorType]) -> Result<Vec<ir::TensorType>, ir::OpError> {
                match self { $(AnyOp::$op(op) => crate::Op::infer(op, inputs)),* }
            }
            pub fn meaning(&self, inputs: &[ir::TensorType]) -> crate::Meaning {
                match self { $(AnyOp::$op(op) => crate::Op::meaning(op, inputs)),* }
            }
            /// See [`Op::in_layout`](crate::Op::in_layout).
            pub fn in_layout(&self, layout: crate::shape::Layout) -> Option<AnyOp> {
                match self { $(AnyOp::$op(op) => crate::Op::in_layout(op, layout).map(AnyOp::$op)),* }
            }
            /// See [`Op::before_transpose`](crate::Op::before_transpose).
            pub fn before_transpose(&self, permutation: &[usize]) -> Option<(AnyOp, Vec<usize>)> {
                match self {
                    $(AnyOp::$op(op) => {
                        let (op, axes) = crate::Op::before_transpose(op, permutation)?;
                        Some((AnyOp::$op(op), axes))
                    }),*
                }
            }
            fn json(&self) -> serde_json::Value {
                match self { $(AnyOp::$op(op) => crate::gather::json(op)),* }
            }
        }

        impl ir::Operator for AnyOp {
            fn name(&self) -> &'static str {
                self.kind().name()
            }
            fn attributes(&self) -> serde_json::Map<String, serde_json::Value> {
                crate::gather::without_defaults(self.json(), &self.kind().default_json())
            }
            fn parse(name: &str, attributes: serde_json::Map<String, serde_json::Value>) -> Result<AnyOp, ir::OpError> {
                let kind = OpKind::ALL.iter().find(|kind| kind.name() == name);
                let kind = kind.ok_or_else(|| ir::OpError::new(format!("no operator is called `{name}`")))?;
                let filled = crate::gather::with_defaults(attributes, kind.default_json())?;
                kind.read_json(filled).map_err(|err| ir::OpError::new(format!("{name}: {err}")))
            }
            fn infer(&self, inputs: &[ir::TensorType]) -> Result<Vec<ir::TensorType>, ir::OpError> {
                AnyOp::infer(self, inputs)
            }
        }

        $(
            impl From<$module::$op> for AnyOp {
                fn from(op: $module::$op) -> AnyOp { AnyOp::$op(op) }
            }
            impl<'a> TryFrom<&'a AnyOp> for &'a $module::$op {
                type Error = ();
                fn try_from(op: &'a AnyOp) -> Result<Self, ()> {
                    match op { AnyOp::$op(op) => Ok(op), _ => Err(()) }
                }
            }
        )*
    };
}
pub(crate) use ops;

use ir::OpError;
use serde_json::{Map, Value};

/// An operator's attributes; plain structs of numbers, lists and enums, which always serialise.
pub(crate) fn json(op: &impl serde::Serialize) -> Value {
    serde_json::to_value(op).unwrap_or(Value::Null)
}

/// The attributes that differ from the default, in field order. A unit struct serialises as null.
pub(crate) fn without_defaults(attributes: Value, defaults: &Value) -> Map<String, Value> {
    match attributes {
        Value::Object(map) => {
            map.into_iter().filter(|(key, value)| defaults.get(key) != Some(value)).collect()
        }
        _ => Map::new(),
    }
}

pub(crate) fn with_defaults(attributes: Map<String, Value>, defaults: Value) -> Result<Value, OpError> {
    match defaults {
        Value::Object(mut filled) => {
            for (key, value) in attributes {
                if !filled.contains_key(&key) {
                    return Err(OpError::new(format!("there is no attribute `{key}`")));
                }
                filled.insert(key, value);
            }
            Ok(Value::Object(filled))
        }
        other => match attributes.keys().next() {
            Some(key) => Err(OpError::new(format!("there is no attribute `{key}`"))),
            None => Ok(other),
        },
    }
}
