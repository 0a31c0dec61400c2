//! The text form of nests and definitions. Whatever nest prints, parses.

use std::fmt::{self, Display, Formatter, Write};

use ir::{DType, Scalar};

use crate::{Binary, Buffer, Compare, Definition, Expr, Fold, Nest, Source, Stage, Stmt, Unary};

/// Words that begin a statement or a buffer; a buffer of such a name is quoted.
pub(crate) const KEYWORDS: [&str; 10] =
    ["nest", "read", "write", "scratch", "for", "if", "else", "let", "true", "false"];

macro_rules! names {
    ($type:ident { $($variant:ident $name:literal),* $(,)? }) => {
        impl $type {
            pub(crate) const NAMES: &'static [($type, &'static str)] = &[$(($type::$variant, $name)),*];

            pub(crate) fn text(self) -> &'static str {
                match self { $($type::$variant => $name),* }
            }
        }
    };
}

names! { Unary {
    Neg "neg", Abs "abs", Sign "sign", Not "not", Sqrt "sqrt", Exp "exp", Log "log", Sin "sin", Cos "cos", Tan "tan",
    Asin "asin", Acos "acos", Atan "atan", Sinh "sinh", Cosh "cosh", Tanh "tanh", Asinh "asinh", Acosh "acosh",
    Atanh "atanh", Erf "erf", Floor "floor", Ceil "ceil", Round "round", Trunc "trunc", IsNan "is_nan", IsInf "is_inf",
} }
// The operators among them stand between their operands, the others before.
names! { Binary {
    Add "+", Sub "-", Mul "*", Div "/", Rem "%", And "&", Or "|", Xor "^", ShiftLeft "<<", ShiftRight ">>",
    Mod "mod", Pow "pow", Min "min", Max "max",
} }
names! { Compare { Eq "==", Ne "!=", Lt "<", Le "<=", Gt ">", Ge ">=" } }
names! { Fold { Sum "sum", Product "product", Min "min", Max "max" } }

impl Binary {
    /// How tightly the infix operator binds: more is tighter, all associate to the left. `None` for those written as
    /// functions.
    pub(crate) fn precedence(self) -> Option<u8> {
        match self {
            Binary::Mul | Binary::Div | Binary::Rem => Some(6),
            Binary::Add | Binary::Sub => Some(5),
            Binary::ShiftLeft | Binary::ShiftRight => Some(4),
            Binary::And => Some(3),
            Binary::Xor => Some(2),
            Binary::Or => Some(1),
            Binary::Mod | Binary::Pow | Binary::Min | Binary::Max => None,
        }
    }
}

/// Comparisons bind least.
pub(crate) const COMPARISON: u8 = 0;

/// Prints the nest as [`crate::parse`] reads it.
impl Display for Nest {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "nest {} {{", Name(&self.name))?;
        for buffer in &self.buffers {
            let access = format!("{:?}", buffer.access).to_lowercase();
            writeln!(f, "  {access} {}: {}[{}]", Name(&buffer.name), buffer.dtype, buffer.len)?;
        }
        Printer { buffers: &self.buffers }.block(f, &self.body, 1)?;
        writeln!(f, "}}")
    }
}

/// Prints as in a nest without buffers.
impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Printer { buffers: &[] }.expr(f, self, 0)
    }
}

impl Display for Definition {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "definition {{")?;
        for (k, table) in self.tables.iter().enumerate() {
            writeln!(f, "  table{k}: {}", table.ty)?;
        }
        for (k, stage) in self.stages.iter().enumerate() {
            writeln!(f, "  stage{k}: {stage}")?;
        }
        let results: Vec<String> = self.results.iter().map(|k| format!("stage{k}")).collect();
        writeln!(f, "  result {}", results.join(", "))?;
        writeln!(f, "}}")
    }
}

impl Display for Stage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(fold) = self.fold else { return write!(f, "{} = {}", self.ty(), self.body) };
        let extents: Vec<String> = self.reduction.iter().map(usize::to_string).collect();
        write!(f, "{} = {} over [{}] of {}", self.ty(), fold.text(), extents.join(","), self.body)?;
        self.finish.iter().try_for_each(|finish| write!(f, " then {finish}"))
    }
}

/// A name as it is, or quoted where it could be taken for something else.
struct Name<'a>(&'a str);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let plain =
            self.0.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && self.0.chars().all(word);
        let reserved =
            ["operand", "stage", "table", "inf_", "nan_"].iter().any(|prefix| self.0.starts_with(prefix));
        match plain && !reserved && !KEYWORDS.contains(&self.0) {
            true => f.write_str(self.0),
            false => write!(f, "{:?}", self.0),
        }
    }
}

/// A constant: a bare number is an `i64`, one with a point or exponent an `f32`; others carry their type.
struct Constant(Scalar);

impl Display for Constant {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let dtype = self.0.dtype;
        let value = self.0.as_f64();
        match dtype {
            DType::I64 | DType::Bool => write!(f, "{}", self.0),
            d if !d.is_float() => write!(f, "{}_{d}", self.0),
            // Not a number has many bit patterns.
            d if value.is_nan() => write!(f, "nan_{d}({:#x})", self.0.bits),
            d if value.is_infinite() => write!(f, "{}inf_{d}", if value < 0.0 { "-" } else { "" }),
            DType::F32 => write!(f, "{}", self.0),
            d => write!(f, "{}_{d}", self.0),
        }
    }
}

struct Printer<'a> {
    buffers: &'a [Buffer],
}

impl Printer<'_> {
    fn buffer(&self, id: crate::BufferId) -> String {
        match self.buffers.get(id.0 as usize) {
            Some(buffer) => Name(&buffer.name).to_string(),
            None => format!("buffer{}", id.0),
        }
    }

    fn block(&self, f: &mut Formatter<'_>, body: &[Stmt], depth: usize) -> fmt::Result {
        body.iter().try_for_each(|stmt| self.stmt(f, stmt, depth))
    }

    fn stmt(&self, f: &mut Formatter<'_>, stmt: &Stmt, depth: usize) -> fmt::Result {
        let margin = "  ".repeat(depth);
        f.write_str(&margin)?;
        match stmt {
            Stmt::For { var, from, to, step, parallel, body } => {
                write!(f, "for i{} in ", var.0)?;
                self.expr(f, from, 0)?;
                f.write_str("..")?;
                self.expr(f, to, 0)?;
                if *step != 1 {
                    write!(f, " step {step}")?;
                }
                f.write_str(if *parallel { " parallel {\n" } else { " {\n" })?;
                self.block(f, body, depth + 1)?;
                writeln!(f, "{margin}}}")
            }
            Stmt::If { condition, then, otherwise } => {
                f.write_str("if ")?;
                self.expr(f, condition, 0)?;
                f.write_str(" {\n")?;
                self.block(f, then, depth + 1)?;
                if !otherwise.is_empty() {
                    writeln!(f, "{margin}}} else {{")?;
                    self.block(f, otherwise, depth + 1)?;
                }
                writeln!(f, "{margin}}}")
            }
            Stmt::Let { reg, ty, value } => {
                write!(f, "let r{}: {ty} = ", reg.0)?;
                self.expr(f, value, 0)?;
                f.write_char('\n')
            }
            Stmt::Set { reg, value } => {
                write!(f, "r{} = ", reg.0)?;
                self.expr(f, value, 0)?;
                f.write_char('\n')
            }
            Stmt::Prefetch { buffer, index } => {
                write!(f, "prefetch {}[", self.buffer(*buffer))?;
                self.expr(f, index, 0)?;
                f.write_str("]\n")
            }
            Stmt::Store { buffer, index, value, valid } => {
                write!(f, "{}[", self.buffer(*buffer))?;
                self.expr(f, index, 0)?;
                match valid {
                    1 => f.write_str("] = ")?,
                    valid => write!(f, "; {valid}] = ")?,
                }
                self.expr(f, value, 0)?;
                f.write_char('\n')
            }
        }
    }

    fn call(&self, f: &mut Formatter<'_>, function: &str, args: &[&Expr]) -> fmt::Result {
        write!(f, "{function}(")?;
        self.list(f, args)?;
        f.write_char(')')
    }

    fn list(&self, f: &mut Formatter<'_>, exprs: &[&Expr]) -> fmt::Result {
        for (k, expr) in exprs.iter().enumerate() {
            f.write_str(if k > 0 { ", " } else { "" })?;
            self.expr(f, expr, 0)?;
        }
        Ok(())
    }

    /// Parenthesised if it binds less tightly than `needed`.
    fn infix(
        &self,
        f: &mut Formatter<'_>,
        operator: &str,
        a: &Expr,
        b: &Expr,
        precedence: u8,
        needed: u8,
    ) -> fmt::Result {
        let parentheses = precedence < needed;
        f.write_str(if parentheses { "(" } else { "" })?;
        // A comparison of comparisons would read badly, so both of its sides bind more tightly.
        self.expr(f, a, if precedence == COMPARISON { precedence + 1 } else { precedence })?;
        write!(f, " {operator} ")?;
        self.expr(f, b, precedence + 1)?;
        f.write_str(if parentheses { ")" } else { "" })
    }

    fn expr(&self, f: &mut Formatter<'_>, expr: &Expr, needed: u8) -> fmt::Result {
        match expr {
            Expr::Const(scalar) => write!(f, "{}", Constant(*scalar)),
            Expr::Axis(axis) => write!(f, "a{axis}"),
            Expr::Read { source, index } => {
                match source {
                    Source::Operand(k) => write!(f, "operand{k}[")?,
                    Source::Stage(k) => write!(f, "stage{k}[")?,
                    Source::Table(k) => write!(f, "table{k}[")?,
                }
                self.list(f, &index.iter().collect::<Vec<_>>())?;
                f.write_char(']')
            }
            Expr::Folded => f.write_str("folded"),
            Expr::Loop(var) => write!(f, "i{}", var.0),
            Expr::Reg(reg) => write!(f, "r{}", reg.0),
            Expr::Load { buffer, index, lanes, valid } => {
                write!(f, "{}[", self.buffer(*buffer))?;
                self.expr(f, index, 0)?;
                match (valid, lanes) {
                    (1, 1) => f.write_char(']'),
                    _ if valid == lanes => write!(f, "; {lanes}]"),
                    _ => write!(f, "; {valid} of {lanes}]"),
                }
            }
            Expr::Rows { buffer, index, stride, rows, lanes } => {
                write!(f, "{}[", self.buffer(*buffer))?;
                self.expr(f, index, 0)?;
                write!(f, "; {rows} x {lanes} every {stride}]")
            }
            Expr::Concat(parts) => self.call(f, "concat", &parts.iter().collect::<Vec<_>>()),
            Expr::Broadcast { value, lanes } => self.call(f, &format!("broadcast<{lanes}>"), &[value]),
            Expr::Horizontal { fold, value } => {
                self.call(f, &format!("horizontal<{}>", fold.text()), &[value])
            }
            Expr::Lane { value, lane } => self.call(f, &format!("lane<{lane}>"), &[value]),
            Expr::Shuffle { a, b, lanes } => {
                self.call(f, &format!("shuffle<{}>", runs(lanes).join(", ")), &[a, b])
            }
            Expr::Unary(op, a) => self.call(f, op.text(), &[a]),
            Expr::Binary(op, a, b) => match op.precedence() {
                Some(precedence) => self.infix(f, op.text(), a, b, precedence, needed),
                None => self.call(f, op.text(), &[a, b]),
            },
            Expr::Compare(op, a, b) => self.infix(f, op.text(), a, b, COMPARISON, needed),
            Expr::MulAdd(a, b, c) => self.call(f, "fma", &[a, b, c]),
            Expr::Select { condition, then, otherwise } => {
                self.call(f, "select", &[condition, then, otherwise])
            }
            Expr::Cast(dtype, a) => self.call(f, &format!("cast<{dtype}>"), &[a]),
            Expr::Bits(dtype, a) => self.call(f, &format!("bits<{dtype}>"), &[a]),
            Expr::Instruction { name, args } => {
                self.call(f, &format!("@{}", Name(name)), &args.iter().collect::<Vec<_>>())
            }
        }
    }
}

/// Numbers as they are listed: `first..end` for three and more that follow each other.
fn runs(numbers: &[usize]) -> Vec<String> {
    let mut listed = Vec::new();
    let follow = |a: &usize, b: &usize| a.checked_add(1) == Some(*b);
    for run in numbers.chunk_by(follow) {
        match *run {
            [first, .., last] if run.len() > 2 && last < usize::MAX => {
                listed.push(format!("{first}..{}", last + 1));
            }
            _ => listed.extend(run.iter().map(usize::to_string)),
        }
    }
    listed
}
