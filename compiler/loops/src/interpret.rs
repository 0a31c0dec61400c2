//! The nest interpreter: runs loops as they stand, each operation rounded as the machine rounds it.

use std::collections::HashMap;

use ir::{DType, Scalar, Tensor};

use crate::verify::{Instructions, NestError, verify};
use crate::{Access, BufferId, Expr, LoopVar, Nest, Reg, Stmt, Value};

/// Why a nest cannot be run on the given buffers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InterpretError {
    Malformed(NestError),
    /// The buffers given are not those that the nest takes.
    Buffers(String),
    /// An access outside a buffer, with what it would touch.
    OutOfBounds {
        nest: String,
        access: &'static str,
        buffer: String,
        index: i64,
        valid: usize,
        len: usize,
    },
    /// An instruction that does not take these operands.
    Instruction {
        nest: String,
        name: String,
    },
}

impl std::fmt::Display for InterpretError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            InterpretError::Malformed(error) => error.fmt(f),
            InterpretError::Buffers(message) => f.write_str(message),
            InterpretError::OutOfBounds { nest, access, buffer, index, valid, len } => write!(
                f,
                "nest {nest}: {access} of {valid} elements from {index} on, but `{buffer}` has {len} elements"
            ),
            InterpretError::Instruction { nest, name } => {
                write!(f, "nest {nest}: instruction `{name}` does not take these operands")
            }
        }
    }
}

impl std::error::Error for InterpretError {}

/// Runs `nest` on `buffers`, one for each of its own in order: written ones are updated, scratch ones left as they
/// were. Parallel loops run one iteration after the other.
pub fn interpret(
    nest: &Nest,
    buffers: &mut [Tensor],
    instructions: &dyn Instructions,
) -> Result<(), InterpretError> {
    verify(nest, instructions).map_err(InterpretError::Malformed)?;
    let fits = |tensor: &Tensor, buffer: &crate::Buffer| {
        tensor.ty.dtype == buffer.dtype && tensor.ty.elements() == buffer.len
    };
    if buffers.len() != nest.buffers.len() || !buffers.iter().zip(&nest.buffers).all(|(t, b)| fits(t, b)) {
        let given: Vec<String> = buffers.iter().map(|tensor| tensor.ty.to_string()).collect();
        let taken: Vec<String> = nest.buffers.iter().map(|b| format!("{}[{}]", b.dtype, b.len)).collect();
        return Err(InterpretError::Buffers(format!(
            "nest {} takes {}; given are {}",
            nest.name,
            taken.join(" "),
            given.join(" ")
        )));
    }
    let memory = buffers.iter().map(|tensor| tensor.scalars().collect()).collect();
    let mut machine =
        Machine { nest, instructions, memory, registers: HashMap::new(), variables: HashMap::new() };
    machine.block(&nest.body)?;
    for ((tensor, buffer), memory) in buffers.iter_mut().zip(&nest.buffers).zip(machine.memory) {
        if buffer.access == Access::Write {
            let data = memory.into_iter().flat_map(Scalar::to_le_bytes).collect();
            *tensor = Tensor::new(tensor.ty.clone(), data);
        }
    }
    Ok(())
}

/// The value of a verified expression that reads neither buffers nor loop variables, its registers given.
pub fn interpret_expr(
    expr: &Expr,
    registers: &HashMap<Reg, Value>,
    instructions: &dyn Instructions,
) -> Result<Value, InterpretError> {
    let nest = Nest { name: "expression".to_string(), buffers: vec![], body: vec![] };
    let registers = registers.clone();
    let machine = Machine { nest: &nest, instructions, memory: vec![], registers, variables: HashMap::new() };
    machine.eval(expr)
}

struct Machine<'a> {
    nest: &'a Nest,
    instructions: &'a dyn Instructions,
    memory: Vec<Vec<Scalar>>,
    registers: HashMap<Reg, Value>,
    variables: HashMap<LoopVar, i64>,
}

impl Machine<'_> {
    fn block(&mut self, body: &[Stmt]) -> Result<(), InterpretError> {
        body.iter().try_for_each(|stmt| self.stmt(stmt))
    }

    fn stmt(&mut self, stmt: &Stmt) -> Result<(), InterpretError> {
        match stmt {
            Stmt::For { var, from, to, step, body, .. } => {
                let (mut value, to) = (self.eval(from)?.int(0), self.eval(to)?.int(0));
                while value < to {
                    self.variables.insert(*var, value);
                    self.block(body)?;
                    value = value.saturating_add(*step);
                }
            }
            Stmt::If { condition, then, otherwise } => match self.eval(condition)?.is_true() {
                true => self.block(then)?,
                false => self.block(otherwise)?,
            },
            Stmt::Let { reg, value, .. } | Stmt::Set { reg, value } => {
                let value = self.eval(value)?;
                self.registers.insert(*reg, value);
            }
            Stmt::Prefetch { .. } => {}
            Stmt::Store { buffer, index, value, valid } => {
                let first = self.element("a store", *buffer, index, *valid)?;
                let value = self.eval(value)?;
                for (lane, element) in
                    self.memory[buffer.0 as usize][first..first + valid].iter_mut().enumerate()
                {
                    *element = value.get(lane);
                }
            }
        }
        Ok(())
    }

    /// The first of the `valid` elements that an access touches; all of them exist.
    fn element(
        &self,
        access: &'static str,
        buffer: BufferId,
        index: &Expr,
        valid: usize,
    ) -> Result<usize, InterpretError> {
        let index = self.eval(index)?.int(0);
        let len = self.memory[buffer.0 as usize].len();
        match usize::try_from(index) {
            Ok(first) if first.checked_add(valid).is_some_and(|end| end <= len) => Ok(first),
            _ => Err(InterpretError::OutOfBounds {
                nest: self.nest.name.clone(),
                access,
                buffer: self.nest.buffers[buffer.0 as usize].name.clone(),
                index,
                valid,
                len,
            }),
        }
    }

    fn eval(&self, expr: &Expr) -> Result<Value, InterpretError> {
        Ok(match expr {
            Expr::Const(scalar) => Value::scalar(*scalar),
            Expr::Loop(var) => Value::scalar(Scalar::i64(self.variables[var])),
            Expr::Reg(reg) => self.registers[reg].clone(),
            Expr::Load { buffer, index, lanes, valid } => {
                let first = self.element("a load", *buffer, index, *valid)?;
                let dtype: DType = self.nest.buffers[buffer.0 as usize].dtype;
                let read = self.memory[buffer.0 as usize][first..first + valid].iter().copied();
                let rest = std::iter::repeat_n(Scalar::from_i64(dtype, 0), lanes - valid);
                Value::from_scalars(dtype, read.chain(rest))
            }
            Expr::Rows { buffer, index, stride, rows, lanes } => {
                let dtype = self.nest.buffers[buffer.0 as usize].dtype;
                let mut read = Vec::new();
                for row in 0..*rows {
                    let ahead = row.saturating_mul(*stride) as i64;
                    let index = (**index).clone() + Expr::int(ahead);
                    let first = self.element("a load", *buffer, &index, *lanes)?;
                    read.extend_from_slice(&self.memory[buffer.0 as usize][first..first + lanes]);
                }
                Value::from_scalars(dtype, read)
            }
            Expr::Concat(parts) => {
                let parts = parts.iter().map(|part| self.eval(part)).collect::<Result<Vec<Value>, _>>()?;
                let dtype = parts.first().map_or(DType::F32, Value::dtype);
                Value::from_scalars(dtype, parts.iter().flat_map(Value::scalars))
            }
            Expr::Broadcast { value, lanes } => self.eval(value)?.broadcast(*lanes),
            Expr::Horizontal { fold, value } => self.eval(value)?.horizontal(*fold),
            Expr::Lane { value, lane } => self.eval(value)?.lane(*lane),
            Expr::Shuffle { a, b, lanes } => self.eval(a)?.shuffle(&self.eval(b)?, lanes),
            Expr::Unary(op, a) => self.eval(a)?.unary(*op),
            Expr::Binary(op, a, b) => self.eval(a)?.binary(*op, &self.eval(b)?),
            Expr::Compare(op, a, b) => self.eval(a)?.compare(*op, &self.eval(b)?),
            Expr::MulAdd(a, b, c) => self.eval(a)?.mul_add(&self.eval(b)?, &self.eval(c)?),
            Expr::Select { condition, then, otherwise } => {
                let condition = self.eval(condition)?;
                match (condition.lanes(), condition.is_true()) {
                    (1, true) => self.eval(then)?,
                    (1, false) => self.eval(otherwise)?,
                    _ => Value::select(&condition, &self.eval(then)?, &self.eval(otherwise)?),
                }
            }
            Expr::Cast(dtype, a) => self.eval(a)?.cast(*dtype),
            Expr::Bits(dtype, a) => self.eval(a)?.bits(*dtype),
            Expr::Instruction { name, args } => {
                let args = args.iter().map(|arg| self.eval(arg)).collect::<Result<Vec<Value>, _>>()?;
                let refused =
                    || InterpretError::Instruction { nest: self.nest.name.clone(), name: name.clone() };
                self.instructions.run(name, &args).ok_or_else(refused)?
            }
            Expr::Axis(_) | Expr::Read { .. } | Expr::Folded => {
                unreachable!("the verifier refuses a definition's leaves")
            }
        })
    }
}
