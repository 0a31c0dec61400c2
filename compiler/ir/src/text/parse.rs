use std::collections::HashMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use crate::{DType, Graph, Operator, Scalar, Tensor, TensorType, Value};

/// What is wrong with a text and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for ParseError {}

/// Types with more elements are refused, so that sizes in bytes never overflow.
const MOST_ELEMENTS: usize = 1 << 31;

/// Reads one graph. Never panics, whatever the text.
pub fn parse<O: Operator>(text: &str) -> Result<Graph<O>, ParseError> {
    let mut parser = Parser { text, at: 0, values: HashMap::new(), graph: Graph::new("") };
    parser.graph().map_err(|failure| {
        let before = &text[..failure.at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        ParseError {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: failure.message,
        }
    })?;
    Ok(parser.graph)
}

/// The element that `text` is, if it is one.
pub(super) fn scalar(dtype: DType, text: &str) -> Option<Scalar> {
    let integer = |value: i64| Some(Scalar::from_i64(dtype, value)).filter(|scalar| scalar.as_i64() == value);
    match dtype {
        DType::Bool => text.parse().ok().map(Scalar::bool),
        DType::F32 => text.parse().ok().map(Scalar::f32),
        DType::U64 => text.parse().ok().map(|bits: u64| Scalar { dtype, bits }),
        d if d.is_float() => text.parse().ok().map(|value: f64| Scalar::from_f64(d, value)),
        _ => text.parse().ok().and_then(integer),
    }
}

/// Whether `text` may stand as a name without quotes.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(in_word)
}

fn in_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '.'
}

struct Failure {
    at: usize,
    message: String,
}

type Parsed<T> = Result<T, Failure>;

fn fail<T>(at: usize, message: impl Into<String>) -> Parsed<T> {
    Err(Failure { at, message: message.into() })
}

struct Parser<'a, O> {
    text: &'a str,
    at: usize,
    values: HashMap<&'a str, Value>,
    graph: Graph<O>,
}

impl<'a, O: Operator> Parser<'a, O> {
    fn graph(&mut self) -> Parsed<()> {
        self.keyword("graph")?;
        self.expect("@")?;
        self.graph.name =
            if self.peek('"') { self.json::<String>("a name")? } else { self.word("a name")?.to_owned() };
        self.expect("(")?;
        if !self.take(")") {
            self.separated(Self::input)?;
            self.expect(")")?;
        }
        self.expect("{")?;
        while self.peek('%') {
            self.statement()?;
        }
        self.keyword("return")?;
        if !self.peek('}') {
            self.separated(Self::output)?;
        }
        self.expect("}")?;
        self.skip();
        if self.at < self.text.len() { fail(self.at, "expected the end") } else { Ok(()) }
    }

    fn input(&mut self) -> Parsed<()> {
        let (at, label) = self.label()?;
        let name = self.name()?;
        self.expect(":")?;
        let ty = self.ty()?;
        let value = self.graph.input(name, ty);
        self.define(at, label, value)
    }

    fn output(&mut self) -> Parsed<()> {
        let value = self.value()?;
        let name = self.name()?;
        self.graph.output(name, value);
        Ok(())
    }

    fn statement(&mut self) -> Parsed<()> {
        let labels = self.separated(Self::label)?;
        let name = self.name()?;
        self.expect("=")?;
        self.skip();
        let at = self.at;
        let results = match self.word("an operator")? {
            "constant" => self.constant(name)?,
            operator => self.apply(at, name, operator)?,
        };
        if results.len() != labels.len() {
            return fail(
                at,
                format!("{} results are given names, there are {}", labels.len(), results.len()),
            );
        }
        for ((at, label), value) in labels.into_iter().zip(results) {
            self.define(at, label, value)?;
        }
        Ok(())
    }

    fn constant(&mut self, name: String) -> Parsed<Vec<Value>> {
        let ty = self.ty()?;
        self.skip();
        let at = self.at;
        let data = match self.take("[") {
            true => self.elements(&ty)?,
            false => {
                self.keyword("base64")?;
                let text: String = self.json("a base64 string")?;
                match STANDARD.decode(text) {
                    Ok(data) => data,
                    Err(err) => return fail(at, format!("not base64: {err}")),
                }
            }
        };
        if data.len() != ty.bytes() {
            let elements = data.len() / ty.dtype.bytes();
            return fail(at, format!("{elements} elements for a constant of type {ty}"));
        }
        Ok(vec![self.graph.constant(name, Tensor::new(ty, data))])
    }

    fn elements(&mut self, ty: &TensorType) -> Parsed<Vec<u8>> {
        let mut data = Vec::new();
        if self.take("]") {
            return Ok(data);
        }
        for element in self.separated(|parser| parser.element(ty.dtype))? {
            data.extend(element.to_le_bytes());
        }
        self.expect("]")?;
        Ok(data)
    }

    fn element(&mut self, dtype: DType) -> Parsed<Scalar> {
        self.skip();
        let at = self.at;
        let text = self.take_while(|c| in_word(c) || c == '-' || c == '+');
        scalar(dtype, text).map_or_else(|| fail(at, format!("expected an element of type {dtype}")), Ok)
    }

    fn apply(&mut self, at: usize, name: String, operator: &str) -> Parsed<Vec<Value>> {
        let attributes = if self.peek('{') { self.json("attributes")? } else { Map::<String, Json>::new() };
        let op = O::parse(operator, attributes).or_else(|err| fail(at, err.message))?;
        let operands = if self.peek('%') { self.separated(Self::value)? } else { vec![] };
        self.expect(":")?;
        self.skip();
        let types_at = self.at;
        let types = self.separated(Self::ty)?;
        let results = self
            .graph
            .apply(name, op, &operands)
            .or_else(|err| fail(at, format!("{operator}: {}", err.message)))?;
        let inferred = self.graph.types(&results);
        match inferred == types {
            true => Ok(results),
            false => fail(types_at, format!("the result is {}, not {}", listed(&inferred), listed(&types))),
        }
    }

    fn define(&mut self, at: usize, label: &'a str, value: Value) -> Parsed<()> {
        match self.values.insert(label, value) {
            None => Ok(()),
            Some(_) => fail(at, format!("%{label} is defined twice")),
        }
    }

    fn value(&mut self) -> Parsed<Value> {
        let (at, label) = self.label()?;
        self.values.get(label).copied().map_or_else(|| fail(at, format!("%{label} is not defined")), Ok)
    }

    fn label(&mut self) -> Parsed<(usize, &'a str)> {
        self.expect("%")?;
        let at = self.at - 1;
        Ok((at, self.word("a value's name")?))
    }

    fn name(&mut self) -> Parsed<String> {
        if self.peek('"') { self.json("a name") } else { Ok(String::new()) }
    }

    fn ty(&mut self) -> Parsed<TensorType> {
        self.skip();
        let at = self.at;
        let dtype = self.word("a type")?.parse().or_else(|message: String| fail(at, message))?;
        self.expect("[")?;
        let shape = if self.peek(']') { vec![] } else { self.separated(Self::extent)? };
        self.expect("]")?;
        let elements = shape.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent.max(1)));
        match elements.is_some_and(|n| n <= MOST_ELEMENTS) {
            true => Ok(TensorType { dtype, shape }),
            false => fail(at, "the type has too many elements"),
        }
    }

    fn extent(&mut self) -> Parsed<usize> {
        self.skip();
        let at = self.at;
        let digits = self.take_while(|c| c.is_ascii_digit());
        digits.parse().or_else(|_| fail(at, "expected an extent"))
    }

    fn separated<T>(&mut self, item: impl Fn(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.take(",") {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// One JSON value from here on.
    fn json<T: DeserializeOwned>(&mut self, what: &str) -> Parsed<T> {
        self.skip();
        let at = self.at;
        let mut values = serde_json::Deserializer::from_str(&self.text[at..]).into_iter::<T>();
        match values.next() {
            Some(Ok(value)) => {
                self.at += values.byte_offset();
                Ok(value)
            }
            Some(Err(err)) => fail(at, format!("expected {what}: {err}")),
            None => fail(at, format!("expected {what}")),
        }
    }

    fn keyword(&mut self, keyword: &str) -> Parsed<()> {
        self.skip();
        let at = self.at;
        match self.take_while(in_word) == keyword {
            true => Ok(()),
            false => fail(at, format!("expected `{keyword}`")),
        }
    }

    fn word(&mut self, what: &str) -> Parsed<&'a str> {
        self.skip();
        match self.take_while(in_word) {
            "" => fail(self.at, format!("expected {what}")),
            word => Ok(word),
        }
    }

    fn expect(&mut self, token: &str) -> Parsed<()> {
        if self.take(token) { Ok(()) } else { fail(self.at, format!("expected `{token}`")) }
    }

    fn take(&mut self, token: &str) -> bool {
        self.skip();
        let found = self.text[self.at..].starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    fn peek(&mut self, next: char) -> bool {
        self.skip();
        self.text[self.at..].starts_with(next)
    }

    fn take_while(&mut self, holds: impl Fn(char) -> bool) -> &'a str {
        let rest = &self.text[self.at..];
        let end = rest.find(|c| !holds(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// Past blanks and comments.
    fn skip(&mut self) {
        loop {
            self.take_while(char::is_whitespace);
            if !self.text[self.at..].starts_with("//") {
                return;
            }
            self.take_while(|c| c != '\n');
        }
    }
}

fn listed(types: &[TensorType]) -> String {
    types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
