//! Reads the text form of nests. Any text gives a nest or an error with its place; none makes it panic.

use std::collections::HashMap;

use ir::{DType, Scalar};

use crate::print::COMPARISON;
use crate::{
    Access, Binary, Buffer, BufferId, Compare, Expr, Fold, LoopVar, Nest, Reg, Source, Stmt, Type, Unary,
};

/// What is wrong with a text, and where (both from 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    pub line: usize,
    pub column: usize,
    pub message: String,
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for ParseError {}

/// Parses one nest. It is well-formed as a text; [`crate::verify`] judges what it says.
pub fn parse(text: &str) -> Result<Nest, ParseError> {
    let mut parser = Parser { text, at: 0, buffers: HashMap::new(), depth: 0 };
    let nest = parser.nest().map_err(|message| parser.error(message))?;
    parser.space();
    match parser.at == text.len() {
        true => Ok(nest),
        false => Err(parser.error("something follows the nest".to_string())),
    }
}

/// Statements and expressions nest no deeper: the parser and all that walk its result recurse.
const MAX_DEPTH: usize = 500;

/// Lanes that a range may stand for: more than any register has.
const MAX_LANES: usize = 1 << 16;

struct Parser<'a> {
    text: &'a str,
    /// Bytes consumed.
    at: usize,
    buffers: HashMap<String, BufferId>,
    depth: usize,
}

type Parsed<T> = Result<T, String>;

impl<'a> Parser<'a> {
    fn error(&self, message: String) -> ParseError {
        let before = &self.text[..self.at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        ParseError { line, column: before[line_start..].chars().count() + 1, message }
    }

    // Tokens.

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Skips white space and `// comments`.
    fn space(&mut self) {
        loop {
            self.at = self.text.len() - self.rest().trim_start().len();
            if !self.rest().starts_with("//") {
                return;
            }
            self.at += self.rest().find('\n').unwrap_or(self.rest().len());
        }
    }

    /// Consumes `symbol` if it comes next.
    fn symbol(&mut self, symbol: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(symbol);
        self.at += if found { symbol.len() } else { 0 };
        found
    }

    fn expect(&mut self, symbol: &str) -> Parsed<()> {
        match self.symbol(symbol) {
            true => Ok(()),
            false => Err(format!("expected `{symbol}`")),
        }
    }

    /// The word that comes next; empty if none does.
    fn peek_word(&mut self) -> &'a str {
        self.space();
        let rest = self.rest();
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        match rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            true => &rest[..rest.find(|c| !word(c)).unwrap_or(rest.len())],
            false => "",
        }
    }

    fn word(&mut self) -> &'a str {
        let word = self.peek_word();
        self.at += word.len();
        word
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        let found = self.peek_word() == keyword;
        self.at += if found { keyword.len() } else { 0 };
        found
    }

    /// A word or a quoted string.
    fn name(&mut self) -> Parsed<String> {
        self.space();
        if !self.rest().starts_with('"') {
            return match self.word() {
                "" => Err("expected a name".to_string()),
                word => Ok(word.to_string()),
            };
        }
        let mut name = String::new();
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.at += at + 1;
                    return Ok(name);
                }
                '\\' => name.push(escaped(&mut chars)?),
                _ => name.push(c),
            }
        }
        Err("a string without an end".to_string())
    }

    fn number<T: std::str::FromStr>(&mut self) -> Parsed<T> {
        self.space();
        let rest = self.rest();
        let digits = &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())];
        let number = digits.parse().map_err(|_| "expected a number".to_string())?;
        self.at += digits.len();
        Ok(number)
    }

    fn dtype(&mut self) -> Parsed<DType> {
        self.word().parse()
    }

    /// `f32`, `f32x16`.
    fn ty(&mut self) -> Parsed<Type> {
        let word = self.word();
        let (dtype, lanes) = word.split_once('x').unwrap_or((word, "1"));
        let lanes = lanes.parse().map_err(|_| format!("`{word}` is no type"))?;
        Ok(Type { dtype: dtype.parse()?, lanes })
    }

    /// What is inside one level of nesting.
    fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} levels of nesting"));
        }
        let result = inner(self)?;
        self.depth -= 1;
        Ok(result)
    }

    // Statements.

    fn nest(&mut self) -> Parsed<Nest> {
        if !self.keyword("nest") {
            return Err("expected `nest`".to_string());
        }
        let name = self.name()?;
        self.expect("{")?;
        let mut buffers = Vec::new();
        while let Some(access) = self.access() {
            let name = self.name()?;
            self.expect(":")?;
            let dtype = self.dtype()?;
            self.expect("[")?;
            let len = self.number()?;
            self.expect("]")?;
            let id = BufferId(buffers.len() as u32);
            if self.buffers.insert(name.clone(), id).is_some() {
                return Err(format!("two buffers are called `{name}`"));
            }
            buffers.push(Buffer { name, dtype, len, access });
        }
        let body = self.statements()?;
        Ok(Nest { name, buffers, body })
    }

    fn access(&mut self) -> Option<Access> {
        let access = match self.peek_word() {
            "read" => Access::Read,
            "write" => Access::Write,
            "scratch" => Access::Scratch,
            _ => return None,
        };
        self.word();
        Some(access)
    }

    /// Statements up to and with the closing brace.
    fn statements(&mut self) -> Parsed<Vec<Stmt>> {
        self.nested(|parser| {
            let mut body = Vec::new();
            while !parser.symbol("}") {
                body.push(parser.stmt()?);
            }
            Ok(body)
        })
    }

    fn block(&mut self) -> Parsed<Vec<Stmt>> {
        self.expect("{")?;
        self.statements()
    }

    fn stmt(&mut self) -> Parsed<Stmt> {
        if self.keyword("for") {
            return self.for_loop();
        }
        if self.keyword("if") {
            let condition = self.expr(0)?;
            let then = self.block()?;
            let otherwise = if self.keyword("else") { self.block()? } else { vec![] };
            return Ok(Stmt::If { condition, then, otherwise });
        }
        if self.keyword("let") {
            let word = self.word();
            let reg = numbered(word, "r").map(Reg).ok_or_else(|| "expected a register".to_string())?;
            self.expect(":")?;
            let ty = self.ty()?;
            self.expect("=")?;
            return Ok(Stmt::Let { reg, ty, value: self.expr(0)? });
        }
        if self.keyword("prefetch") {
            let name = self.name()?;
            self.expect("[")?;
            let (buffer, index) = (self.buffer(&name)?, self.expr(0)?);
            self.expect("]")?;
            return Ok(Stmt::Prefetch { buffer, index });
        }
        let name = self.name()?;
        if self.symbol("[") {
            return self.store(&name);
        }
        let reg = numbered(&name, "r").map(Reg).ok_or_else(|| format!("`{name}` begins no statement"))?;
        self.expect("=")?;
        Ok(Stmt::Set { reg, value: self.expr(0)? })
    }

    fn for_loop(&mut self) -> Parsed<Stmt> {
        let word = self.word();
        let var = numbered(word, "i").map(LoopVar).ok_or_else(|| "expected a loop variable".to_string())?;
        if !self.keyword("in") {
            return Err("expected `in`".to_string());
        }
        let from = self.expr(0)?;
        self.expect("..")?;
        let to = self.expr(0)?;
        let step = if self.keyword("step") { self.step()? } else { 1 };
        let parallel = self.keyword("parallel");
        Ok(Stmt::For { var, from, to, step, parallel, body: self.block()? })
    }

    fn step(&mut self) -> Parsed<i64> {
        let negative = self.symbol("-");
        let step: i64 = self.number()?;
        Ok(if negative { -step } else { step })
    }

    fn store(&mut self, name: &str) -> Parsed<Stmt> {
        let buffer = self.buffer(name)?;
        let index = self.expr(0)?;
        let valid = if self.symbol(";") { self.number()? } else { 1 };
        self.expect("]")?;
        self.expect("=")?;
        Ok(Stmt::Store { buffer, index, value: self.expr(0)?, valid })
    }

    fn buffer(&self, name: &str) -> Parsed<BufferId> {
        self.buffers.get(name).copied().ok_or_else(|| format!("no buffer is called `{name}`"))
    }

    // Expressions.

    /// An expression of operators that bind at least as tightly as `loosest`.
    fn expr(&mut self, loosest: u8) -> Parsed<Expr> {
        self.nested(|parser| {
            let outer = parser.depth;
            let mut left = parser.primary()?;
            while let Some((infix, precedence)) = parser.infix(loosest) {
                // Chains to the left are as deep as they are long.
                parser.depth += 1;
                if parser.depth > MAX_DEPTH {
                    return Err(format!("more than {MAX_DEPTH} levels of nesting"));
                }
                let right = parser.expr(precedence + 1)?;
                left = match infix {
                    Infix::Binary(op) => Expr::binary(op, left, right),
                    Infix::Compare(op) => Expr::compare(op, left, right),
                };
            }
            parser.depth = outer;
            Ok(left)
        })
    }

    /// Consumes the operator that comes next, if it binds tightly enough.
    fn infix(&mut self, loosest: u8) -> Option<(Infix, u8)> {
        self.space();
        let rest = self.rest();
        let binary =
            Binary::NAMES.iter().filter_map(|&(op, text)| Some((Infix::Binary(op), text, op.precedence()?)));
        let compare = Compare::NAMES.iter().map(|&(op, text)| (Infix::Compare(op), text, COMPARISON));
        let fitting = binary.chain(compare).filter(|(_, text, _)| rest.starts_with(text));
        // `<<` and `<=` begin with `<`.
        let (infix, text, precedence) = fitting.max_by_key(|(_, text, _)| text.len())?;
        (precedence >= loosest).then(|| self.at += text.len())?;
        Some((infix, precedence))
    }

    fn primary(&mut self) -> Parsed<Expr> {
        self.space();
        if self.symbol("(") {
            let inner = self.expr(0)?;
            self.expect(")")?;
            return Ok(inner);
        }
        if self.symbol("@") {
            let name = self.name()?;
            return Ok(Expr::Instruction { name, args: self.args()? });
        }
        if self.rest().starts_with(|c: char| c.is_ascii_digit() || c == '-') {
            return self.constant();
        }
        if self.rest().starts_with('"') {
            let name = self.name()?;
            self.expect("[")?;
            return self.load(&name);
        }
        match self.peek_word() {
            "" => Err("expected an expression".to_string()),
            word if word.starts_with("inf_") || word.starts_with("nan_") => self.constant(),
            word => {
                self.at += word.len();
                self.worded(word)
            }
        }
    }

    /// An expression that begins with `word`.
    fn worded(&mut self, word: &str) -> Parsed<Expr> {
        if self.symbol("[") {
            let sources = [
                numbered(word, "operand").map(Source::Operand),
                numbered(word, "stage").map(Source::Stage),
                numbered(word, "table").map(Source::Table),
            ];
            return match sources.into_iter().flatten().next() {
                Some(source) => Ok(Expr::Read { source, index: self.list("]")? }),
                None => self.load(word),
            };
        }
        match word {
            "true" | "false" => return Ok(Expr::Const(Scalar::bool(word == "true"))),
            "folded" => return Ok(Expr::Folded),
            _ => {}
        }
        let leaf = numbered(word, "a").map(Expr::Axis);
        let leaf = leaf.or_else(|| numbered(word, "i").map(|k| Expr::Loop(LoopVar(k))));
        match leaf.or_else(|| numbered(word, "r").map(|k| Expr::Reg(Reg(k)))) {
            Some(leaf) => Ok(leaf),
            None => self.function(word),
        }
    }

    /// What follows `buffer[`.
    fn load(&mut self, name: &str) -> Parsed<Expr> {
        let buffer = self.buffer(name)?;
        let index = Box::new(self.expr(0)?);
        let valid = if self.symbol(";") { self.number()? } else { 1 };
        if self.keyword("x") {
            let (rows, lanes) = (valid, self.number()?);
            let stride = if self.keyword("every") { self.number()? } else { lanes };
            self.expect("]")?;
            return Ok(Expr::Rows { buffer, index, stride, rows, lanes });
        }
        let lanes = if self.keyword("of") { self.number()? } else { valid };
        self.expect("]")?;
        Ok(Expr::Load { buffer, index, lanes, valid })
    }

    fn function(&mut self, word: &str) -> Parsed<Expr> {
        let unknown = || format!("nothing is called `{word}`");
        match word {
            "broadcast" => {
                let lanes = self.parameter(Self::number)?;
                let [value] = self.fixed_args()?;
                Ok(Expr::Broadcast { value: Box::new(value), lanes })
            }
            "horizontal" => {
                let fold = self.parameter(|parser| {
                    named(Fold::NAMES, parser.word()).ok_or_else(|| "expected a fold".into())
                })?;
                let [value] = self.fixed_args()?;
                Ok(Expr::Horizontal { fold, value: Box::new(value) })
            }
            "lane" => {
                let lane = self.parameter(Self::number)?;
                let [value] = self.fixed_args()?;
                Ok(Expr::Lane { value: Box::new(value), lane })
            }
            "shuffle" => {
                let lanes = self.parameter(|parser| {
                    let mut lanes = Vec::new();
                    loop {
                        let first: usize = parser.number()?;
                        if parser.symbol("..") {
                            let end: usize = parser.number()?;
                            if end.saturating_sub(first) > MAX_LANES {
                                return Err(format!("{first}..{end} are too many lanes"));
                            }
                            lanes.extend(first..end);
                        } else {
                            lanes.push(first);
                        }
                        if !parser.symbol(",") {
                            return Ok(lanes);
                        }
                    }
                })?;
                let [a, b] = self.fixed_args()?;
                Ok(Expr::Shuffle { a: Box::new(a), b: Box::new(b), lanes })
            }
            "concat" => Ok(Expr::Concat(self.args()?)),
            "cast" | "bits" => {
                let dtype = self.parameter(Self::dtype)?;
                let [value] = self.fixed_args()?;
                let value = Box::new(value);
                Ok(if word == "cast" { Expr::Cast(dtype, value) } else { Expr::Bits(dtype, value) })
            }
            "fma" => {
                let [a, b, c] = self.fixed_args()?;
                Ok(Expr::MulAdd(Box::new(a), Box::new(b), Box::new(c)))
            }
            "select" => {
                let [condition, then, otherwise] = self.fixed_args()?;
                Ok(Expr::select(condition, then, otherwise))
            }
            _ => {
                if let Some(op) = named(Unary::NAMES, word) {
                    let [a] = self.fixed_args()?;
                    return Ok(Expr::unary(op, a));
                }
                let op = named(Binary::NAMES, word).ok_or_else(unknown)?;
                let [a, b] = self.fixed_args()?;
                Ok(Expr::binary(op, a, b))
            }
        }
    }

    fn parameter<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.expect("<")?;
        let parameter = inner(self)?;
        self.expect(">")?;
        Ok(parameter)
    }

    fn fixed_args<const N: usize>(&mut self) -> Parsed<[Expr; N]> {
        let args = self.args()?;
        <[Expr; N]>::try_from(args).map_err(|args| format!("expected {N} operands, found {}", args.len()))
    }

    fn args(&mut self) -> Parsed<Vec<Expr>> {
        self.expect("(")?;
        self.list(")")
    }

    /// Expressions with commas between them, up to and with `end`.
    fn list(&mut self, end: &str) -> Parsed<Vec<Expr>> {
        let mut exprs = Vec::new();
        while !self.symbol(end) {
            if !exprs.is_empty() {
                self.expect(",")?;
            }
            exprs.push(self.expr(0)?);
        }
        Ok(exprs)
    }

    /// `5`, `-1.5e-3`, `3_i32`, `-inf_f32`, `nan_f32(0x7fc00000)`.
    fn constant(&mut self) -> Parsed<Expr> {
        let negative = self.symbol("-");
        let start = self.at;
        let digits = |parser: &mut Self| {
            let rest = parser.rest();
            parser.at += rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        };
        let mut float = false;
        if self.rest().starts_with(|c: char| c.is_ascii_digit()) {
            digits(self);
            let rest = self.rest().as_bytes();
            // Two points are a range.
            if rest.first() == Some(&b'.') && rest.get(1).is_some_and(u8::is_ascii_digit) {
                float = true;
                self.at += 1;
                digits(self);
            }
            if self.rest().starts_with('e') {
                float = true;
                self.at += 1;
                self.at += usize::from(self.rest().starts_with('-'));
                digits(self);
            }
        } else if self.rest().starts_with("inf") || self.rest().starts_with("nan") {
            float = true;
            self.at += 3;
        }
        let text = &self.text[start..self.at];
        let dtype = match self.rest().starts_with('_') {
            true => {
                self.at += 1;
                self.dtype()?
            }
            false if float => DType::F32,
            false => DType::I64,
        };
        let text = if negative { format!("-{text}") } else { text.to_string() };
        match text.as_str() {
            "nan" if dtype.is_float() => self.not_a_number(dtype),
            _ => number(&text, dtype).map(Expr::Const).ok_or_else(|| format!("`{text}` is no {dtype}")),
        }
    }

    fn not_a_number(&mut self, dtype: DType) -> Parsed<Expr> {
        self.expect("(0x")?;
        let rest = self.rest();
        let digits = &rest[..rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len())];
        let bits = u64::from_str_radix(digits, 16).map_err(|_| "expected the bits of a NaN".to_string())?;
        self.at += digits.len();
        self.expect(")")?;
        let scalar = Scalar { dtype, bits };
        let fits = dtype.bits() == 64 || bits >> dtype.bits() == 0;
        match fits && scalar.as_f64().is_nan() {
            true => Ok(Expr::Const(scalar)),
            false => Err(format!("{bits:#x} is no NaN of {dtype}")),
        }
    }
}

enum Infix {
    Binary(Binary),
    Compare(Compare),
}

/// The value of that name.
fn named<T: Copy>(names: &[(T, &str)], word: &str) -> Option<T> {
    names.iter().find(|(_, name)| *name == word).map(|(value, _)| *value)
}

/// The number behind `prefix`, if `word` is nothing else.
fn numbered<T: std::str::FromStr>(word: &str, prefix: &str) -> Option<T> {
    let digits = word.strip_prefix(prefix)?;
    // Only as it is printed: no sign, no leading zero.
    let canonical = digits == "0" || !digits.starts_with(['0', '+']);
    if canonical { digits.parse().ok() } else { None }
}

/// The constant that `text` is in `dtype`, if it fits.
fn number(text: &str, dtype: DType) -> Option<Scalar> {
    let bits = match dtype {
        DType::F32 => u64::from(text.parse::<f32>().ok()?.to_bits()),
        d if d.is_float() => return Some(Scalar::from_f64(d, text.parse().ok()?)),
        DType::U64 => text.parse().ok()?,
        DType::Bool => return None,
        d => {
            let value: i64 = text.parse().ok()?;
            let scalar = Scalar::from_i64(d, value);
            return (scalar.as_i64() == value).then_some(scalar);
        }
    };
    Some(Scalar { dtype, bits })
}

/// The character behind a backslash, as Rust's `{:?}` writes strings.
fn escaped(chars: &mut impl Iterator<Item = (usize, char)>) -> Parsed<char> {
    let unknown = || "an unknown escape in a string".to_string();
    match chars.next().map(|(_, c)| c) {
        Some('n') => Ok('\n'),
        Some('r') => Ok('\r'),
        Some('t') => Ok('\t'),
        Some('0') => Ok('\0'),
        Some(c @ ('"' | '\\' | '\'')) => Ok(c),
        Some('u') => {
            let digits: String =
                chars.map(|(_, c)| c).skip_while(|c| *c == '{').take(9).take_while(|c| *c != '}').collect();
            u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32).ok_or_else(unknown)
        }
        _ => Err(unknown()),
    }
}
