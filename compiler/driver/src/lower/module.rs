//! Liveness, the arena's plan, the weights, and the module for code generation.

use std::collections::{BTreeMap, HashMap};

use codegen::Place;
use ir::{NodeKind, Tensor, Value};
use loops::Nest;
use rayon::prelude::*;

use super::buffers::Home;
use super::value::Lowering;
use super::{KernelReport, Lowered};

impl<'t> Lowering<'_, 't> {
    /// Lets a kernel write its result over an operand that nobody needs any more, where it reads each element of that
    /// operand only right before it writes the same place.
    pub(super) fn reuse_in_place(&mut self) {
        for at in 0..self.calls.len() {
            let uses = self.uses();
            let call = &self.calls[at];
            let Some(result) = call.kernel.result_argument() else { continue };
            let target = call.buffers[result];
            let dies_here = |buffer: usize| uses[buffer].is_some_and(|(_, last)| last == at);
            let reusable = |argument: &usize| {
                let buffer = call.buffers[*argument];
                *argument != result
                    && call.kernel.in_place[*argument]
                    && call.buffers.iter().filter(|&&b| b == buffer).count() == 1
                    && self.buffers[buffer].home == Home::Arena
                    && self.buffers[target].home == Home::Arena
                    && self.buffers[buffer].bytes() == self.buffers[target].bytes()
                    && self.buffers[buffer].dtype == self.buffers[target].dtype
                    && uses[target].is_some_and(|(first, _)| first == at)
                    && dies_here(buffer)
            };
            let Some(argument) = (0..call.buffers.len()).find(reusable) else { continue };
            let old = call.buffers[argument];
            let call = &mut self.calls[at];
            call.kernel.unite(argument);
            call.buffers.remove(argument);
            for call in &mut self.calls {
                for buffer in &mut call.buffers {
                    if *buffer == target {
                        *buffer = old;
                    }
                }
            }
        }
    }

    /// Per buffer the first and last call that touches it.
    fn uses(&self) -> Vec<Option<(usize, usize)>> {
        let mut uses: Vec<Option<(usize, usize)>> = vec![None; self.buffers.len()];
        for (at, call) in self.calls.iter().enumerate() {
            for &buffer in &call.buffers {
                uses[buffer] = Some((uses[buffer].map_or(at, |(first, _)| first), at));
            }
        }
        uses
    }

    /// Constants in the order in which kernels want them, by the buffers that hold them.
    fn packed(&self, uses: &[Option<(usize, usize)>]) -> HashMap<usize, Tensor> {
        let packed = |b: usize| {
            let Home::Packed { constant, packing } = &self.buffers[b].home else { return None };
            let Home::Constant(tensor) = &self.buffers[*constant].home else { return None };
            let flat = tensor.reshaped([tensor.ty.elements()]);
            Some((b, loops::evaluate(packing, &[&flat]).remove(0)))
        };
        (0..self.buffers.len()).into_par_iter().filter(|&b| uses[b].is_some()).filter_map(packed).collect()
    }

    pub(super) fn into_module(self, name: &str) -> Lowered<'t> {
        let uses = self.uses();
        let arena: Vec<usize> = (0..self.buffers.len())
            .filter(|&b| self.buffers[b].home == Home::Arena && uses[b].is_some())
            .collect();
        let align = (self.target.vector.bits as usize / 8).clamp(8, codegen::ALIGN);
        let live: Vec<memory::Buffer> = arena
            .iter()
            .filter_map(|&b| {
                let (first, last) = uses[b]?;
                Some(memory::Buffer { bytes: self.buffers[b].bytes(), align, first, last })
            })
            .collect();
        let plan = memory::plan(&live);
        debug_assert_eq!(memory::check(&live, &plan.offsets), Ok(()));
        let mut places: HashMap<usize, Place> =
            arena.iter().zip(&plan.offsets).map(|(&b, &offset)| (b, Place::Arena { offset })).collect();
        let mut packed = self.packed(&uses);
        let mut weights = Weights { align, ..Weights::default() };
        for (b, buffer) in self.buffers.iter().enumerate().filter(|&(b, _)| uses[b].is_some()) {
            let place = match &buffer.home {
                Home::Arena => continue,
                Home::Input(index) => Place::Input { index: *index, offset: 0 },
                Home::Output(index) => Place::Output { index: *index, offset: 0 },
                Home::Constant(tensor) => Place::Weights { offset: weights.add(tensor) },
                Home::Packed { .. } => match packed.remove(&b) {
                    Some(tensor) => Place::Weights { offset: weights.add(&tensor) },
                    None => continue,
                },
            };
            places.insert(b, place);
        }
        let mut kernels: Vec<Nest> = Vec::new();
        let mut without_matrices: BTreeMap<usize, Nest> = BTreeMap::new();
        let mut known: HashMap<Nest, usize> = HashMap::new();
        let (mut calls, mut reports) = (Vec::new(), Vec::new());
        for call in &self.calls {
            // Calls of the same loops over buffers of the same sizes share one function.
            let nest = Nest { name: String::new(), ..call.kernel.nest.clone() };
            let kernel = *known.entry(nest).or_insert_with(|| {
                let symbol = format!("k{}_{}", kernels.len(), call.op);
                if let Some(nest) = &call.kernel.without_matrices {
                    without_matrices.insert(kernels.len(), Nest { name: symbol.clone(), ..nest.clone() });
                }
                kernels.push(Nest { name: symbol, ..call.kernel.nest.clone() });
                kernels.len() - 1
            });
            calls.push(codegen::Call { kernel, arguments: call.buffers.iter().map(|b| places[b]).collect() });
            let bytes = |b: &usize| self.buffers[*b].bytes();
            let constant = |b: &&usize| matches!(places[b], Place::Weights { .. });
            reports.push(KernelReport {
                node: call.node,
                nodes: self.graph.node(call.node).name.clone(),
                op: call.op.clone(),
                symbol: format!("{name}_{}", kernels[kernel].name),
                macs: call.macs,
                bytes: call.buffers.iter().map(bytes).sum(),
                weights_bytes: call.buffers.iter().filter(constant).map(bytes).sum(),
                modelled_cycles: call.kernel.estimate.cycles(self.target).round() as u64,
                copies: call.copies,
                chosen: call.kernel.chosen.clone(),
                workloads: call.kernel.workloads.clone(),
            });
        }
        let input_type = |&id: &ir::NodeId| {
            (self.graph.node(id).name.clone(), self.graph.ty(Value { node: id, result: 0 }).clone())
        };
        debug_assert!(self.graph.inputs().iter().all(|&id| self.graph.node(id).kind == NodeKind::Input));
        let inputs: Vec<_> = self.graph.inputs().iter().map(input_type).collect();
        let outputs: Vec<_> =
            self.graph.outputs().iter().map(|(name, v)| (name.clone(), self.graph.ty(*v).clone())).collect();
        let module = codegen::Module {
            name: name.to_owned(),
            target: self.target,
            kernels,
            without_matrices,
            calls,
            inputs: inputs.len(),
            outputs: outputs.len(),
            weights: weights.bytes,
        };
        Lowered { module, arena_bytes: plan.arena_bytes, inputs, outputs, kernels: reports }
    }
}

/// The read-only data, each constant once.
#[derive(Default)]
struct Weights {
    bytes: Vec<u8>,
    align: usize,
    known: HashMap<std::sync::Arc<Vec<u8>>, usize>,
}

impl Weights {
    fn add(&mut self, tensor: &Tensor) -> usize {
        if let Some(&offset) = self.known.get(&tensor.data) {
            return offset;
        }
        self.bytes.resize(self.bytes.len().next_multiple_of(self.align), 0);
        let offset = self.bytes.len();
        self.bytes.extend_from_slice(&tensor.data);
        self.known.insert(tensor.data.clone(), offset);
        offset
    }
}
