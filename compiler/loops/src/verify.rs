//! What every nest must hold to: types and lanes agree, registers are declared before they are used, and buffers are
//! accessed as they say.

use std::collections::HashMap;

use ir::DType;

use crate::{Access, Binary, Buffer, BufferId, Expr, LoopVar, Nest, Reg, Stmt, Type, Unary, Value};

/// The target instructions that nests name; `()` has none.
pub trait Instructions {
    /// The types of the operands and of the result, if there is such an instruction; one that takes operands of several
    /// sizes gives `args`, if it takes those.
    fn signature(&self, name: &str, args: &[Type]) -> Option<(Vec<Type>, Type)>;
    /// What it computes; `None` if the operands are not its own.
    fn run(&self, name: &str, args: &[Value]) -> Option<Value>;
}

impl Instructions for () {
    fn signature(&self, _: &str, _: &[Type]) -> Option<(Vec<Type>, Type)> {
        None
    }

    fn run(&self, _: &str, _: &[Value]) -> Option<Value> {
        None
    }
}

/// Why a nest is malformed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NestError {
    pub nest: String,
    pub message: String,
}

impl std::fmt::Display for NestError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "nest {}: {}", self.nest, self.message)
    }
}

impl std::error::Error for NestError {}

/// Checks `nest`; instructions must be in `instructions`.
pub fn verify(nest: &Nest, instructions: &dyn Instructions) -> Result<(), NestError> {
    let mut verifier = Verifier { nest, instructions, registers: HashMap::new(), variables: Vec::new() };
    verifier.nest(nest).map_err(|message| NestError { nest: nest.name.clone(), message })
}

struct Verifier<'a> {
    nest: &'a Nest,
    instructions: &'a dyn Instructions,
    /// Those in scope.
    registers: HashMap<Reg, Type>,
    /// Those in scope, outermost first.
    variables: Vec<LoopVar>,
}

impl Verifier<'_> {
    fn nest(&mut self, nest: &Nest) -> Result<(), String> {
        for (k, buffer) in nest.buffers.iter().enumerate() {
            if nest.buffers[..k].iter().any(|other| other.name == buffer.name) {
                return Err(format!("two buffers are called `{}`", buffer.name));
            }
        }
        self.block(&nest.body, true)
    }

    /// Registers that the block declares end with it.
    fn block(&mut self, body: &[Stmt], outermost: bool) -> Result<(), String> {
        let outer = self.registers.clone();
        for stmt in body {
            self.stmt(stmt, outermost)?;
        }
        self.registers = outer;
        Ok(())
    }

    fn stmt(&mut self, stmt: &Stmt, outermost: bool) -> Result<(), String> {
        match stmt {
            Stmt::For { var, from, to, step, parallel, body } => {
                self.index(from, || format!("the start of loop i{}", var.0))?;
                self.index(to, || format!("the end of loop i{}", var.0))?;
                if *step <= 0 {
                    return Err(format!("loop i{} has step {step}; steps are positive", var.0));
                }
                if *parallel && !outermost {
                    return Err(format!("loop i{} is parallel; only outermost loops are", var.0));
                }
                if self.variables.contains(var) {
                    return Err(format!("loop i{} is inside a loop of the same variable", var.0));
                }
                self.variables.push(*var);
                self.block(body, false)?;
                self.variables.pop();
            }
            Stmt::If { condition, then, otherwise } => {
                self.expect(condition, Type::scalar(DType::Bool), || "a condition".to_string())?;
                self.block(then, false)?;
                self.block(otherwise, false)?;
            }
            Stmt::Let { reg, ty, value } => {
                if ty.lanes == 0 {
                    return Err(format!("register r{} has no lanes", reg.0));
                }
                if self.registers.contains_key(reg) {
                    return Err(format!("register r{} is declared twice", reg.0));
                }
                self.expect(value, *ty, || format!("register r{}", reg.0))?;
                self.registers.insert(*reg, *ty);
            }
            Stmt::Set { reg, value } => {
                let ty = self.register(*reg)?;
                self.expect(value, ty, || format!("register r{}", reg.0))?;
            }
            Stmt::Prefetch { buffer, index } => {
                let buffer = self.buffer(*buffer)?;
                self.index(index, || format!("the index of a prefetch of `{}`", buffer.name))?;
            }
            Stmt::Store { buffer, index, value, valid } => {
                let buffer = self.buffer(*buffer)?;
                if buffer.access == Access::Read {
                    return Err(format!("a store to `{}`, which is read only", buffer.name));
                }
                self.index(index, || format!("the index of a store to `{}`", buffer.name))?;
                let ty = self.type_of(value)?;
                if ty.dtype != buffer.dtype {
                    return Err(format!(
                        "a store of {ty} to `{}`, which holds {}",
                        buffer.name, buffer.dtype
                    ));
                }
                if *valid == 0 || *valid > ty.lanes {
                    return Err(format!("a store to `{}` of {valid} lanes of {ty}", buffer.name));
                }
            }
        }
        Ok(())
    }

    fn buffer(&self, id: BufferId) -> Result<&Buffer, String> {
        self.nest.buffers.get(id.0 as usize).ok_or_else(|| format!("there is no buffer {}", id.0))
    }

    fn register(&self, reg: Reg) -> Result<Type, String> {
        self.registers
            .get(&reg)
            .copied()
            .ok_or_else(|| format!("register r{} is used before it is declared", reg.0))
    }

    fn index(&self, expr: &Expr, what: impl FnOnce() -> String) -> Result<(), String> {
        self.expect(expr, Type::scalar(DType::I64), what)
    }

    fn expect(&self, expr: &Expr, ty: Type, what: impl FnOnce() -> String) -> Result<(), String> {
        match self.type_of(expr)? {
            found if found == ty => Ok(()),
            found => Err(format!("{} is {found}, expected {ty}", what())),
        }
    }

    fn same(&self, what: &str, exprs: &[&Expr]) -> Result<Type, String> {
        let mut types = exprs.iter().map(|e| self.type_of(e));
        let first = types.next().unwrap_or_else(|| Err(format!("{what} of nothing")))?;
        for ty in types {
            let ty = ty?;
            if ty != first {
                return Err(format!("{what} of {first} and {ty}"));
            }
        }
        Ok(first)
    }

    fn type_of(&self, expr: &Expr) -> Result<Type, String> {
        match expr {
            Expr::Const(scalar) => Ok(Type::scalar(scalar.dtype)),
            Expr::Axis(_) | Expr::Read { .. } | Expr::Folded => {
                Err("axes, reads and folded values belong into definitions".to_string())
            }
            Expr::Loop(var) => match self.variables.contains(var) {
                true => Ok(Type::scalar(DType::I64)),
                false => Err(format!("loop variable i{} is used outside its loop", var.0)),
            },
            Expr::Reg(reg) => self.register(*reg),
            Expr::Load { buffer, index, lanes, valid } => {
                let buffer = self.buffer(*buffer)?;
                self.index(index, || format!("the index of a load from `{}`", buffer.name))?;
                if *valid == 0 || valid > lanes {
                    return Err(format!("a load from `{}` of {valid} lanes of {lanes}", buffer.name));
                }
                Ok(Type { dtype: buffer.dtype, lanes: *lanes })
            }
            Expr::Rows { buffer, index, rows, lanes, .. } => {
                let buffer = self.buffer(*buffer)?;
                self.index(index, || format!("the index of a load from `{}`", buffer.name))?;
                match rows.checked_mul(*lanes) {
                    Some(lanes) if lanes > 0 => Ok(Type { dtype: buffer.dtype, lanes }),
                    _ => Err(format!("a load from `{}` of {rows} rows of {lanes} lanes", buffer.name)),
                }
            }
            Expr::Broadcast { value, lanes } => match self.type_of(value)? {
                Type { dtype, lanes: 1 } if *lanes > 0 => Ok(Type { dtype, lanes: *lanes }),
                ty => Err(format!("a broadcast of {ty} to {lanes} lanes")),
            },
            Expr::Horizontal { value, .. } => Ok(Type::scalar(self.type_of(value)?.dtype)),
            Expr::Lane { value, lane } => match self.type_of(value)? {
                Type { dtype, lanes } if *lane < lanes => Ok(Type::scalar(dtype)),
                ty => Err(format!("lane {lane} of {ty}")),
            },
            Expr::Shuffle { a, b, lanes } => match self.same("Shuffle", &[a, b])? {
                ty if ty.lanes > 1 && lanes.len() > 1 && lanes.iter().all(|&lane| lane / 2 < ty.lanes) => {
                    Ok(Type { lanes: lanes.len(), ..ty })
                }
                ty => Err(format!("lanes {lanes:?} of two {ty}")),
            },
            Expr::Concat(parts) => {
                let ty = self.same("Concat", &parts.iter().collect::<Vec<_>>())?;
                let lanes = ty.lanes.checked_mul(parts.len());
                let lanes = lanes.ok_or_else(|| format!("Concat of {} values of {ty}", parts.len()))?;
                Ok(Type { lanes, ..ty })
            }
            Expr::Unary(op, a) => self.unary(*op, self.type_of(a)?),
            Expr::Binary(op, a, b) => {
                let ty = self.same(&format!("{op:?}"), &[a, b])?;
                binary(*op, ty)
            }
            Expr::Compare(op, a, b) => {
                Ok(Type { dtype: DType::Bool, ..self.same(&format!("{op:?}"), &[a, b])? })
            }
            Expr::MulAdd(a, b, c) => match self.same("MulAdd", &[a, b, c])? {
                ty if ty.dtype == DType::Bool => Err(format!("MulAdd of {ty}")),
                ty => Ok(ty),
            },
            Expr::Select { condition, then, otherwise } => {
                let ty = self.same("Select", &[then, otherwise])?;
                match self.type_of(condition)? {
                    Type { dtype: DType::Bool, lanes } if lanes == 1 || lanes == ty.lanes => Ok(ty),
                    found => Err(format!("a selection of {ty} by {found}")),
                }
            }
            Expr::Cast(dtype, a) => Ok(Type { dtype: *dtype, ..self.type_of(a)? }),
            Expr::Bits(dtype, a) => {
                let ty = self.type_of(a)?;
                ty.reinterpreted(*dtype).ok_or_else(|| format!("the bits of {ty} as {dtype}"))
            }
            Expr::Instruction { name, args } => {
                let args = args.iter().map(|arg| self.type_of(arg)).collect::<Result<Vec<Type>, _>>()?;
                let signature = self.instructions.signature(name, &args);
                let (taken, result) =
                    signature.ok_or_else(|| format!("no instruction is called `{name}`"))?;
                match args == taken {
                    true => Ok(result),
                    false => Err(format!("`{name}` of {}; it takes {}", list(&args), list(&taken))),
                }
            }
        }
    }

    fn unary(&self, op: Unary, ty: Type) -> Result<Type, String> {
        let float = ty.dtype.is_float();
        match op {
            Unary::IsNan | Unary::IsInf if float => Ok(Type { dtype: DType::Bool, ..ty }),
            Unary::Not if !float => Ok(ty),
            Unary::Neg | Unary::Abs | Unary::Sign if ty.dtype != DType::Bool => Ok(ty),
            Unary::Floor | Unary::Ceil | Unary::Round | Unary::Trunc if ty.dtype != DType::Bool => Ok(ty),
            Unary::Not | Unary::Neg | Unary::Abs | Unary::Sign => Err(format!("{op:?} of {ty}")),
            _ if float => Ok(ty),
            _ => Err(format!("{op:?} of {ty}")),
        }
    }
}

fn list(types: &[Type]) -> String {
    types.iter().map(Type::to_string).collect::<Vec<_>>().join(", ")
}

fn binary(op: Binary, ty: Type) -> Result<Type, String> {
    let bitwise =
        matches!(op, Binary::And | Binary::Or | Binary::Xor | Binary::ShiftLeft | Binary::ShiftRight);
    match ty.dtype {
        d if d.is_float() && bitwise => Err(format!("{op:?} of {ty}")),
        DType::Bool if !matches!(op, Binary::And | Binary::Or | Binary::Xor) => {
            Err(format!("{op:?} of {ty}"))
        }
        _ => Ok(ty),
    }
}
