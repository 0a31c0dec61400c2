//! The schedules of a workload that are worth a try, and how a search moves among them.
//!
//! A point is put together from a register tile and what stands around it: what the default would choose for that tile,
//! or anything else that is legal. Every point that comes out is legal.

use std::borrow::Cow;

use fastrand::Rng;
use targets::Target;

use crate::choose::{self, folds_along, lanes, runs_along};
use crate::flat::Flat;
use crate::legal::{self, MOST_ELEMENTS};
use crate::{Loop, Schedule, Winograd, Workload, dot, estimate, features, winograd};

/// Tries to make a legal point before the default is taken.
const TRIES: usize = 16;

/// Of a register tile: more rows or vectors than any machine has registers for are of no use.
const MOST_ROWS: usize = 32;
const MOST_VECTORS: usize = 8;

const MOST_UNROLL: usize = 16;

/// Steps of single accumulators that a point writes out at most: about 16 KB of code, half of a usual instruction cache.
/// What measures instructions or static cycles would take more, for it counts no misses: a matrix-vector product over 640
/// channels was once written out in full, in 40 KB of code that kept the vector in 9 KB of stack.
const MOST_WRITTEN: usize = 1 << 12;

/// The schedules of one workload on one target.
pub struct Space<'a> {
    workload: Workload,
    flat: Flat,
    target: Cow<'a, Target>,
    default: Schedule,
    /// Axes that vectors may run along, with the most lanes.
    vectors: Vec<(usize, usize)>,
    winograd: Vec<Winograd>,
    /// Register tiles of matrix registers.
    matrices: Vec<Schedule>,
}

/// What a schedule is put together from.
#[derive(Clone, Copy)]
enum Gene {
    Winograd,
    Vectors,
    Tile,
    Unroll,
    Unrolled,
    Order,
    Panels,
    Prefetch,
    Parallel,
}

const GENES: [Gene; 9] = [
    Gene::Winograd,
    Gene::Vectors,
    Gene::Tile,
    Gene::Unroll,
    Gene::Unrolled,
    Gene::Order,
    Gene::Panels,
    Gene::Prefetch,
    Gene::Parallel,
];

impl<'a> Space<'a> {
    pub fn new(workload: &Workload, target: &'a Target) -> Space<'a> {
        let flat = workload.flat();
        let target = if workload.is_part() { target.on_one_thread() } else { Cow::Borrowed(target) };
        let widest = lanes(&flat, &target);
        let along = |axis: usize| {
            let fits = |wide: usize| match flat.axes[axis].reduction {
                true => wide > 1 && folds_along(&flat, axis, wide),
                false => runs_along(&flat, axis, wide),
            };
            let most = widest.min(flat.axes[axis].extent.next_power_of_two());
            std::iter::successors(Some(most), |wide| Some(wide / 2))
                .take_while(|&wide| wide > 0)
                .find(|&w| fits(w))
        };
        let vectors = (0..flat.axes.len()).filter_map(|axis| Some((axis, along(axis)?))).collect();
        let default = workload.default_schedule(&flat, &target);
        let plain = choose::default_schedule(&flat, &target);
        let (winograd, matrices) = match workload.is_part() {
            true => (vec![], vec![]),
            false => (winograd::usual_forms(&flat, &target), choose::matrix_forms(&flat, &plain, &target)),
        };
        Space { workload: workload.clone(), flat, target, default, vectors, winograd, matrices }
    }

    /// The schedule that is taken where nothing else is known.
    pub fn default_schedule(&self) -> &Schedule {
        &self.default
    }

    /// Whether the default is legal, so that others can be held against it, and there are others.
    pub fn is_open(&self) -> bool {
        self.is_legal(&self.default) && !self.flat.axes.is_empty()
    }

    pub fn is_legal(&self, schedule: &Schedule) -> bool {
        self.workload.allows(schedule, &self.flat, &self.target).is_ok()
    }

    /// Modelled cycles of all threads together, with those that they wait.
    pub fn estimate(&self, schedule: &Schedule) -> f64 {
        let cycles = estimate::of(&self.flat, schedule, &self.target).cycles(&self.target);
        cycles * choose::uneven(&self.flat, schedule, &self.target)
    }

    /// What a learned model can tell schedules of this workload apart by: as many numbers for each.
    pub fn features(&self, schedule: &Schedule) -> Vec<f64> {
        features::of(&self.flat, schedule, &self.target)
    }

    /// A point from anywhere.
    pub fn sample(&self, random: &mut Rng) -> Schedule {
        self.legal(random, |space, random| {
            let mut point = Schedule { winograd: None, ..space.default.clone() };
            for gene in [Gene::Winograd, Gene::Vectors, Gene::Tile] {
                space.draw(gene, &mut point, random);
            }
            // What the default would choose around this tile, and then some of it otherwise.
            space.around(&mut point);
            for gene in &GENES[3..] {
                if random.f64() < 0.3 {
                    space.draw(*gene, &mut point, random);
                }
            }
            point
        })
    }

    /// A point beside another one.
    pub fn mutate(&self, schedule: &Schedule, random: &mut Rng) -> Schedule {
        self.legal(random, |space, random| {
            let mut point = schedule.clone();
            for _ in 0..random.usize(1..=2) {
                space.draw(GENES[random.usize(..GENES.len())], &mut point, random);
            }
            if random.f64() < 0.3 {
                space.around(&mut point);
            }
            point
        })
    }

    /// A point with something of both.
    pub fn cross(&self, a: &Schedule, b: &Schedule, random: &mut Rng) -> Schedule {
        self.legal(random, |_, random| {
            let mut pick = || if random.bool() { a } else { b };
            let (vectors, tile, unroll, order) = (pick(), pick(), pick(), pick());
            Schedule {
                vector_axis: vectors.vector_axis,
                lanes: vectors.lanes,
                vectors: vectors.vectors,
                tile_axis: tile.tile_axis,
                tile: tile.tile,
                unroll: unroll.unroll,
                group: vectors.group,
                matrix: tile.matrix,
                unrolled_axes: unroll.unrolled_axes.clone(),
                order: order.order.clone(),
                parallel: order.parallel,
                prefetch: pick().prefetch,
                winograd: pick().winograd,
            }
        })
    }

    /// What `make` gives when it is put in order and legal; the default if it never is.
    fn legal(&self, random: &mut Rng, make: impl Fn(&Self, &mut Rng) -> Schedule) -> Schedule {
        for _ in 0..TRIES {
            let mut point = make(self, random);
            self.put_in_order(&mut point);
            if self.is_legal(&point) && legal::written(&point, &self.flat) <= MOST_WRITTEN {
                return point;
            }
        }
        self.default.clone()
    }

    fn draw(&self, gene: Gene, point: &mut Schedule, random: &mut Rng) {
        let flat = &self.flat;
        match gene {
            Gene::Winograd => {
                let direct = self.winograd.is_empty() || random.bool();
                point.winograd = (!direct).then(|| self.winograd[random.usize(..self.winograd.len())]);
            }
            Gene::Vectors => {
                let Some(&(axis, most)) = choice(&self.vectors, random) else { return };
                point.vector_axis = Some(axis);
                // Narrower vectors seldom pay.
                point.lanes = if random.f64() < 0.85 { most } else { (most / 2).max(1) };
                let extent = flat.axes[axis].extent;
                let reduction = flat.axes[axis].reduction;
                let columns = if reduction { extent / point.lanes } else { extent.div_ceil(point.lanes) };
                point.vectors = random.usize(1..=columns.clamp(1, MOST_VECTORS));
            }
            Gene::Tile if !self.matrices.is_empty() && random.bool() => {
                let Some(form) = choice(&self.matrices, random) else { return };
                *point =
                    Schedule { winograd: point.winograd, ..choose::around(&self.flat, form, &self.target) };
            }
            Gene::Tile => {
                let rows: Vec<usize> =
                    flat.axes_where(false).filter(|&axis| Some(axis) != point.vector_axis).collect();
                point.tile_axis = choice(&rows, random).copied();
                let extent = point.tile_axis.map_or(1, |axis| flat.axes[axis].extent);
                let most = (MOST_ELEMENTS / point.vectors.max(1)).clamp(1, MOST_ROWS).min(extent);
                point.tile = random.usize(1..=most);
                // Tiles that leave nothing over are likelier to be good.
                if random.bool() {
                    let even = (1..=point.tile).rev().find(|&tile| extent.is_multiple_of(tile));
                    point.tile = even.unwrap_or(1);
                }
            }
            Gene::Unroll => {
                let innermost =
                    flat.axes_where(true).next_back().map_or(1, |axis| flat.axes[axis].extent / point.group);
                let divisors: Vec<usize> =
                    (1..=MOST_UNROLL).filter(|&unroll| innermost.is_multiple_of(unroll)).collect();
                point.unroll = choice(&divisors, random).copied().unwrap_or(1);
            }
            Gene::Unrolled => {
                let inner: Vec<usize> =
                    flat.axes_where(true).filter(|&axis| Some(axis) != point.vector_axis).collect();
                point.unrolled_axes = inner[random.usize(..=inner.len())..].to_vec();
            }
            Gene::Order => {
                let mut axes: Vec<Loop> = flat.axes_where(false).map(Loop::Axis).collect();
                random.shuffle(&mut axes);
                let panels = point.order.iter().filter(|step| matches!(step, Loop::Panel { .. })).copied();
                point.order = panels.chain(axes).collect();
            }
            Gene::Panels => {
                point.order.retain(|step| matches!(step, Loop::Axis(_)));
                let rows: Vec<usize> = flat
                    .axes_where(false)
                    .filter(|&axis| Some(axis) != point.vector_axis && flat.axes[axis].extent > 2)
                    .collect();
                if let Some(&axis) = choice(&rows, random).filter(|_| random.bool()) {
                    let step = flat.axes[axis].extent.div_ceil(random.usize(2..=8));
                    point.order.insert(0, Loop::Panel { axis, step });
                }
            }
            Gene::Prefetch => point.prefetch = random.bool(),
            Gene::Parallel => point.parallel = self.target.threads > 1 && random.f64() < 0.8,
        }
    }

    /// Gives the point what the default chooses for its register tile.
    fn around(&self, point: &mut Schedule) {
        let filled = choose::around(&self.flat, point, &self.target);
        *point = Schedule { winograd: point.winograd, ..filled };
    }

    /// Makes the parts fit each other: what came from elsewhere may name an axis twice, or more than there is.
    fn put_in_order(&self, point: &mut Schedule) {
        // Another tile, or other vectors, may have no use for them.
        point.matrix = point.matrix.filter(|_| choose::is_legal_matrix(point, &self.flat, &self.target));
        if point.matrix.is_none() {
            let fitting = dot::fitting(&self.flat, point.vector_axis, point.lanes, &self.target);
            point.group = fitting.map_or(1, |dot| dot.group);
        }
        let extent = |axis: usize| self.flat.axes.get(axis).map_or(1, |axis| axis.extent);
        let vector_axis = point.vector_axis;
        if point.tile_axis == vector_axis {
            (point.tile_axis, point.tile) = (None, 1);
        }
        point.unrolled_axes.retain(|&axis| Some(axis) != vector_axis);
        let mut order: Vec<Loop> = Vec::new();
        for step in &point.order {
            match *step {
                Loop::Axis(axis) if Some(axis) == vector_axis && self.flat.axes[axis].reduction => (),
                Loop::Panel { axis, step } => {
                    let unit = if Some(axis) == point.tile_axis { point.tile } else { 1 };
                    let step = step.next_multiple_of(unit);
                    if Some(axis) != vector_axis && step < extent(axis) {
                        order.push(Loop::Panel { axis, step });
                    }
                }
                step => order.push(step),
            }
        }
        let missing = self.flat.axes_where(false).map(Loop::Axis).filter(|step| !order.contains(step));
        order.extend(missing.collect::<Vec<_>>());
        point.order = order;
        point.parallel &= self.target.threads > 1;
    }
}

fn choice<'t, T>(of: &'t [T], random: &mut Rng) -> Option<&'t T> {
    if of.is_empty() { None } else { of.get(random.usize(..of.len())) }
}
