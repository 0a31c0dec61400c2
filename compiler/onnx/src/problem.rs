use std::collections::HashMap;
use std::fmt;

/// Whose fault a problem is; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The options contradict the model or each other.
    Usage,
    /// The file breaks the rules of ONNX.
    Invalid,
    /// The model is fine, as far as one can tell, but asks for something that the compiler does not do.
    Unsupported,
}

/// An operator as a model asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Operator {
    /// `ai.onnx` is the standard domain.
    pub domain: String,
    pub op_type: String,
    /// The version of the domain that the model asks for; 0 if it does not say.
    pub opset: i64,
}

/// One thing that is wrong with a model, for all nodes that have it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Problem {
    /// Stable: a code keeps its meaning over versions. See [`code`].
    pub code: &'static str,
    pub kind: Kind,
    /// What is wrong, as a sentence without the nodes' names.
    pub message: String,
    pub operator: Option<Operator>,
    /// The names of the nodes, inputs or tensors that have it.
    pub nodes: Vec<String>,
    /// What the user can do about it, if there is something.
    pub hint: Option<String>,
}

/// The codes of all problems that importing can find.
pub mod code {
    /// The file cannot be read.
    pub const FILE: &str = "E0100";
    /// The bytes are not an ONNX model.
    pub const PROTOBUF: &str = "E0101";
    /// The IR version or an opset is outside what is supported.
    pub const VERSION: &str = "E0102";
    /// The graph is not well formed: missing, doubled or cyclic values, empty graphs.
    pub const GRAPH: &str = "E0103";
    /// A tensor's data does not fit its type, or cannot be had.
    pub const TENSOR: &str = "E0104";
    /// An input's shape is not known.
    pub const SYMBOLIC: &str = "E0105";
    /// A pin (`--dim`, `--shape`, `--set`) does not fit the model.
    pub const PIN: &str = "E0106";
    /// An element type or a kind of value that is not supported.
    pub const TYPE: &str = "E0107";
    /// The model is larger or more deeply nested than the compiler takes.
    pub const LIMIT: &str = "E0108";
    /// The operator is not known at all.
    pub const OPERATOR: &str = "E0201";
    /// The operator is known, but not with these inputs or attributes.
    pub const USE: &str = "E0202";
    /// Control flow that does not fold away.
    pub const CONTROL: &str = "E0203";
}

impl Problem {
    pub(crate) fn new(code: &'static str, kind: Kind, message: impl Into<String>) -> Problem {
        Problem { code, kind, message: message.into(), operator: None, nodes: vec![], hint: None }
    }

    pub(crate) fn invalid(code: &'static str, message: impl Into<String>) -> Problem {
        Problem::new(code, Kind::Invalid, message)
    }

    pub(crate) fn unsupported(code: &'static str, message: impl Into<String>) -> Problem {
        Problem::new(code, Kind::Unsupported, message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Problem {
        Problem::new(code::PIN, Kind::Usage, message)
    }

    pub(crate) fn at(mut self, node: impl Into<String>) -> Problem {
        self.nodes.push(node.into());
        self
    }

    pub(crate) fn of(mut self, operator: Operator) -> Problem {
        self.operator = Some(operator);
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} v{}", self.domain, self.op_type, self.opset)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.code)?;
        if let Some(operator) = &self.operator {
            write!(f, "{operator}: ")?;
        }
        f.write_str(&self.message)?;
        match &self.nodes[..] {
            [] => (),
            [one] => write!(f, " (`{one}`)")?,
            [first, ..] => write!(f, " ({} nodes, the first is `{first}`)", self.nodes.len())?,
        }
        self.hint.iter().try_for_each(|hint| write!(f, "; {hint}"))
    }
}

impl std::error::Error for Problem {}

/// Problems as they are found, those that differ in the node alone as one.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: Vec<Problem>,
    /// A problem without its nodes → its place in `found`.
    places: HashMap<Problem, usize>,
}

impl Problems {
    pub fn report(&mut self, mut problem: Problem) {
        let nodes = std::mem::take(&mut problem.nodes);
        let place = *self.places.entry(problem).or_insert_with_key(|problem| {
            self.found.push(problem.clone());
            self.found.len() - 1
        });
        self.found[place].nodes.extend(nodes);
    }

    /// The problems in the order they were found, or `value` if there are none.
    pub fn or<T>(self, value: T) -> Result<T, Vec<Problem>> {
        if self.found.is_empty() { Ok(value) } else { Err(self.found) }
    }
}
