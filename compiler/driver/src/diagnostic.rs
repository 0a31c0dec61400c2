//! What goes wrong in words: one value for the terminal and for JSON.

use std::fmt;

use serde::Serialize;

/// Whose fault it is; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A bug of the compiler.
    Internal,
    /// The command line, or the files and programs around it.
    Usage,
    /// The model breaks ONNX's rules.
    InvalidModel,
    /// The model is right but asks for something that this compiler does not do.
    Unsupported,
    OverBudget,
    VerificationFailed,
    /// Something that was asked for could not be had; all else is done.
    Warning,
}

impl Kind {
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Internal => 1,
            Kind::Usage => 2,
            Kind::InvalidModel => 3,
            Kind::Unsupported => 4,
            Kind::OverBudget => 5,
            Kind::VerificationFailed => 6,
            Kind::Warning => 0,
        }
    }
}

/// The codes of what goes wrong outside of the model; those of models (E01.., E02..) are `onnx::code`'s.
/// Stable: a code keeps its meaning over versions.
pub mod code {
    /// The command line contradicts itself or asks for nothing.
    pub const COMMAND_LINE: &str = "E0001";
    pub const CANNOT_READ: &str = "E0002";
    pub const CANNOT_WRITE: &str = "E0003";
    /// `-o` names something that this compiler did not write.
    pub const NOT_OUR_DIRECTORY: &str = "E0004";
    pub const TARGET: &str = "E0005";
    /// Given inputs or expected outputs are missing, or of another type than the model's.
    pub const DATA: &str = "E0006";
    /// There is no way to run the target's code here.
    pub const CANNOT_RUN: &str = "E0007";
    /// The model has no node of that name.
    pub const NODE: &str = "E0008";
    /// A file of records, or a trial, that is not one.
    pub const RECORDS: &str = "E0009";
    /// The model is supported, but not for this target.
    pub const TARGET_CANNOT: &str = "E0210";
    /// The library needs more memory than the user allows.
    pub const OVER_BUDGET: &str = "E0301";
    /// The compiled code ran, but not as docs/abi.md promises.
    pub const RUN_FAILED: &str = "E0402";
    pub const BUG: &str = "E0901";
    /// Records of another version of the compiler's schedules.
    pub const STALE_RECORDS: &str = "W0101";
    /// Records of another target.
    pub const FOREIGN_RECORDS: &str = "W0102";
    /// A record's schedule is not legal for its kernel.
    pub const REFUSED_RECORD: &str = "W0103";
    /// A kernel could not be measured.
    pub const NOT_TUNED: &str = "W0105";
    /// The user ended what had not yet ended.
    pub const STOPPED: &str = "W0106";
    /// Records of one kernel that were measured in different places.
    pub const INCOMPARABLE_RECORDS: &str = "W0104";
}

/// One thing that is wrong in several places of a model, or in one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub operator: String,
    /// `ai.onnx` for the standard domain.
    pub domain: String,
    pub opset: i64,
    /// The names of the nodes, in the model's order.
    pub nodes: Vec<String>,
    /// The property that fails: the attribute, type or shape.
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    pub kind: Kind,
    pub code: &'static str,
    pub message: String,
    /// The nodes, inputs or tensors that it is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Diagnostic {
    pub fn new(kind: Kind, code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic { kind, code, message: message.into(), nodes: vec![], findings: vec![], hint: None }
    }

    pub fn usage(code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Kind::Usage, code, message)
    }

    pub fn warning(code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Kind::Warning, code, message)
    }

    /// A bug of ours that was noticed in time.
    pub fn bug(message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Kind::Internal, code::BUG, message)
            .with_hint("this is a bug in onnxc; please report it with the model and this command line")
    }

    pub fn with_hint(mut self, hint: impl Into<String>) -> Diagnostic {
        self.hint = Some(hint.into());
        self
    }

    /// For the terminal: the message, a block per finding, the hint.
    fn render(&self, f: &mut fmt::Formatter<'_>, paint: Paint) -> fmt::Result {
        let (red, bold, cyan, plain) = paint.codes();
        let what = if self.kind == Kind::Warning { "warning" } else { "error" };
        writeln!(f, "{red}{what}[{}]{plain}{bold}: {}{plain}", self.code, self.message)?;
        if !self.nodes.is_empty() {
            writeln!(f, "  {cyan}at:{plain} {}", names(&self.nodes))?;
        }
        let width = |text: &dyn Fn(&Finding) -> String| {
            self.findings.iter().map(|finding| text(finding).chars().count()).max().unwrap_or(0)
        };
        let version = |finding: &Finding| format!("{} v{}", finding.domain, finding.opset);
        let (first, second) = (width(&|finding| finding.operator.clone()), width(&version));
        for finding in &self.findings {
            let count = match finding.nodes.len() {
                1 => "1 node".to_owned(),
                n => format!("{n} nodes"),
            };
            let operator = format!("{:first$}   {:second$}", finding.operator, version(finding));
            writeln!(f, "  {operator}   {count:8}  {}", names(&finding.nodes))?;
            let indent = " ".repeat(first + second + 8);
            writeln!(f, "{indent}{}", finding.message)?;
            if let Some(hint) = &finding.hint {
                writeln!(f, "{indent}{cyan}hint:{plain} {hint}")?;
            }
        }
        match &self.hint {
            Some(hint) => writeln!(f, "  {cyan}hint:{plain} {hint}"),
            None => Ok(()),
        }
    }
}

/// The first names, and how many more there are.
fn names(nodes: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = nodes.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match nodes.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.render(f, Paint::Plain)
    }
}

/// Everything that is wrong, at once; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// The code of the gravest: a bug of ours before a wrong command before a wrong model.
    pub fn exit_code(&self) -> u8 {
        self.0.iter().map(|diagnostic| diagnostic.kind).min().unwrap_or(Kind::Internal).exit_code()
    }

    /// As [`fmt::Display`], coloured.
    pub fn painted(&self) -> impl fmt::Display + '_ {
        Painted(self)
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Diagnostics {
        Diagnostics(vec![diagnostic])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|diagnostic| diagnostic.render(f, Paint::Plain))
    }
}

impl std::error::Error for Diagnostics {}

struct Painted<'a>(&'a Diagnostics);

impl fmt::Display for Painted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.0.iter().try_for_each(|diagnostic| diagnostic.render(f, Paint::Ansi))
    }
}

#[derive(Clone, Copy)]
enum Paint {
    Plain,
    Ansi,
}

impl Paint {
    /// Red, bold, cyan, and back.
    fn codes(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Paint::Plain => ("", "", "", ""),
            Paint::Ansi => ("\x1b[1;31m", "\x1b[1m", "\x1b[36m", "\x1b[0m"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(operator: &str, opset: i64, nodes: &[&str], message: &str) -> Finding {
        Finding {
            operator: operator.to_owned(),
            domain: "ai.onnx".to_owned(),
            opset,
            nodes: nodes.iter().map(|&name| name.to_owned()).collect(),
            message: message.to_owned(),
            hint: None,
        }
    }

    #[test]
    fn all_findings_stand_in_columns() {
        let mut diagnostic =
            Diagnostic::new(Kind::Unsupported, "E0201", "2 operators of this model are not supported");
        diagnostic.findings = vec![
            finding(
                "GridSample",
                16,
                &["/d/GridSample", "/d/GridSample_1"],
                "mode=\"bicubic\" is not implemented",
            ),
            finding("Det", 11, &["a", "b", "c", "d", "e", "f"], "the operator is not implemented"),
        ];
        let unknown =
            Diagnostic::new(Kind::InvalidModel, "E0105", "input `x` has symbolic dimension `batch`")
                .with_hint("add  --dim batch=1");
        let all = Diagnostics(vec![diagnostic, unknown]);
        insta::assert_snapshot!(all, @r#"
        error[E0201]: 2 operators of this model are not supported
          GridSample   ai.onnx v16   2 nodes   /d/GridSample, /d/GridSample_1
                                     mode="bicubic" is not implemented
          Det          ai.onnx v11   6 nodes   a, b, c, d and 2 more
                                     the operator is not implemented
        error[E0105]: input `x` has symbolic dimension `batch`
          hint: add  --dim batch=1
        "#);
        assert_eq!(all.exit_code(), 3);
    }
}
