//! Expressions: what each node becomes.

use ir::DType;
use loops::{Compare, Expr, Fold, Type, Unary};
use melior::ir::Attribute;
use targets::instructions::{Emit, Instruction, Operand};

use crate::builder::{Value, result_of};
use crate::kernel::{Kernel, Lowered};
use crate::typing::{float_predicate, int_predicate, is_signed, reads_memory};

impl<'c, 'a> Kernel<'_, 'c, 'a> {
    pub fn expr(&mut self, expr: &Expr) -> Lowered<Value<'c, 'a>> {
        match expr {
            Expr::Const(value) if self.typing.is_index_constant(*value) => Ok(self.build.at(value.as_i64())),
            Expr::Const(value) => Ok(self.build.constant(*value, 1)),
            Expr::Loop(var) => match self.loops.get(var) {
                Some(value) => Ok(*value),
                None => Err(format!("loop variable i{} is read outside its loop", var.0)),
            },
            Expr::Reg(reg) if self.typing.matrices.contains_key(reg) => self.matrix_as_vector(*reg),
            Expr::Reg(reg) => match self.registers.get(reg) {
                Some(value) => Ok(*value),
                None => Err(format!("register r{} is read where it is not declared", reg.0)),
            },
            Expr::Load { buffer, index, lanes, valid } => self.load(*buffer, index, *lanes, *valid),
            Expr::Broadcast { value, .. } => {
                let ty = self.typing.of_expr(expr)?;
                let value = self.expr(value)?;
                let value = self.widened(value, Type { lanes: 1, ..ty })?;
                Ok(self.broadcast(value, ty.lanes))
            }
            Expr::Horizontal { fold, value } => {
                let value = self.expr(value)?;
                self.horizontal(*fold, value)
            }
            Expr::Lane { value, lane } => {
                let value = self.expr(value)?;
                Ok(self.lanes(value, *lane, 1))
            }
            Expr::Rows { .. } | Expr::Concat(_) => Err("rows outside of a matrix register".into()),
            Expr::Shuffle { a, b, lanes } => {
                if let (Expr::Reg(reg), true) = (&**a, a == b)
                    && self.typing.matrices.contains_key(reg)
                    && lanes.windows(2).all(|pair| pair[1] == pair[0] + 1)
                {
                    return self.matrix_part(*reg, lanes[0], lanes.len());
                }
                let (a, b) = (self.expr(a)?, self.expr(b)?);
                let lanes: Vec<i32> = lanes.iter().map(|&lane| lane as i32).collect();
                Ok(self.build.shuffle(a, b, &lanes))
            }
            Expr::Unary(op, a) => {
                let a = self.expr(a)?;
                self.unary(*op, a)
            }
            Expr::Binary(op, a, b) => {
                let (a, b) = self.pair(a, b)?;
                self.binary(*op, a, b)
            }
            Expr::Compare(op, a, b) => {
                let (a, b) = self.pair(a, b)?;
                self.compare(*op, a, b)
            }
            Expr::MulAdd(a, b, c) => {
                let ty = self.typing.of_expr(expr)?;
                let [a, b, c] = [self.expr(a)?, self.expr(b)?, self.expr(c)?];
                let [a, b, c] = [self.widened(a, ty)?, self.widened(b, ty)?, self.widened(c, ty)?];
                self.mul_add(a, b, c)
            }
            Expr::Select { condition, then, otherwise } => {
                let ty = self.typing.of_expr(expr)?;
                let condition = self.expr(condition)?;
                self.choose(ty, condition, then, otherwise)
            }
            Expr::Cast(DType::I64, _) if self.typing.of_expr(expr)?.dtype != DType::I64 => {
                // An index stays one.
                self.expr(expr.children()[0])
            }
            Expr::Cast(dtype, a) => {
                let a = self.expr(a)?;
                self.cast(*dtype, a)
            }
            Expr::Bits(dtype, a) => {
                let a = self.expr(a)?;
                self.bits(*dtype, a)
            }
            Expr::Instruction { name, args } => self.instruction(name, args),
            Expr::Axis(_) | Expr::Read { .. } | Expr::Folded => Err("a definition's leaf in a nest".into()),
        }
    }

    /// An `I64` expression in the width of a pointer.
    pub fn index(&mut self, expr: &Expr) -> Lowered<Value<'c, 'a>> {
        let value = self.expr(expr)?;
        let ty = Type { dtype: self.build.index, lanes: 1 };
        match value.ty {
            have if have == ty => Ok(value),
            Type { dtype: DType::I64, lanes: 1 } => Ok(self.build.value("arith.trunci", &[value], ty)),
            have => Err(format!("an index of type {} x {}", have.dtype, have.lanes)),
        }
    }

    fn pair(&mut self, a: &Expr, b: &Expr) -> Lowered<(Value<'c, 'a>, Value<'c, 'a>)> {
        let (a, b) = (self.expr(a)?, self.expr(b)?);
        let ty = self.typing.meet(a.ty, b.ty)?;
        Ok((self.widened(a, ty)?, self.widened(b, ty)?))
    }

    /// `value` as `ty`, which it already is, unless an index meets data.
    pub fn widened(&mut self, value: Value<'c, 'a>, ty: Type) -> Lowered<Value<'c, 'a>> {
        match value.ty {
            have if have == ty => Ok(value),
            have if have.dtype == self.build.index && ty.dtype == DType::I64 && have.lanes == ty.lanes => {
                Ok(self.build.value("arith.extsi", &[value], ty))
            }
            have => Err(format!("{} x {} where {} x {} is due", have.dtype, have.lanes, ty.dtype, ty.lanes)),
        }
    }

    pub fn broadcast(&mut self, value: Value<'c, 'a>, lanes: usize) -> Value<'c, 'a> {
        if lanes == 1 {
            return value;
        }
        let vector = self.build.value("vector.broadcast", &[value], Type { lanes, ..value.ty });
        if let Some(constant) = self.build.constant_value(value) {
            self.build.note_constant(vector, constant);
        }
        vector
    }

    /// Halves are folded onto each other until one lane is left; an odd lane out joins at the end of its round.
    fn horizontal(&mut self, fold: Fold, mut value: Value<'c, 'a>) -> Lowered<Value<'c, 'a>> {
        while value.ty.lanes > 1 {
            let half = value.ty.lanes / 2;
            let odd = (value.ty.lanes % 2 == 1).then(|| self.lanes(value, 2 * half, 1));
            let (low, high) = (self.lanes(value, 0, half), self.lanes(value, half, half));
            value = self.binary(fold.binary(), low, high)?;
            if let Some(odd) = odd {
                let first = self.lanes(value, 0, 1);
                let sum = self.binary(fold.binary(), first, odd)?;
                value = self.with_first(value, sum);
            }
        }
        Ok(value)
    }

    /// `count` lanes from `from` on.
    pub fn lanes(&mut self, value: Value<'c, 'a>, from: usize, count: usize) -> Value<'c, 'a> {
        if count == value.ty.lanes {
            return value;
        }
        if count > 1 {
            let lanes: Vec<i32> = (from..from + count).map(|lane| lane as i32).collect();
            return self.build.shuffle(value, value, &lanes);
        }
        let at = self.build.integer(Type { dtype: DType::I32, lanes: 1 }, from as i64);
        let ty = Type { lanes: 1, ..value.ty };
        Value { ty, ..self.build.value("llvm.extractelement", &[value, at], ty) }
    }

    fn with_first(&mut self, value: Value<'c, 'a>, first: Value<'c, 'a>) -> Value<'c, 'a> {
        if value.ty.lanes == 1 {
            return first;
        }
        let at = self.build.integer(Type { dtype: DType::I32, lanes: 1 }, 0);
        self.build.value("llvm.insertelement", &[value, first, at], value.ty)
    }

    pub fn compare(&mut self, op: Compare, a: Value<'c, 'a>, b: Value<'c, 'a>) -> Lowered<Value<'c, 'a>> {
        let (a, b) = (self.widened_half(a), self.widened_half(b));
        if !a.ty.dtype.is_float() {
            return Ok(self.integers_compare(op, a, b));
        }
        Ok(self.comparison("arith.cmpf", float_predicate(op), a, b))
    }

    pub fn integers_compare(&mut self, op: Compare, a: Value<'c, 'a>, b: Value<'c, 'a>) -> Value<'c, 'a> {
        self.comparison("arith.cmpi", int_predicate(op, is_signed(a.ty.dtype)), a, b)
    }

    pub fn comparison(
        &mut self,
        name: &str,
        predicate: i64,
        a: Value<'c, 'a>,
        b: Value<'c, 'a>,
    ) -> Value<'c, 'a> {
        let ty = Type { dtype: DType::Bool, lanes: a.ty.lanes };
        let predicate: Attribute = self.build.i64(predicate);
        let ssa = self.build.ssa(name, &[a.ssa, b.ssa], self.build.mlir(ty), &[("predicate", predicate)]);
        Value { ssa, ty }
    }

    pub fn select(
        &mut self,
        condition: Value<'c, 'a>,
        then: Value<'c, 'a>,
        otherwise: Value<'c, 'a>,
    ) -> Value<'c, 'a> {
        self.build.value("arith.select", &[condition, then, otherwise], then.ty)
    }

    /// A select; a side that reads memory is evaluated only when it is chosen.
    fn choose(
        &mut self,
        ty: Type,
        condition: Value<'c, 'a>,
        then: &Expr,
        otherwise: &Expr,
    ) -> Lowered<Value<'c, 'a>> {
        if condition.ty.dtype != DType::Bool {
            return Err(format!("a select on {}", condition.ty.dtype));
        }
        if condition.ty.lanes > 1 || !(reads_memory(then) || reads_memory(otherwise)) {
            let (then, otherwise) = (self.expr(then)?, self.expr(otherwise)?);
            let (then, otherwise) = (self.widened(then, ty)?, self.widened(otherwise, ty)?);
            return Ok(self.select(condition, then, otherwise));
        }
        let result = self.build.mlir(ty);
        let (op, blocks) = self.build.op_with_regions("scf.if", &[condition.ssa], &[result], 2, &[]);
        let before = self.build.block;
        for (block, side) in blocks.into_iter().zip([then, otherwise]) {
            self.build.block = block;
            let value = self.expr(side)?;
            let value = self.widened(value, ty)?;
            self.build.op("scf.yield", &[value.ssa], &[], &[]);
        }
        self.build.block = before;
        Ok(Value { ssa: result_of(op, 0), ty })
    }

    fn instruction(&mut self, name: &str, args: &[Expr]) -> Lowered<Value<'c, 'a>> {
        let instruction = self.known_instruction(name)?;
        let args = args.iter().map(|arg| self.expr(arg)).collect::<Lowered<Vec<_>>>()?;
        if args.iter().map(|arg| arg.ty).ne(instruction.arguments.iter().copied()) {
            return Err(format!("instruction `{name}` takes {:?}", instruction.arguments));
        }
        match crate::matrix::is_matrix(instruction) {
            true => Err(format!("`{name}` outside of a matrix register")),
            false => Ok(self.instruction_on(instruction, &args)),
        }
    }

    /// The instruction called `name`, which the target has.
    pub fn known_instruction(&self, name: &str) -> Lowered<&'static Instruction> {
        let instruction =
            targets::instructions::find(name).ok_or_else(|| format!("no instruction is called `{name}`"))?;
        match self.target.instructions.iter().any(|have| have == name) {
            true => Ok(instruction),
            false => Err(format!("target `{}` has no instruction `{name}`", self.target.name)),
        }
    }

    /// An instruction of the target on arguments of its types.
    pub fn instruction_on(&mut self, instruction: &Instruction, args: &[Value<'c, 'a>]) -> Value<'c, 'a> {
        let operands: Vec<_> = operands(instruction)
            .iter()
            .map(|operand| match operand {
                Operand::Argument(k, ty) => self.reinterpret(args[*k], *ty),
                Operand::Int(value) => {
                    self.build.integer(Type { dtype: DType::I32, lanes: 1 }, i64::from(*value))
                }
            })
            .collect();
        let value = match instruction.emit {
            Emit::Intrinsic { name, result, .. } => self.build.intrinsic(name, &operands, result),
            // Both callers take others alone: `instruction` refuses these, and a conversion is none.
            Emit::Matrix { .. } => unreachable!("products of matrices are no vectors"),
            Emit::Assembly { text, constraints, result, .. } => {
                let attributes = [
                    ("asm_string", self.build.string(text)),
                    ("constraints", self.build.string(constraints)),
                ];
                let operands: Vec<_> = operands.iter().map(|v| v.ssa).collect();
                let mlir = self.build.mlir(result);
                Value { ssa: self.build.ssa("llvm.inline_asm", &operands, mlir, &attributes), ty: result }
            }
        };
        self.reinterpret(value, instruction.result)
    }

    pub fn unsupported(&self, op: Unary, dtype: DType) -> String {
        format!("{op:?} on {dtype} is not an instruction of target `{}`", self.target.name)
    }
}

fn operands(instruction: &Instruction) -> &'static [Operand] {
    match instruction.emit {
        Emit::Intrinsic { operands, .. } | Emit::Assembly { operands, .. } => operands,
        Emit::Matrix { .. } => &[],
    }
}
