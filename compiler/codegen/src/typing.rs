//! Types of a nest's expressions, and which of its index values are carried in a pointer's width.

use std::collections::{HashMap, HashSet};

use ir::{DType, Scalar};
use loops::{BufferId, Compare, Expr, Nest, Reg, Stmt, Type, Unary};

use crate::matrix::{self, Shape};

/// What is known of a nest before it is lowered.
///
/// `I64` serves both as the type of indices and as a data type. An `I64` expression over loop variables and constants
/// alone is an index: it is computed in `index`, the integer of a pointer's width, and widened only where it meets data.
pub(crate) struct Typing<'n> {
    pub nest: &'n Nest,
    pub index: DType,
    /// Each register's type as it is carried.
    pub registers: HashMap<Reg, Type>,
    /// The registers that hold matrices.
    pub matrices: HashMap<Reg, Shape>,
    /// The scalar registers that are declared `I64`.
    wide: HashSet<Reg>,
}

impl<'n> Typing<'n> {
    pub fn of(nest: &'n Nest, index: DType) -> Result<Typing<'n>, String> {
        let (registers, matrices) = (HashMap::new(), HashMap::new());
        let mut typing = Typing { nest, index, registers, matrices, wide: HashSet::new() };
        let mut assignments = Vec::new();
        typing.declare(&nest.body, &mut assignments)?;
        typing.settle(&assignments);
        typing.matrices = matrix::shapes(nest, &typing.registers)?;
        Ok(typing)
    }

    /// Collects declarations and assignments; takes every `I64` scalar register for an index at first.
    fn declare(&mut self, body: &'n [Stmt], assignments: &mut Vec<(Reg, &'n Expr)>) -> Result<(), String> {
        for stmt in body {
            match stmt {
                Stmt::For { body, .. } => self.declare(body, assignments)?,
                Stmt::If { then, otherwise, .. } => {
                    self.declare(then, assignments)?;
                    self.declare(otherwise, assignments)?;
                }
                Stmt::Let { reg, ty, value } => {
                    let wide = ty.dtype == DType::I64 && ty.lanes == 1;
                    if wide {
                        self.wide.insert(*reg);
                    }
                    let carried = Type { dtype: if wide { self.index } else { ty.dtype }, ..*ty };
                    if self.registers.insert(*reg, carried).is_some_and(|before| before != carried) {
                        return Err(format!("register r{} is declared with two types", reg.0));
                    }
                    assignments.push((*reg, value));
                }
                Stmt::Set { reg, value } => assignments.push((*reg, value)),
                Stmt::Prefetch { .. } | Stmt::Store { .. } => {}
            }
        }
        Ok(())
    }

    /// Widens the registers that take data, until none is left; a narrow index register never takes a wide value.
    fn settle(&mut self, assignments: &[(Reg, &Expr)]) {
        if self.index == DType::I64 {
            return;
        }
        loop {
            let mut changed = false;
            for (reg, value) in assignments {
                let takes_data = self.of_expr(value).is_ok_and(|ty| ty.dtype == DType::I64);
                let Some(ty) = self.registers.get_mut(reg) else { continue };
                if takes_data && self.wide.contains(reg) && ty.dtype != DType::I64 {
                    ty.dtype = DType::I64;
                    changed = true;
                }
            }
            if !changed {
                return;
            }
        }
    }

    /// The type that lowering gives `expr`.
    pub fn of_expr(&self, expr: &Expr) -> Result<Type, String> {
        let scalar = |dtype| Type { dtype, lanes: 1 };
        Ok(match expr {
            Expr::Const(value) if self.is_index_constant(*value) => scalar(self.index),
            Expr::Const(value) => scalar(value.dtype),
            Expr::Loop(_) => scalar(self.index),
            Expr::Reg(reg) => self.register(*reg)?,
            Expr::Load { buffer, lanes, .. } => Type { dtype: self.element_of(*buffer)?, lanes: *lanes },
            Expr::Rows { buffer, rows, lanes, .. } => {
                Type { dtype: self.element_of(*buffer)?, lanes: rows * lanes }
            }
            Expr::Concat(parts) => match parts.first() {
                Some(first) => {
                    let ty = self.of_expr(first)?;
                    Type { lanes: ty.lanes * parts.len(), ..ty }
                }
                None => return Err("a Concat of nothing".to_string()),
            },
            Expr::Broadcast { value, lanes } => {
                let dtype = self.of_expr(value)?.dtype;
                // Vectors of indices are data.
                let dtype = if self.is_index(value) { DType::I64 } else { dtype };
                Type { dtype, lanes: *lanes }
            }
            Expr::Horizontal { value, .. } | Expr::Lane { value, .. } => {
                Type { lanes: 1, ..self.of_expr(value)? }
            }
            Expr::Shuffle { a, lanes, .. } => Type { lanes: lanes.len(), ..self.of_expr(a)? },
            Expr::Unary(Unary::IsNan | Unary::IsInf, a) => Type { dtype: DType::Bool, ..self.of_expr(a)? },
            Expr::Unary(_, a) => self.of_expr(a)?,
            Expr::Binary(_, a, b) => self.meet(self.of_expr(a)?, self.of_expr(b)?)?,
            Expr::Compare(_, a, b) => {
                let ty = self.meet(self.of_expr(a)?, self.of_expr(b)?)?;
                Type { dtype: DType::Bool, ..ty }
            }
            Expr::MulAdd(a, b, c) => {
                let product = self.meet(self.of_expr(a)?, self.of_expr(b)?)?;
                self.meet(product, self.of_expr(c)?)?
            }
            Expr::Select { then, otherwise, .. } => {
                self.meet(self.of_expr(then)?, self.of_expr(otherwise)?)?
            }
            Expr::Cast(DType::I64, a) if self.is_index(a) => self.of_expr(a)?,
            Expr::Cast(dtype, a) => Type { dtype: *dtype, ..self.of_expr(a)? },
            Expr::Bits(dtype, a) => {
                let ty = self.of_expr(a)?;
                ty.reinterpreted(*dtype).ok_or_else(|| format!("the bits of {ty} as {dtype}"))?
            }
            Expr::Instruction { name, args } => match targets::instructions::find(name) {
                Some(instruction) if matrix::is_matrix(instruction) && !args.is_empty() => {
                    self.of_expr(&args[0])?
                }
                Some(instruction) => instruction.result,
                None => return Err(format!("no instruction is called `{name}`")),
            },
            Expr::Axis(_) | Expr::Read { .. } | Expr::Folded => {
                return Err("a definition's leaf in a nest".to_string());
            }
        })
    }

    fn element_of(&self, buffer: BufferId) -> Result<DType, String> {
        let buffer = self.nest.buffers.get(buffer.0 as usize);
        buffer
            .map(|buffer| buffer.dtype)
            .ok_or_else(|| "a load names a buffer that the nest has not".to_string())
    }

    pub fn register(&self, reg: Reg) -> Result<Type, String> {
        self.registers.get(&reg).copied().ok_or_else(|| format!("register r{} is not declared", reg.0))
    }

    /// The type of an operation on both: an index widens to meet data.
    pub fn meet(&self, a: Type, b: Type) -> Result<Type, String> {
        let widened = |x: Type, y: Type| x.dtype == self.index && y.dtype == DType::I64 && x.lanes == y.lanes;
        match () {
            () if a == b || widened(b, a) => Ok(a),
            () if widened(a, b) => Ok(b),
            () => Err(format!("an operation on {} x {} and {} x {}", a.dtype, a.lanes, b.dtype, b.lanes)),
        }
    }

    /// Whether `expr` is `I64` by its meaning but carried in the pointer's width.
    fn is_index(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Const(value) => self.is_index_constant(*value),
            Expr::Loop(_) => true,
            Expr::Reg(reg) => {
                self.wide.contains(reg) && self.registers.get(reg).is_some_and(|ty| ty.dtype == self.index)
            }
            Expr::Unary(op, a) => !matches!(op, Unary::IsNan | Unary::IsInf) && self.is_index(a),
            Expr::Binary(_, a, b) => self.is_index(a) && self.is_index(b),
            Expr::Select { then, otherwise, .. } => self.is_index(then) && self.is_index(otherwise),
            Expr::Cast(DType::I64, a) => self.is_index(a),
            Expr::MulAdd(a, b, c) => [a, b, c].iter().all(|e| self.is_index(e)),
            _ => false,
        }
    }

    /// Whether a constant is one of indices: those that a pointer's width holds.
    pub fn is_index_constant(&self, value: Scalar) -> bool {
        value.dtype == DType::I64 && (self.index == DType::I64 || i32::try_from(value.as_i64()).is_ok())
    }
}

/// Whether evaluating `expr` reads memory.
pub(crate) fn reads_memory(expr: &Expr) -> bool {
    expr.any(&mut |e| matches!(e, Expr::Load { .. } | Expr::Rows { .. }))
}

/// Signed comparison unless the type is unsigned or a `Bool`.
pub(crate) fn is_signed(dtype: DType) -> bool {
    dtype.is_signed_int()
}

/// `arith.cmpi`'s predicate.
pub(crate) fn int_predicate(op: Compare, signed: bool) -> i64 {
    match (op, signed) {
        (Compare::Eq, _) => 0,
        (Compare::Ne, _) => 1,
        (Compare::Lt, true) => 2,
        (Compare::Le, true) => 3,
        (Compare::Gt, true) => 4,
        (Compare::Ge, true) => 5,
        (Compare::Lt, false) => 6,
        (Compare::Le, false) => 7,
        (Compare::Gt, false) => 8,
        (Compare::Ge, false) => 9,
    }
}

/// `arith.cmpf`'s predicate: ordered, but `!=`, which holds for NaN.
pub(crate) fn float_predicate(op: Compare) -> i64 {
    match op {
        Compare::Eq => 1,
        Compare::Gt => 2,
        Compare::Ge => 3,
        Compare::Lt => 4,
        Compare::Le => 5,
        Compare::Ne => 13,
    }
}
