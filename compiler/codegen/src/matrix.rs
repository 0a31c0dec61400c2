//! Matrix registers (AMX's tiles): values of a type of LLVM's own, which loads, stores and products of matrices alone take.
//! Vectors reach them, and come from them, through the stack.

use std::collections::HashMap;

use loops::{Expr, Nest, Reg, Stmt, Type};
use melior::ir::{BlockLike, Type as MlirType, Value as Ssa, ValueLike};
use targets::instructions::{Emit, Instruction, Matrix, Meaning, find};

use crate::builder::{Builder, Value, attribute, operation, result_of};
use crate::kernel::{Kernel, Lowered};

/// What a matrix register holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub rows: usize,
    /// Of one row.
    pub bytes: usize,
}

/// Bytes of the largest matrix register.
const MOST_BYTES: usize = 1024;

/// The registers of `nest` that are matrix registers: what products of matrices read and give. `types` are the
/// registers' own.
pub(crate) fn shapes(nest: &Nest, types: &HashMap<Reg, Type>) -> Result<HashMap<Reg, Shape>, String> {
    let mut found = HashMap::new();
    collect(&nest.body, types, &mut found)?;
    Ok(found)
}

fn collect(body: &[Stmt], types: &HashMap<Reg, Type>, found: &mut HashMap<Reg, Shape>) -> Result<(), String> {
    for stmt in body {
        match stmt {
            Stmt::For { body, .. } => collect(body, types, found)?,
            Stmt::If { then, otherwise, .. } => {
                collect(then, types, found)?;
                collect(otherwise, types, found)?;
            }
            Stmt::Let { reg, value: Expr::Instruction { name, args }, .. }
            | Stmt::Set { reg, value: Expr::Instruction { name, args } } => {
                let Some(instruction) = find(name).filter(|known| is_matrix(known)) else { continue };
                let operands = args.iter().map(|arg| match arg {
                    Expr::Reg(reg) => types.get(reg).copied().map(|ty| (*reg, ty)),
                    _ => None,
                });
                let operands: Option<Vec<(Reg, Type)>> = operands.collect();
                let shaped = operands.and_then(|operands| {
                    let types: Vec<Type> = operands.iter().map(|(_, ty)| *ty).collect();
                    let shapes = operand_shapes(instruction, instruction.matrix(&types)?)?;
                    Some(operands.into_iter().map(|(reg, _)| reg).zip(shapes).collect::<Vec<_>>())
                });
                let shaped = shaped.ok_or_else(|| format!("`{name}` takes registers that make a product"))?;
                for (reg, shape) in shaped.iter().copied().chain([(*reg, shaped[0].1)]) {
                    if found.insert(reg, shape).is_some_and(|before| before != shape) {
                        return Err(format!("matrix register r{} has two shapes", reg.0));
                    }
                }
            }
            Stmt::Let { .. } | Stmt::Set { .. } | Stmt::Prefetch { .. } | Stmt::Store { .. } => {}
        }
    }
    Ok(())
}

pub(crate) fn is_matrix(instruction: &Instruction) -> bool {
    matches!(instruction.meaning, Meaning::Matrix { .. })
}

/// The shapes of the sum and of the two factors.
fn operand_shapes(instruction: &Instruction, Matrix { rows, depth }: Matrix) -> Option<[Shape; 3]> {
    let Meaning::Matrix { columns, group } = instruction.meaning else { return None };
    let bytes = |k: usize, elements: usize| elements * instruction.arguments[k].dtype.bytes();
    Some([
        Shape { rows, bytes: bytes(0, columns) },
        Shape { rows, bytes: bytes(1, depth) },
        Shape { rows: depth / group, bytes: bytes(2, columns * group) },
    ])
}

/// Slots on the stack through which matrices become vectors, and what they hold.
#[derive(Default)]
pub(crate) struct Slots<'c, 'a> {
    slots: Vec<Ssa<'c, 'a>>,
    /// By value (its address), the slot that holds it; of this block alone.
    held: Vec<(usize, usize)>,
    next: usize,
}

/// More than there are accumulators of a register tile, all of which become vectors at once.
const SLOTS: usize = 8;

impl Slots<'_, '_> {
    /// What was stored in another block may not have been.
    pub fn forget(&mut self) {
        self.held.clear();
    }
}

impl<'c, 'a> Kernel<'_, 'c, 'a> {
    /// The MLIR type that a register is carried in.
    pub fn carried_type(&self, reg: Reg) -> MlirType<'c> {
        match self.typing.matrices.contains_key(&reg) {
            true => self.matrix_type(),
            false => self.build.mlir(self.registers[&reg].ty),
        }
    }

    fn matrix_type(&self) -> MlirType<'c> {
        MlirType::parse(self.build.context, "!llvm.x86_amx").unwrap_or_else(|| unreachable!("a type"))
    }

    /// `expr` as the content of a matrix register.
    pub fn matrix(&mut self, expr: &Expr, shape: Shape) -> Lowered<Ssa<'c, 'a>> {
        match expr {
            Expr::Reg(reg) if self.typing.matrices.get(reg) == Some(&shape) => {
                match self.registers.get(reg) {
                    Some(value) => Ok(value.ssa),
                    None => Err(format!("register r{} is read where it is not declared", reg.0)),
                }
            }
            Expr::Broadcast { value, .. } if matches!(&**value, Expr::Const(zero) if zero.bits == 0) => {
                let operands = self.shape(shape);
                let result = [self.matrix_type()];
                Ok(result_of(self.build.call_intrinsic("llvm.x86.tilezero.internal", &operands, &result), 0))
            }
            Expr::Rows { buffer, index, stride, rows, lanes } => {
                let dtype = self.typing.of_expr(expr)?.dtype;
                if (Shape { rows: *rows, bytes: lanes * dtype.bytes() }) != shape {
                    return Err(format!(
                        "{rows} rows of {lanes} x {dtype} in a matrix register of {shape:?}"
                    ));
                }
                let at = self.element_pointer(*buffer, index)?;
                Ok(self.load_matrix(at, stride * dtype.bytes(), shape))
            }
            Expr::Concat(parts) if parts.len() == shape.rows => {
                let slot = self.slot(SLOTS);
                for (row, part) in parts.iter().enumerate() {
                    let value = self.expr(part)?;
                    if value.ty.lanes * value.ty.dtype.bytes() != shape.bytes {
                        return Err(format!("a row of {} in a matrix register of {shape:?}", value.ty));
                    }
                    let at = self.build.address_bytes(slot, (row * shape.bytes) as i32);
                    let alignment = [("alignment", self.build.i64(value.ty.dtype.bytes() as i64))];
                    self.build.op("llvm.store", &[value.ssa, at], &[], &alignment);
                }
                Ok(self.load_matrix(slot, shape.bytes, shape))
            }
            Expr::Instruction { name, args } => self.matrix_product(name, args),
            _ => Err("a matrix register takes zeros, rows, or a product of matrices".to_string()),
        }
    }

    fn matrix_product(&mut self, name: &str, args: &[Expr]) -> Lowered<Ssa<'c, 'a>> {
        let instruction = self.known_instruction(name)?;
        let Emit::Matrix { name: intrinsic } = instruction.emit else {
            return Err(format!("`{name}` gives no matrix"));
        };
        let types = args.iter().map(|arg| self.typing.of_expr(arg)).collect::<Lowered<Vec<_>>>()?;
        let shapes = instruction.matrix(&types).and_then(|matrix| operand_shapes(instruction, matrix));
        let shapes =
            shapes.ok_or_else(|| format!("instruction `{name}` takes {:?}", instruction.arguments))?;
        let [sum, a, _] = shapes;
        let [rows, columns] = self.shape(sum);
        let [_, depth] = self.shape(a);
        let mut operands = vec![rows, columns, depth];
        for (arg, shape) in args.iter().zip(shapes) {
            operands.push(self.matrix(arg, shape)?);
        }
        let result = [self.matrix_type()];
        Ok(result_of(self.build.call_intrinsic(intrinsic, &operands, &result), 0))
    }

    fn load_matrix(&mut self, at: Ssa<'c, 'a>, stride: usize, shape: Shape) -> Ssa<'c, 'a> {
        let [rows, bytes] = self.shape(shape);
        let stride = self.build.integer(I64, stride as i64).ssa;
        let result = [self.matrix_type()];
        let operands = [rows, bytes, at, stride];
        result_of(self.build.call_intrinsic("llvm.x86.tileloadd64.internal", &operands, &result), 0)
    }

    /// All elements of a matrix register as one vector.
    pub fn matrix_as_vector(&mut self, reg: Reg) -> Lowered<Value<'c, 'a>> {
        let lanes = self.typing.register(reg)?.lanes;
        self.matrix_part(reg, 0, lanes)
    }

    /// `lanes` neighbouring elements of a matrix register.
    pub fn matrix_part(&mut self, reg: Reg, first: usize, lanes: usize) -> Lowered<Value<'c, 'a>> {
        let (ty, shape) = (self.typing.register(reg)?, self.typing.matrices[&reg]);
        let Some(value) = self.registers.get(&reg).map(|value| value.ssa) else {
            return Err(format!("register r{} is read where it is not declared", reg.0));
        };
        let key = value.to_raw().ptr as usize;
        let known = self.slots.held.iter().find(|(held, _)| *held == key).map(|(_, slot)| *slot);
        let slot = match known {
            Some(number) => self.slot(number),
            None => {
                let number = self.slots.next % SLOTS;
                self.slots.next += 1;
                let slot = self.slot(number);
                let [rows, bytes] = self.shape(shape);
                let stride = self.build.integer(I64, shape.bytes as i64).ssa;
                let operands = [rows, bytes, slot, stride, value];
                self.build.call_intrinsic("llvm.x86.tilestored64.internal", &operands, &[]);
                self.slots.held.retain(|(_, slot)| *slot != number);
                self.slots.held.push((key, number));
                slot
            }
        };
        let ty = Type { lanes, ..ty };
        let at = self.build.address_bytes(slot, (first * ty.dtype.bytes()) as i32);
        let alignment = [("alignment", self.build.i64(ty.dtype.bytes() as i64))];
        Ok(Value { ssa: self.build.ssa("llvm.load", &[at], self.build.mlir(ty), &alignment), ty })
    }

    /// A slot on the stack. The one after those that matrices are read from is what rows are put together in.
    fn slot(&mut self, number: usize) -> Ssa<'c, 'a> {
        while self.slots.slots.len() <= number {
            self.slots.slots.push(self.build.stack(MOST_BYTES));
        }
        self.slots.slots[number]
    }

    fn shape(&mut self, shape: Shape) -> [Ssa<'c, 'a>; 2] {
        [shape.rows, shape.bytes].map(|count| self.build.integer(I16, count as i64).ssa)
    }
}

const I16: Type = Type { dtype: ir::DType::I16, lanes: 1 };
const I64: Type = Type { dtype: ir::DType::I64, lanes: 1 };

impl<'c, 'a> Builder<'c, 'a> {
    /// Memory on the function's stack, aligned to a cache line.
    pub fn stack(&self, bytes: usize) -> Ssa<'c, 'a> {
        let byte = self.mlir(Type { dtype: ir::DType::U8, lanes: 1 });
        let value = [("value", attribute(self.context, &format!("{bytes} : i32")))];
        let i32 = self.mlir(Type { dtype: ir::DType::I32, lanes: 1 });
        let count = operation(self.context, "arith.constant", &[], &[i32], &value, vec![]);
        let count = result_of(self.entry.insert_operation(0, count), 0);
        let attributes = [
            ("elem_type", melior::ir::attribute::TypeAttribute::new(byte).into()),
            ("alignment", self.i64(crate::ALIGN as i64)),
        ];
        let memory = operation(self.context, "llvm.alloca", &[count], &[self.pointer()], &attributes, vec![]);
        result_of(self.entry.insert_operation(1, memory), 0)
    }

    /// Whether the process may use matrix registers: it has to ask Linux for them, and may be refused (by a kernel or a CPU
    /// that has none, or a policy). Asking again costs a fraction of a microsecond, so that nothing is kept between runs.
    pub fn ask_for_matrices(&mut self) -> Ssa<'c, 'a> {
        let operands =
            [ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA].map(|value| self.integer(I64, value));
        let attributes = [
            ("asm_string", self.string("syscall")),
            ("constraints", self.string("={rax},{rax},{rdi},{rsi},~{rcx},~{r11},~{memory}")),
            ("has_side_effects", attribute(self.context, "unit")),
        ];
        let operands = operands.map(|value| value.ssa);
        let answer = self.ssa("llvm.inline_asm", &operands, self.mlir(I64), &attributes);
        let zero = self.integer(I64, 0).ssa;
        let equal = [("predicate", self.i64(0))];
        self.ssa("arith.cmpi", &[answer, zero], self.mlir(Type { dtype: ir::DType::Bool, lanes: 1 }), &equal)
    }
}

/// The system call that asks, what it asks for, and of which part of the processor's state (linux/arch/x86:
/// asm/unistd_64.h, asm/prctl.h, asm/fpu/types.h).
const ARCH_PRCTL: i64 = 158;
const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
const XFEATURE_XTILE_DATA: i64 = 18;
