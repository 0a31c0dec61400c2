//! What a kernel takes under its default schedule, before it is written.
//!
//! The register tile decides: how many multiply-adds and loads one reduction step of it takes, and how often it is run.
//! Beside that stand the bytes that come from far away. Figures are cycles of the target's own description; they are
//! made for comparing one form of a computation with another.

use loops::affine::Affine;
use loops::{Binary, Definition, Expr, Fold, Source, Stage};
use targets::{Costs, Target};

use crate::choose::{self, Loads};
use crate::emit::guard::{self, Guard};
use crate::flat::{Axis, Flat};
use crate::{Destination, Matrix, Operand, Schedule, View, dot, winograd};

/// Cycles, by what they are spent on.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Estimate {
    /// Instructions, with data in the nearest cache.
    pub compute: f64,
    /// Waiting for bytes from farther away.
    pub memory: f64,
    pub start: f64,
}

impl Estimate {
    /// All of it on `target`: a machine that looks ahead waits for memory while it computes.
    pub fn cycles(&self, target: &Target) -> f64 {
        let (more, less) = (self.compute.max(self.memory), self.compute.min(self.memory));
        self.start + more + if target.costs.overlap { NOT_HIDDEN * less } else { less }
    }
}

/// How much of the lesser of computing and waiting is not hidden behind the other.
const NOT_HIDDEN: f64 = 0.2;

/// Cycles until the sum of a product of matrix registers is there for the next one (tdpbf16ps on Sapphire Rapids, by
/// uops.info).
const PRODUCT: f64 = 52.0;

/// Of a loop's increment, comparison and branch.
const LOOP: f64 = 2.0;

/// Points over which the share of steps that a guard lets through is counted; beyond them all count.
const MOST_POINTS: usize = 100_000;

/// The estimate of `stage` as [`crate::lower`] would write it.
pub fn estimate(stage: &Stage, operands: &[Operand], result: &Destination, target: &Target) -> Estimate {
    let flat = Flat::new(stage, operands, result);
    of(&flat, &choose::cheapest(&flat, target), target)
}

pub(crate) fn of(flat: &Flat, schedule: &Schedule, target: &Target) -> Estimate {
    if let Some(estimate) = schedule.winograd.and_then(|form| winograd::of(flat, form, target)) {
        return estimate;
    }
    let kernel = Modelled::new(flat, schedule, target);
    Estimate { compute: kernel.compute(), memory: kernel.memory(), start: target.costs.start }
}

/// The estimate of all stages of a definition as one kernel, [`crate::lower_rows`]: what lies between them stays near.
pub fn estimate_rows(
    definition: &Definition,
    operands: &[Operand],
    result: &Destination,
    target: &Target,
) -> Estimate {
    let target = &*target.on_one_thread();
    let mut sum = Estimate { start: target.costs.start, ..Estimate::default() };
    let mut sources = operands.to_vec();
    for (k, stage) in definition.stages.iter().enumerate() {
        let ty = stage.ty();
        let view = View::contiguous(&ty.shape);
        let inner = Destination { view: view.clone(), len: ty.elements() };
        let is_last = k + 1 == definition.stages.len();
        let flat = Flat::new(stage, &sources, if is_last { result } else { &inner });
        let schedule = choose::default_schedule(&flat, target);
        sum.compute += Modelled::new(&flat, &schedule, target).compute();
        if is_last {
            sum.memory += travel(ty.bytes(), false, target);
        }
        let (dtype, len) = (ty.dtype, ty.elements());
        sources.push(Operand { source: Source::Stage(k), dtype, view, len, constant: false });
    }
    for operand in operands {
        sum.memory += travel(operand.len * operand.dtype.bytes(), operand.constant, target);
    }
    sum
}

pub(crate) struct Modelled<'a> {
    flat: &'a Flat,
    schedule: &'a Schedule,
    target: &'a Target,
    costs: &'a Costs,
    guards: Vec<Guard>,
    body: Expr,
}

impl<'a> Modelled<'a> {
    pub(crate) fn new(flat: &'a Flat, schedule: &'a Schedule, target: &'a Target) -> Modelled<'a> {
        let (guards, body) = guard::of(flat);
        Modelled { flat, schedule, target, costs: &target.costs, guards, body }
    }

    /// Over the whole domain: each register tile's reduction, and its results.
    pub(crate) fn compute(&self) -> f64 {
        let (flat, schedule) = (self.flat, self.schedule);
        let Some(vector_axis) = schedule.vector_axis else { return self.alone() };
        let horizontal = flat.axes[vector_axis].reduction;
        let extent = |axis: usize| flat.axes[axis].extent;
        let columns =
            if horizontal { schedule.vectors } else { extent(vector_axis).div_ceil(schedule.lanes) };
        let rows = schedule.tile_axis.map_or(1, extent);
        let grouped = flat.axes_where(true).next_back();
        let tiled = |axis: &usize| *axis != vector_axis && Some(*axis) != schedule.tile_axis;
        let tiles: usize = flat.axes_where(false).filter(tiled).map(extent).product();
        let mut steps: f64 = flat
            .axes_where(true)
            .filter(|&axis| axis != vector_axis)
            .map(
                |axis| {
                    if Some(axis) == grouped { extent(axis).div_ceil(schedule.group) } else { extent(axis) }
                },
            )
            .map(|steps| steps as f64)
            .product();
        if horizontal {
            steps *= (extent(vector_axis) as f64 / (schedule.lanes * schedule.vectors) as f64).ceil();
        }
        let held: f64 = self.guards.iter().map(|guard| share(guard, &flat.axes)).product();
        let body = Loads::of_body(&self.body, flat, schedule, self.target);
        let axes = (Some(vector_axis), schedule.tile_axis);
        let finish = Loads::of(&flat.finish, &flat.operands, axes, 1, self.target);
        let parts = |extent: usize, step: usize| {
            [(extent / step, step), (usize::from(!extent.is_multiple_of(step)), extent % step)]
        };
        let mut cycles = 0.0;
        for (row_tiles, tile) in parts(rows, schedule.tile) {
            for (column_tiles, vectors) in parts(columns, schedule.vectors) {
                let reduced = match (flat.fold, schedule.matrix) {
                    (Some(_), Some(matrix)) => steps * held * self.products(matrix, (tile, rows), vectors),
                    (Some(fold), None) => {
                        steps * held * self.step(&body, self.folding(fold, &body), tile, vectors)
                    }
                    (None, _) => self.step(&body, body.operations as f64, tile, vectors),
                };
                // Lanes of a row are added up in a few steps; then there is one result.
                let (results, folded) = if horizontal { (1, 6.0 * tile as f64) } else { (vectors, 0.0) };
                let through_memory =
                    if schedule.matrix.is_some() { 1.5 * (tile * vectors) as f64 } else { 0.0 };
                let finished = self.finish(&finish, tile, results) + folded + through_memory;
                cycles += (row_tiles * column_tiles) as f64 * (reduced + finished);
            }
        }
        tiles as f64 * cycles
    }

    /// Without an axis to go along: element after element.
    fn alone(&self) -> f64 {
        let points: f64 = self.flat.axes.iter().map(|axis| axis.extent as f64).product();
        let body = Loads::of(&self.body, &self.flat.operands, (None, None), 1, self.target);
        let loads = self.flat.loads().len() as f64;
        points * self.scalar(body.operations as f64 + 1.0, loads + 1.0)
    }

    /// Operations of one element in one step: the fold itself is part of a multiply-add where the body is a product.
    fn folding(&self, fold: Fold, body: &Loads) -> f64 {
        let product = matches!(self.body, Expr::Binary(Binary::Mul, ..));
        let fused = fold == Fold::Sum && product && (self.target.float.fma || !self.flat.folded.is_float());
        (body.operations + usize::from(!fused)) as f64
    }

    /// One step of a register tile: `operations` per element.
    fn step(&self, loads: &Loads, operations: f64, tile: usize, vectors: usize) -> f64 {
        let elements = (tile * vectors) as f64;
        let loaded = loads.in_step(tile, vectors);
        let (per_row, per_vector) = (loads.row_operations as f64, loads.vector_operations as f64);
        let per_element = operations - per_row - per_vector;
        let operations = per_element * elements + per_row * tile as f64 + per_vector * vectors as f64;
        if self.schedule.lanes == 1 {
            return self.scalar(operations, loaded) + LOOP / self.costs.issue;
        }
        // What is computed for a row goes into all lanes.
        let broadcasts = if per_row > 0.0 { tile as f64 } else { 0.0 };
        // A reduction's steps wait for one another, those of a map do not.
        let wait = if self.flat.fold.is_some() { self.costs.latency } else { 0.0 };
        ((operations + broadcasts) / self.costs.vector).max(loaded / self.costs.loads).max(wait)
            + LOOP / self.costs.issue / 4.0
    }

    /// One group of steps of a register tile on matrix registers: its share of a product of whole depth. Rows that are
    /// left of the accumulators go as vectors. Where rows at the map's edges may be missing, they are put together one by
    /// one.
    fn products(&self, matrix: Matrix, (tile, rows): (usize, usize), vectors: usize) -> f64 {
        let Schedule { vector_axis, lanes, group, .. } = *self.schedule;
        let Some(instruction) = dot::matrix(self.flat, vector_axis, lanes, self.target) else {
            return f64::INFINITY;
        };
        let (blocks, left) = (tile / matrix.rows, tile % matrix.rows);
        let groups = (matrix.depth / group) as f64;
        let tile_axis = self.schedule.tile_axis;
        let edges = self.guards.iter().any(|guard| tile_axis.is_some_and(|axis| guard.asks(axis)));
        let at_edges = if edges { (2 * tile) as f64 / rows.max(2 * tile) as f64 } else { 0.0 };
        let of_rows = blocks as f64 * matrix.rows as f64 * (1.0 + 2.0 * at_edges);
        let loaded = of_rows + vectors as f64 * groups;
        let begun = (blocks * vectors) as f64 * f64::from(instruction.cycles);
        let multiplied = if blocks == 0 { 0.0 } else { begun.max(PRODUCT) };
        let whole = multiplied.max(loaded / self.costs.loads) + LOOP / self.costs.issue;
        whole / groups + (left * vectors) as f64
    }

    /// The epilogue and the stores of a register tile.
    fn finish(&self, loads: &Loads, tile: usize, vectors: usize) -> f64 {
        let elements = (tile * vectors) as f64;
        let loaded = (loads.rows * tile + loads.vectors * vectors) as f64 + loads.both as f64 * elements;
        let operations = loads.operations as f64 * elements;
        match self.schedule.lanes {
            1 => self.scalar(operations, loaded + elements),
            _ => operations / self.costs.vector + (loaded + elements) / self.costs.loads,
        }
    }

    fn scalar(&self, operations: f64, accesses: f64) -> f64 {
        let operation = if self.flat.folded.is_float() { self.target.float_cycles() } else { 1.0 };
        operations * operation.max(1.0 / self.costs.issue) + accesses / self.costs.issue
    }

    /// Every byte once from where it lies: what an earlier kernel made in the nearest cache that holds it, constants in
    /// the last one; on machines without caches, wait states at every access.
    fn memory(&self) -> f64 {
        let result = self.flat.axes_where(false).map(|axis| self.flat.axes[axis].extent).product::<usize>();
        let mut cycles = travel(result * self.flat.dtype.bytes(), false, self.target);
        let mut seen: Vec<u32> = Vec::new();
        for (buffer, address) in self.flat.loads() {
            let operand = &self.flat.operands[buffer.0 as usize];
            if self.costs.constant_wait > 0.0 && operand.constant {
                cycles += self.accesses(&address) * self.costs.constant_wait;
            } else if !seen.contains(&buffer.0) {
                let bytes = self.flat.footprint(&address).min(operand.len) * operand.dtype.bytes();
                cycles += travel(bytes, operand.constant, self.target);
            }
            seen.push(buffer.0);
        }
        cycles
    }

    /// Loads of an address: once per row or vector of the register tile, not per element of it.
    fn accesses(&self, address: &Affine) -> f64 {
        let all: f64 = self.flat.axes.iter().map(|axis| axis.extent as f64).product();
        let shared = |axis: Option<usize>, by: usize| match axis {
            Some(axis) if address.coefficient(&Expr::Axis(axis)) == 0 => by as f64,
            _ => 1.0,
        };
        let rows = shared(self.schedule.tile_axis, self.schedule.tile);
        let vectors = shared(self.schedule.vector_axis, self.schedule.vectors);
        all / (rows * vectors * self.schedule.lanes as f64)
    }
}

/// Cycles for bytes to come from, or go to, where tensors of their size lie. Constants come from the last cache, or, as
/// each is one of many, from memory if even the second cache can't hold one alone.
pub(crate) fn travel(bytes: usize, constant: bool, target: &Target) -> f64 {
    let caches = &target.caches;
    let near = caches.iter().position(|cache| 2 * bytes <= cache.bytes);
    let afar = constant && caches.get(1).is_some_and(|cache| bytes > cache.bytes);
    match if constant { near.filter(|_| !afar).map(|_| caches.len() - 1) } else { near } {
        // The nearest cache is what `compute` counts with.
        Some(0) => 0.0,
        Some(level) => bytes as f64 / caches[level].bytes_per_cycle,
        None if caches.is_empty() => 0.0,
        None => bytes as f64 / target.costs.memory,
    }
}

/// The share of the points at which a guard holds.
fn share(guard: &Guard, axes: &[Axis]) -> f64 {
    let Some(sum) = &guard.sum else { return 1.0 };
    let mut values = vec![sum.offset];
    for (atom, &coefficient) in &sum.terms {
        let Expr::Axis(axis) = atom else { return 1.0 };
        let extent = axes[*axis].extent;
        if values.len() * extent > MOST_POINTS {
            return 1.0;
        }
        values = values.iter().flat_map(|&v| (0..extent as i64).map(move |k| v + coefficient * k)).collect();
    }
    values.iter().filter(|&&value| value >= 0).count() as f64 / values.len() as f64
}
