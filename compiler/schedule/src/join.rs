//! Nests put into one: each keeps loop variables and registers of its own, buffers are shared by what they stand for.

use std::collections::BTreeMap;

use loops::affine::Affine;
use loops::{Access, Buffer, BufferId, Expr, LoopVar, Nest, Reg, Source, Stmt};

use crate::workload::Around;
use crate::{Argument, Chosen, Estimate, Kernel, Schedule, Workload};

/// A nest under construction, from the kernels of a definition's stages.
pub struct Joined {
    pub buffers: Vec<Buffer>,
    pub arguments: Vec<Argument>,
    /// Where each stage's result lies.
    places: Vec<Argument>,
    /// Parts that may run at the same time, each with scratch of its own, and the one that is being written.
    parts: usize,
    part: Option<Expr>,
    /// Ids that are taken.
    loops: u32,
    registers: u32,
    /// By stage, how it is arranged where it was first added: what is left over after whole blocks has no say.
    stages: BTreeMap<usize, (Vec<Schedule>, Vec<Workload>, Chosen)>,
}

impl Joined {
    /// `places` says where each stage's result lies: in scratch, or in the nest's own.
    pub fn new(places: Vec<Argument>) -> Joined {
        let (buffers, arguments) = (Vec::new(), Vec::new());
        let stages = BTreeMap::new();
        Joined { buffers, arguments, places, parts: 1, part: None, loops: 0, registers: 0, stages }
    }

    /// A loop over `count` blocks, of which `block` writes the one whose number it is given. On several threads each
    /// takes as many neighbouring blocks as the others, and scratch of its own.
    pub fn blocks<E>(
        &mut self,
        count: usize,
        threads: usize,
        block: impl FnOnce(&mut Joined, Expr) -> Result<Vec<Stmt>, E>,
    ) -> Result<Vec<Stmt>, E> {
        self.shared_out(count, threads, |joined, from, to| {
            let var = joined.variable();
            let body = block(joined, Expr::Loop(var))?;
            Ok(vec![Stmt::For { var, from, to, step: 1, parallel: false, body }])
        })
    }

    /// What `part` writes for places `from..to` of `0..count`: all of them, or on several threads a part for each, with
    /// scratch of its own.
    pub fn shared_out<E>(
        &mut self,
        count: usize,
        threads: usize,
        part: impl FnOnce(&mut Joined, Expr, Expr) -> Result<Vec<Stmt>, E>,
    ) -> Result<Vec<Stmt>, E> {
        let parts = threads.min(count);
        if parts < 2 {
            return part(self, Expr::int(0), Expr::int(count as i64));
        }
        let var = self.variable();
        (self.parts, self.part) = (parts, Some(Expr::Loop(var)));
        let first = |part: Expr| part * Expr::int(count as i64) / Expr::int(parts as i64);
        let body = part(self, first(Expr::Loop(var)), first(Expr::Loop(var) + Expr::int(1)))?;
        self.part = None;
        let (from, to) = (Expr::int(0), Expr::int(parts as i64));
        Ok(vec![Stmt::For { var, from, to, step: 1, parallel: true, body }])
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
        self.stages.entry(stage).or_insert((kernel.stages, kernel.workloads, kernel.chosen));
        let buffers = kernel.nest.buffers.into_iter().zip(kernel.arguments);
        let moved = Moved {
            outer,
            written,
            place: Affine::of(place),
            buffers: buffers.map(|(buffer, argument)| self.buffer(stage, buffer, argument)).collect(),
            scratch: self.scratch_of_part(),
            loops: self.loops,
            registers: self.registers,
        };
        let body = moved.block(&kernel.nest.body);
        self.take_ids(&body);
        body
    }

    /// By buffer, where the scratch of the part that is being written starts.
    fn scratch_of_part(&self) -> Vec<Affine> {
        let part = self.part.as_ref().map_or(Affine::constant(0), Affine::of);
        let start = |buffer: &Buffer| match buffer.access {
            Access::Scratch => Affine::constant(0).plus(&part, buffer.len as i64),
            _ => Affine::constant(0),
        };
        self.buffers.iter().map(start).collect()
    }

    pub fn into_nest(mut self, name: &str, body: Vec<Stmt>) -> (Nest, Vec<Argument>) {
        for buffer in self.buffers.iter_mut().filter(|buffer| buffer.access == Access::Scratch) {
            buffer.len *= self.parts;
        }
        (Nest { name: name.to_string(), buffers: self.buffers, body }, self.arguments)
    }

    /// As a kernel of all stages that were added, in loops that `body` has around them.
    pub fn into_kernel(mut self, name: &str, body: Vec<Stmt>, estimate: Estimate) -> Kernel {
        let (mut stages, mut workloads, mut chosen) = (Vec::new(), Vec::new(), Chosen::Default);
        for (of_stage, lowered, from) in std::mem::take(&mut self.stages).into_values() {
            stages.extend(of_stage);
            workloads.extend(lowered);
            chosen = chosen.and(from);
        }
        let (nest, arguments) = self.into_nest(name, body);
        Kernel {
            nest,
            without_matrices: None,
            in_place: vec![false; arguments.len()],
            arguments,
            blocks: vec![],
            stages,
            estimate,
            workloads,
            chosen,
        }
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

/// A part's kernel, which is written for one block, in loops over all of them, with what other stages leave as it is.
pub(crate) fn alone(part: &Workload, kernel: Kernel) -> Kernel {
    let stages = part.operands.iter().filter_map(|operand| match operand.source {
        Source::Stage(k) => Some(k + 1),
        _ => None,
    });
    let own = stages.max().unwrap_or(0);
    let earlier = (0..own).map(|k| Argument::Source(Source::Stage(k)));
    let mut joined = Joined::new(earlier.chain([Argument::Result]).collect());
    let vars: Vec<LoopVar> = part.loops().iter().map(|_| joined.variable()).collect();
    let rows: Vec<Expr> = vars.iter().map(|&var| Expr::Loop(var)).collect();
    let (outer, place) = part.block_at(&rows);
    let Kernel { estimate, nest: Nest { name, .. }, .. } = &kernel;
    let (name, estimate) = (name.clone(), *estimate);
    let mut body = joined.add(own, kernel, &outer, &place);
    for (Around { extent, step, .. }, var) in part.loops().iter().zip(vars).rev() {
        let (from, to) = (Expr::int(0), Expr::int(*extent as i64));
        body = vec![Stmt::For { var, from, to, step: *step as i64, parallel: false, body }];
    }
    joined.into_kernel(&name, body, estimate)
}

/// How a kernel's statements become part of another nest.
struct Moved<'a> {
    outer: &'a [(LoopVar, Expr)],
    written: Option<BufferId>,
    place: Affine,
    /// The nest's buffer for each of the kernel's.
    buffers: Vec<BufferId>,
    /// By the nest's buffers, where their scratch starts.
    scratch: Vec<Affine>,
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
            Stmt::For { var, from, to, step, parallel, body } => Stmt::For {
                var: LoopVar(var.0 + self.loops),
                from: self.expr(from),
                to: self.expr(to),
                step: *step,
                parallel: *parallel,
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
        let own = self.buffers[buffer.0 as usize].0 as usize;
        let index = Affine::of(index).plus(&self.scratch[own], 1);
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
