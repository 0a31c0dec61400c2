//! Nests put into one: each keeps loop variables and registers of its own, buffers are shared by what they stand for.

use loops::affine::Affine;
use loops::{Access, Buffer, BufferId, Expr, LoopVar, Nest, Reg, Source, Stmt};

use crate::{Argument, Kernel};

/// A nest under construction, from the kernels of a definition's stages.
pub struct Joined {
    pub buffers: Vec<Buffer>,
    pub arguments: Vec<Argument>,
    /// Where each stage's result lies.
    places: Vec<Argument>,
    /// Ids that are taken.
    loops: u32,
    registers: u32,
}

impl Joined {
    /// `places` says where each stage's result lies: in scratch, or in the nest's own.
    pub fn new(places: Vec<Argument>) -> Joined {
        Joined { buffers: Vec::new(), arguments: Vec::new(), places, loops: 0, registers: 0 }
    }

    /// A variable for a loop around stages.
    pub fn variable(&mut self) -> LoopVar {
        self.loops += 1;
        LoopVar(self.loops - 1)
    }

    /// The statements of a stage's kernel as part of this nest. Loop variables that are not the kernel's own become
    /// what `outer` says, and what the kernel writes moves by `place` elements.
    pub fn add(
        &mut self,
        stage: usize,
        kernel: Kernel,
        outer: &[(LoopVar, Expr)],
        place: &Expr,
    ) -> Vec<Stmt> {
        let written = kernel.result_argument().map(|k| BufferId(k as u32));
        let buffers = kernel.nest.buffers.into_iter().zip(kernel.arguments);
        let moved = Moved {
            outer,
            written,
            place: Affine::of(place),
            buffers: buffers.map(|(buffer, argument)| self.buffer(stage, buffer, argument)).collect(),
            loops: self.loops,
            registers: self.registers,
        };
        let body = moved.block(&kernel.nest.body);
        self.take_ids(&body);
        body
    }

    pub fn into_nest(self, name: &str, body: Vec<Stmt>) -> (Nest, Vec<Argument>) {
        (Nest { name: name.to_string(), buffers: self.buffers, body }, self.arguments)
    }

    /// The nest's buffer for one of a stage's kernel.
    fn buffer(&mut self, stage: usize, mut buffer: Buffer, argument: Argument) -> BufferId {
        let argument = match argument {
            Argument::Source(Source::Stage(k)) => self.places[k].clone(),
            Argument::Result => self.places[stage].clone(),
            other => other,
        };
        if let Some(known) = self.arguments.iter().position(|known| *known == argument) {
            return BufferId(known as u32);
        }
        buffer.name = match &argument {
            Argument::Source(Source::Operand(k)) => format!("x{k}"),
            Argument::Source(Source::Table(k)) => format!("t{k}"),
            Argument::Source(Source::Stage(k)) | Argument::Scratch(k) => format!("s{k}"),
            Argument::Packed { .. } => {
                let packed = |argument: &&Argument| matches!(argument, Argument::Packed { .. });
                format!("p{}", self.arguments.iter().filter(packed).count())
            }
            Argument::Result => "y".to_string(),
        };
        if matches!(argument, Argument::Scratch(_)) {
            buffer.access = Access::Scratch;
        }
        self.buffers.push(buffer);
        self.arguments.push(argument);
        BufferId(self.buffers.len() as u32 - 1)
    }

    fn take_ids(&mut self, body: &[Stmt]) {
        for stmt in body {
            match stmt {
                Stmt::For { var, body, .. } => {
                    self.loops = self.loops.max(var.0 + 1);
                    self.take_ids(body);
                }
                Stmt::If { then, otherwise, .. } => {
                    self.take_ids(then);
                    self.take_ids(otherwise);
                }
                Stmt::Let { reg, .. } => self.registers = self.registers.max(reg.0 + 1),
                Stmt::Set { .. } | Stmt::Prefetch { .. } | Stmt::Store { .. } => {}
            }
        }
    }
}

/// How a kernel's statements become part of another nest.
struct Moved<'a> {
    outer: &'a [(LoopVar, Expr)],
    written: Option<BufferId>,
    place: Affine,
    /// The nest's buffer for each of the kernel's.
    buffers: Vec<BufferId>,
    /// Ids before these are taken.
    loops: u32,
    registers: u32,
}

impl Moved<'_> {
    fn block(&self, body: &[Stmt]) -> Vec<Stmt> {
        body.iter().map(|stmt| self.stmt(stmt)).collect()
    }

    fn stmt(&self, stmt: &Stmt) -> Stmt {
        match stmt {
            Stmt::For { var, from, to, step, body, .. } => Stmt::For {
                var: LoopVar(var.0 + self.loops),
                from: self.expr(from),
                to: self.expr(to),
                step: *step,
                // The stages of a row share scratch, and run one after the other.
                parallel: false,
                body: self.block(body),
            },
            Stmt::If { condition, then, otherwise } => Stmt::If {
                condition: self.expr(condition),
                then: self.block(then),
                otherwise: self.block(otherwise),
            },
            Stmt::Let { reg, ty, value } => {
                Stmt::Let { reg: self.register(*reg), ty: *ty, value: self.expr(value) }
            }
            Stmt::Set { reg, value } => Stmt::Set { reg: self.register(*reg), value: self.expr(value) },
            Stmt::Prefetch { buffer, index } => Stmt::Prefetch {
                buffer: self.buffers[buffer.0 as usize],
                index: self.index(*buffer, &self.expr(index)),
            },
            Stmt::Store { buffer, index, value, valid } => Stmt::Store {
                buffer: self.buffers[buffer.0 as usize],
                index: self.index(*buffer, &self.expr(index)),
                value: self.expr(value),
                valid: *valid,
            },
        }
    }

    fn register(&self, reg: Reg) -> Reg {
        Reg(reg.0 + self.registers)
    }

    fn index(&self, buffer: BufferId, index: &Expr) -> Expr {
        let index = Affine::of(index);
        match Some(buffer) == self.written {
            true => index.plus(&self.place, 1).to_expr(),
            false => index.to_expr(),
        }
    }

    fn variable(&self, var: LoopVar) -> Expr {
        let outer = self.outer.iter().find(|(placeholder, _)| *placeholder == var);
        outer.map_or_else(|| Expr::Loop(LoopVar(var.0 + self.loops)), |(_, value)| value.clone())
    }

    fn expr(&self, expr: &Expr) -> Expr {
        expr.rewrite(&mut |node| match node {
            Expr::Loop(var) => Some(self.variable(*var)),
            Expr::Reg(reg) => Some(Expr::Reg(self.register(*reg))),
            Expr::Load { buffer, index, lanes, valid } => Some(Expr::Load {
                buffer: self.buffers[buffer.0 as usize],
                index: Box::new(self.index(*buffer, index)),
                lanes: *lanes,
                valid: *valid,
            }),
            _ => None,
        })
    }
}
