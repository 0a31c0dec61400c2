//! One node after the other: kernels for what is computed, looks for what is only seen differently.

use std::collections::HashMap;

use ir::{NodeId, NodeKind, TensorType, Value};
use loops::{Definition, Expr, Source, Stage};
use ops::{AnyOp, Graph, Meaning, OpKind};
use schedule::{Argument, Destination, Kernel, Operand, Records, View};
use targets::Target;

use super::buffers::{Buffer, Home, Located};
use super::{LowerError, Transposes};
use crate::price;

/// A kernel and the buffers that it is called with.
#[derive(Debug)]
pub struct Call {
    pub kernel: Kernel,
    /// One per buffer of the nest.
    pub buffers: Vec<usize>,
    /// The node that it computes, or a part of it.
    pub node: NodeId,
    pub op: String,
    pub macs: u64,
    /// Why elements are moved that were computed already, if that is all it does.
    pub copies: Option<&'static str>,
}

/// A kernel over operands at these places, or why there is none.
type Scheduler<'s, L> = dyn Fn(&L, &[(Source, Located)]) -> Result<Option<Kernel>, LowerError> + 's;

pub struct Lowering<'g, 't> {
    pub graph: &'g Graph,
    pub target: &'t Target,
    pub transposes: Transposes,
    records: &'t Records,
    pub buffers: Vec<Buffer>,
    pub outputs: Vec<usize>,
    pub calls: Vec<Call>,
    pub claims: HashMap<Value, Located>,
    places: HashMap<Value, Located>,
    /// Copies in row-major order of values that somebody could not read as they lie.
    copies: HashMap<Value, Located>,
}

impl<'g, 't> Lowering<'g, 't> {
    pub fn new(
        graph: &'g Graph,
        target: &'t Target,
        transposes: Transposes,
        records: &'t Records,
    ) -> Lowering<'g, 't> {
        let mut lowering = Lowering {
            graph,
            target,
            transposes,
            records,
            buffers: Vec::new(),
            outputs: Vec::new(),
            calls: Vec::new(),
            claims: HashMap::new(),
            places: HashMap::new(),
            copies: HashMap::new(),
        };
        for (k, &id) in graph.inputs().iter().enumerate() {
            lowering.place_whole(Value { node: id, result: 0 }, Home::Input(k));
        }
        for id in graph.order() {
            if let NodeKind::Constant(tensor) = &graph.node(id).kind {
                lowering.place_whole(Value { node: id, result: 0 }, Home::Constant(tensor.clone()));
            }
        }
        lowering
    }

    pub fn buffer(&mut self, home: Home, dtype: ir::DType, len: usize) -> usize {
        self.buffers.push(Buffer { home, dtype, len });
        self.buffers.len() - 1
    }

    fn place_whole(&mut self, value: Value, home: Home) {
        let ty = self.graph.ty(value);
        let buffer = self.buffer(home, ty.dtype, ty.elements());
        self.places.insert(value, Located::whole(buffer, ty));
    }

    pub fn node(&mut self, id: NodeId, op: &AnyOp) -> Result<(), LowerError> {
        let operands = self.graph.operands(id);
        let types: Vec<TensorType> = operands.iter().map(|&v| self.graph.ty(v).clone()).collect();
        let result = |k: usize| Value { node: id, result: k };
        let results: Vec<TensorType> = self.graph.node(id).types.clone();
        match op.meaning(&types) {
            Meaning::Reshape => {
                let (from, to) = (&types[0].shape, &results[0].shape);
                let place = match self.places[&operands[0]].reshaped(from, to) {
                    Some(place) => place,
                    None => {
                        let dense = self.dense(operands[0])?;
                        dense.reshaped(from, to).unwrap_or(dense)
                    }
                };
                self.places.insert(result(0), place);
            }
            Meaning::View(views) => {
                let from = self.places[&operands[0]].clone();
                for (k, index) in views.into_iter().enumerate() {
                    let copied = self.transposes == Transposes::Copied && op.kind() == OpKind::Transpose;
                    let seen = || from.seen_through(&index, results[k].rank());
                    let place = match (!copied).then(seen).flatten() {
                        Some(place) => place,
                        None => {
                            let read = Expr::read(Source::Operand(0), index);
                            let stage = Stage::map(results[k].dtype, results[k].shape.clone(), read);
                            self.compute(id, op, result(k), &stage, &[(Source::Operand(0), from.clone())])?
                        }
                    };
                    self.places.insert(result(k), place);
                }
            }
            Meaning::Concat { axis } => {
                let whole = self.claimed_or_new(result(0));
                let mut start = 0;
                for (&operand, ty) in operands.iter().zip(&types) {
                    let part = whole.part(axis, start);
                    if !self.places[&operand].coincides(&part, &ty.shape) {
                        let from = self.places[&operand].clone();
                        self.copy(id, from, part, ty, "a part of a concatenation lies elsewhere")?;
                    }
                    start += ty.shape[axis];
                }
                self.places.insert(result(0), whole);
            }
            Meaning::Compute(definition) => self.definition(id, op, &definition, &operands)?,
        }
        Ok(())
    }

    /// The stages of a definition: one kernel where they share rows, else each a kernel; stages that are no results
    /// live in buffers of their own.
    fn definition(
        &mut self,
        id: NodeId,
        op: &AnyOp,
        definition: &Definition,
        operands: &[Value],
    ) -> Result<(), LowerError> {
        let mut sources: Vec<(Source, Located)> = Vec::new();
        for (k, table) in definition.tables.iter().enumerate() {
            let buffer = self.buffer(Home::Constant(table.clone()), table.ty.dtype, table.ty.elements());
            sources.push((Source::Table(k), Located::whole(buffer, &table.ty)));
        }
        for (k, &operand) in operands.iter().enumerate() {
            sources.push((Source::Operand(k), self.places[&operand].clone()));
        }
        let value = Value { node: id, result: 0 };
        if definition.stages.len() > 1
            && definition.results == [definition.stages.len() - 1]
            && definition.stages.iter().all(|stage| stage.ty().elements() > 0)
        {
            let place = self.claimed_or_new(value);
            let kernel = match op {
                AnyOp::Chain(chain) => {
                    self.lines(op, definition, chain.rows, &mut sources, &place, operands)?
                }
                _ => self.rows(id, op, definition, &mut sources, &place, operands)?,
            };
            if let Some(kernel) = kernel {
                let macs = op.macs(&self.types(operands));
                self.call(id, kernel, &sources, &place, &op.label(), macs);
                self.places.insert(value, place);
                return Ok(());
            }
        }
        for (k, stage) in definition.stages.iter().enumerate() {
            let place = match definition.results.iter().position(|&stage| stage == k) {
                Some(result) => {
                    let value = Value { node: id, result };
                    let place = self.kernel(id, op, Some(value), stage, &mut sources, operands)?;
                    self.places.insert(value, place.clone());
                    place
                }
                None => self.kernel(id, op, None, stage, &mut sources, operands)?,
            };
            sources.push((Source::Stage(k), place));
        }
        Ok(())
    }

    /// One stage.
    fn kernel(
        &mut self,
        id: NodeId,
        op: &AnyOp,
        result: Option<Value>,
        stage: &Stage,
        sources: &mut [(Source, Located)],
        operands: &[Value],
    ) -> Result<Located, LowerError> {
        let ty = stage.ty();
        let place = match result {
            Some(value) => self.claimed_or_new(value),
            None => Located::whole(self.buffer(Home::Arena, ty.dtype, ty.elements()), &ty),
        };
        if ty.elements() == 0 {
            return Ok(place);
        }
        let schedule = |lowering: &Self, sources: &[(Source, Located)]| {
            lowering.schedule(id, op, stage, sources, &place).map(Some)
        };
        let Some(kernel) = self.on_vectors(sources, operands, &schedule)? else { return Ok(place) };
        let types = self.types(operands);
        // Several stages share the operator's count; the first with a reduction carries it.
        let counted = self.calls.last().is_some_and(|call| call.node == id && call.macs > 0);
        let macs = if stage.fold.is_some() && !counted { op.macs(&types) } else { 0 };
        self.call(id, kernel, sources, &place, &op.label(), macs);
        Ok(place)
    }

    /// All stages as one kernel, if they share rows and that pays.
    fn rows(
        &mut self,
        id: NodeId,
        op: &AnyOp,
        definition: &Definition,
        sources: &mut [(Source, Located)],
        place: &Located,
        operands: &[Value],
    ) -> Result<Option<Kernel>, LowerError> {
        let destination = self.destination(place);
        let Some(blocks) = schedule::default_blocks(definition, &destination, self.target) else {
            return Ok(None);
        };
        let schedule = |lowering: &Self, sources: &[(Source, Located)]| {
            let described = lowering.described(sources);
            let (target, records) = (lowering.target, lowering.records);
            schedule::lower_rows(&op.label(), definition, &blocks, &described, &destination, target, records)
                .map_err(|unsupported| lowering.unsupported(id, &unsupported))
        };
        self.on_vectors(sources, operands, &schedule)
    }

    /// All stages as one kernel, each row computed as the next stage needs it; `None` where they do not fit.
    fn lines(
        &mut self,
        op: &AnyOp,
        definition: &Definition,
        rows: usize,
        sources: &mut [(Source, Located)],
        place: &Located,
        operands: &[Value],
    ) -> Result<Option<Kernel>, LowerError> {
        let destination = self.destination(place);
        let schedule = |lowering: &Self, sources: &[(Source, Located)]| {
            let described = lowering.described(sources);
            let (name, target, records) = (op.label(), lowering.target, lowering.records);
            let kernel =
                schedule::line_buffer(&name, definition, rows, &described, &destination, target, records);
            Ok(kernel.ok())
        };
        self.on_vectors(sources, operands, &schedule)
    }

    /// What `schedule` gives for `sources`; operands that only lie in the way of vectors are brought into row-major
    /// order first.
    fn on_vectors(
        &mut self,
        sources: &mut [(Source, Located)],
        operands: &[Value],
        schedule: &Scheduler<'_, Self>,
    ) -> Result<Option<Kernel>, LowerError> {
        let kernel = schedule(self, sources)?;
        let (Some(found), true) = (&kernel, self.target.vector.bits > 0) else { return Ok(kernel) };
        let dense = |k: usize| self.places[&operands[k]].is_dense(&self.graph.ty(operands[k]).shape);
        let scattered: Vec<usize> = (0..operands.len()).filter(|&k| !dense(k)).collect();
        if scattered.is_empty() {
            return Ok(kernel);
        }
        let copies: f64 = scattered.iter().map(|&k| self.copy_cycles(operands[k])).sum();
        let worth = |kernel: Kernel| {
            kernel.estimate.cycles(self.target) + copies < found.estimate.cycles(self.target)
        };
        let mut tried = sources.to_vec();
        for (source, place) in &mut tried {
            if let Source::Operand(k) = source
                && scattered.contains(k)
            {
                *place = Located::whole(place.buffer, self.graph.ty(operands[*k]));
            }
        }
        if !schedule(self, &tried)?.is_some_and(worth) {
            return Ok(kernel);
        }
        for (source, place) in sources.iter_mut() {
            if let Source::Operand(k) = source
                && scattered.contains(k)
            {
                *place = self.dense(operands[*k])?;
            }
        }
        schedule(self, sources)
    }

    /// What bringing a value into row-major order takes; nothing where somebody did already.
    fn copy_cycles(&self, value: Value) -> f64 {
        if self.copies.contains_key(&value) {
            return 0.0;
        }
        let (place, ty) = (&self.places[&value], self.graph.ty(value));
        let len = self.buffers[place.buffer].len;
        price::copy(ty, &place.view, len, &View::contiguous(&ty.shape), self.target)
    }

    fn schedule(
        &self,
        id: NodeId,
        op: &AnyOp,
        stage: &Stage,
        sources: &[(Source, Located)],
        place: &Located,
    ) -> Result<Kernel, LowerError> {
        let (described, destination) = (self.described(sources), self.destination(place));
        schedule::lower_with(&op.label(), stage, &described, &destination, self.target, self.records)
            .map_err(|unsupported| self.unsupported(id, &unsupported))
    }

    fn described(&self, sources: &[(Source, Located)]) -> Vec<Operand> {
        let operand = |(source, place): &(Source, Located)| {
            let buffer = &self.buffers[place.buffer];
            Operand {
                source: *source,
                dtype: buffer.dtype,
                view: place.view.clone(),
                len: buffer.len,
                constant: matches!(buffer.home, Home::Constant(_)),
            }
        };
        sources.iter().map(operand).collect()
    }

    fn destination(&self, place: &Located) -> Destination {
        Destination { view: place.view.clone(), len: self.buffers[place.buffer].len }
    }

    fn unsupported(&self, id: NodeId, unsupported: &schedule::math::Unsupported) -> LowerError {
        let nodes = self.graph.node(id).name.clone();
        LowerError { nodes, message: unsupported.to_string(), hint: None }
    }

    fn types(&self, values: &[Value]) -> Vec<TensorType> {
        self.graph.types(values)
    }

    fn call(
        &mut self,
        node: NodeId,
        kernel: Kernel,
        sources: &[(Source, Located)],
        place: &Located,
        op: &str,
        macs: u64,
    ) {
        let at = |source: &Source| {
            sources.iter().find(|(s, _)| s == source).map_or(place.buffer, |(_, l)| l.buffer)
        };
        let mut buffers = Vec::new();
        for (argument, formal) in kernel.arguments.iter().zip(&kernel.nest.buffers) {
            buffers.push(match argument {
                Argument::Source(source) => at(source),
                Argument::Result => place.buffer,
                Argument::Scratch(_) => self.buffer(Home::Arena, formal.dtype, formal.len),
                Argument::Packed { source, packing } => {
                    let home = Home::Packed { constant: at(source), packing: packing.clone() };
                    self.buffers.push(Buffer { home, dtype: formal.dtype, len: formal.len });
                    self.buffers.len() - 1
                }
            });
        }
        self.calls.push(Call { kernel, buffers, node, op: op.to_owned(), macs, copies: None });
    }

    /// A map stage of its own for one result of a view that is no matter of strides.
    fn compute(
        &mut self,
        id: NodeId,
        op: &AnyOp,
        value: Value,
        stage: &Stage,
        sources: &[(Source, Located)],
    ) -> Result<Located, LowerError> {
        let place = self.claimed_or_new(value);
        if stage.ty().elements() > 0 {
            let kernel = self.schedule(id, op, stage, sources, &place)?;
            self.call(id, kernel, sources, &place, &op.label(), 0);
        }
        Ok(place)
    }

    /// `value` in row-major order, copied there if it lies otherwise.
    fn dense(&mut self, value: Value) -> Result<Located, LowerError> {
        let (place, ty) = (self.places[&value].clone(), self.graph.ty(value).clone());
        if place.is_dense(&ty.shape) {
            return Ok(place);
        }
        if let Some(copy) = self.copies.get(&value) {
            return Ok(copy.clone());
        }
        let copy = Located::whole(self.buffer(Home::Arena, ty.dtype, ty.elements()), &ty);
        self.copy(value.node, place, copy.clone(), &ty, "its reader needs the elements in row-major order")?;
        self.copies.insert(value, copy.clone());
        Ok(copy)
    }

    fn copy(
        &mut self,
        node: NodeId,
        from: Located,
        to: Located,
        ty: &TensorType,
        why: &'static str,
    ) -> Result<(), LowerError> {
        if ty.elements() == 0 {
            return Ok(());
        }
        let index: Vec<Expr> = (0..ty.rank()).map(Expr::Axis).collect();
        let stage = Stage::map(ty.dtype, ty.shape.clone(), Expr::read(Source::Operand(0), index));
        let buffer = &self.buffers[from.buffer];
        let operand = Operand {
            source: Source::Operand(0),
            dtype: ty.dtype,
            view: from.view.clone(),
            len: buffer.len,
            constant: false,
        };
        let destination = Destination { view: to.view.clone(), len: self.buffers[to.buffer].len };
        let (target, records) = (self.target, self.records);
        let kernel = schedule::lower_with("copy", &stage, &[operand], &destination, target, records)
            .map_err(|unsupported| self.unsupported(node, &unsupported))?;
        self.call(node, kernel, &[(Source::Operand(0), from)], &to, "copy", 0);
        if let Some(call) = self.calls.last_mut() {
            call.copies = Some(why);
        }
        Ok(())
    }

    /// Copies the outputs that were not computed in their place.
    pub fn deliver_outputs(&mut self) -> Result<(), LowerError> {
        for (k, (_, value)) in self.graph.outputs().iter().enumerate() {
            let ty = self.graph.ty(*value).clone();
            let place = Located::whole(self.outputs[k], &ty);
            let from = self.places[value].clone();
            if !from.coincides(&place, &ty.shape) {
                self.copy(value.node, from, place, &ty, "an output lies in the caller's memory")?;
            }
        }
        Ok(())
    }
}
