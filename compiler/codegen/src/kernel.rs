//! A nest's statements as structured control flow: registers become SSA values that loops and branches carry.

use std::collections::{BTreeSet, HashMap};

use ir::DType;
use loops::{Expr, LoopVar, Nest, Reg, Stmt, Type};
use melior::Context;
use melior::ir::{BlockRef, Value as Ssa};
use targets::Target;

use crate::builder::{Builder, Value, argument, result_of};
use crate::matrix::Slots;
use crate::typing::Typing;

/// The lowering of one function's body.
pub(crate) struct Kernel<'k, 'c, 'a> {
    pub build: Builder<'c, 'a>,
    pub target: &'k Target,
    pub typing: &'k Typing<'k>,
    /// One pointer for each of the nest's buffers.
    pub buffers: Vec<Ssa<'c, 'a>>,
    pub registers: HashMap<Reg, Value<'c, 'a>>,
    pub loops: HashMap<LoopVar, Value<'c, 'a>>,
    pub slots: Slots<'c, 'a>,
}

/// What goes wrong within a nest: said without the nest's name, which the caller knows.
pub(crate) type Lowered<T> = Result<T, String>;

impl<'k, 'c, 'a> Kernel<'k, 'c, 'a> {
    /// A kernel at the end of `entry`, whose first arguments are the nest's buffers.
    pub fn new(
        context: &'c Context,
        entry: BlockRef<'c, 'a>,
        target: &'k Target,
        typing: &'k Typing<'k>,
    ) -> Kernel<'k, 'c, 'a> {
        Kernel {
            build: Builder::new(context, entry, typing.index),
            target,
            typing,
            buffers: (0..typing.nest.buffers.len()).map(|k| argument(entry, k)).collect(),
            registers: HashMap::new(),
            loops: HashMap::new(),
            slots: Slots::default(),
        }
    }

    pub fn nest(&self) -> &'k Nest {
        self.typing.nest
    }

    /// Lowers a block; registers that it declares die with it.
    pub fn block(&mut self, body: &[Stmt]) -> Lowered<()> {
        body.iter().try_for_each(|stmt| self.stmt(stmt))
    }

    fn stmt(&mut self, stmt: &Stmt) -> Lowered<()> {
        match stmt {
            Stmt::Let { reg, value, .. } | Stmt::Set { reg, value } => {
                let ty = self.typing.register(*reg)?;
                if matches!(stmt, Stmt::Set { .. }) && !self.registers.contains_key(reg) {
                    return Err(format!("register r{} is assigned where it is not declared", reg.0));
                }
                let value = match self.typing.matrices.get(reg) {
                    Some(shape) => Value { ssa: self.matrix(value, *shape)?, ty },
                    None => {
                        let value = self.expr(value)?;
                        self.widened(value, ty)?
                    }
                };
                self.registers.insert(*reg, value);
            }
            Stmt::Prefetch { buffer, index } => self.prefetch(*buffer, index)?,
            Stmt::Store { buffer, index, value, valid } => self.store(*buffer, index, value, *valid)?,
            Stmt::If { condition, then, otherwise } => self.branch(condition, then, otherwise)?,
            Stmt::For { var, from, to, step, body, .. } => {
                let (from, to) = (self.index(from)?, self.index(to)?);
                self.for_loop(*var, [from, to], *step, body)?;
            }
        }
        Ok(())
    }

    /// `for var in (from..to).step_by(step)`, carrying the outer registers that `body` assigns.
    pub fn for_loop(
        &mut self,
        var: LoopVar,
        range: [Value<'c, 'a>; 2],
        step: i64,
        body: &[Stmt],
    ) -> Lowered<()> {
        let carried = self.carried(&[body]);
        let step = self.build.at(step);
        let mut operands = vec![range[0].ssa, range[1].ssa, step.ssa];
        operands.extend(carried.iter().map(|reg| self.registers[reg].ssa));
        let types: Vec<_> = carried.iter().map(|reg| self.carried_type(*reg)).collect();
        let mut arguments = vec![self.build.mlir(range[0].ty)];
        arguments.extend(&types);
        let (op, blocks) = self.build.op_with_regions("scf.for", &operands, &types, 1, &arguments);

        let outer = self.registers.clone();
        for (k, reg) in carried.iter().enumerate() {
            self.registers.insert(*reg, Value { ssa: argument(blocks[0], k + 1), ty: outer[reg].ty });
        }
        self.loops.insert(var, Value { ssa: argument(blocks[0], 0), ty: range[0].ty });
        self.within(blocks[0], &carried, |kernel| kernel.block(body))?;
        self.loops.remove(&var);
        self.leave(op, &carried, outer);
        Ok(())
    }

    fn branch(&mut self, condition: &Expr, then: &[Stmt], otherwise: &[Stmt]) -> Lowered<()> {
        let condition = self.expr(condition)?;
        if condition.ty != (Type { dtype: DType::Bool, lanes: 1 }) {
            return Err("a condition that is not one Bool".into());
        }
        let carried = self.carried(&[then, otherwise]);
        let types: Vec<_> = carried.iter().map(|reg| self.carried_type(*reg)).collect();
        let (op, blocks) = self.build.op_with_regions("scf.if", &[condition.ssa], &types, 2, &[]);
        let outer = self.registers.clone();
        for (block, body) in blocks.into_iter().zip([then, otherwise]) {
            self.within(block, &carried, |kernel| kernel.block(body))?;
            self.registers.clone_from(&outer);
        }
        self.leave(op, &carried, outer);
        Ok(())
    }

    /// Builds a region's block, which yields the registers `carried`.
    fn within(
        &mut self,
        block: BlockRef<'c, 'a>,
        carried: &[Reg],
        body: impl FnOnce(&mut Self) -> Lowered<()>,
    ) -> Lowered<()> {
        let before = std::mem::replace(&mut self.build.block, block);
        self.slots.forget();
        body(self)?;
        self.slots.forget();
        let values: Vec<_> = carried.iter().map(|reg| self.registers[reg].ssa).collect();
        self.build.op("scf.yield", &values, &[], &[]);
        self.build.block = before;
        Ok(())
    }

    /// After a loop or branch: the outer registers, those that it carried with their new values.
    fn leave(
        &mut self,
        op: melior::ir::operation::OperationRef<'c, 'a>,
        carried: &[Reg],
        mut outer: Registers<'c, 'a>,
    ) {
        for (k, reg) in carried.iter().enumerate() {
            let ty = outer[reg].ty;
            outer.insert(*reg, Value { ssa: result_of(op, k), ty });
        }
        self.registers = outer;
    }

    /// The live registers that `bodies` assign, in order.
    fn carried(&self, bodies: &[&[Stmt]]) -> Vec<Reg> {
        let mut found = BTreeSet::new();
        bodies.iter().for_each(|body| assigned(body, &mut found));
        found.into_iter().filter(|reg| self.registers.contains_key(reg)).collect()
    }
}

type Registers<'c, 'a> = HashMap<Reg, Value<'c, 'a>>;

/// The registers that `body` gives a value, declared there or not.
pub(crate) fn assigned(body: &[Stmt], found: &mut BTreeSet<Reg>) {
    for stmt in body {
        match stmt {
            Stmt::For { body, .. } => assigned(body, found),
            Stmt::If { then, otherwise, .. } => {
                assigned(then, found);
                assigned(otherwise, found);
            }
            Stmt::Set { reg, .. } => {
                found.insert(*reg);
            }
            Stmt::Let { .. } | Stmt::Prefetch { .. } | Stmt::Store { .. } => {}
        }
    }
}
