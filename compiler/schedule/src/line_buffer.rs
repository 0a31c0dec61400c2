//! Stages of a definition computed into one another row by row: of what lies between two of them only the rows that the
//! later one looks at exist, in a ring.
//!
//! Each stage is lowered as usual, for one row of its domain; the row's number is a loop variable around it. On several
//! threads each takes neighbouring rows of the result, with rings of its own; the rows that two of them look at are
//! computed twice.

use loops::affine::Affine;
use loops::{Compare, Definition, Expr, Source, Stage, Stmt};
use targets::Target;

use crate::choose::{self, WORTH_THREADS};
use crate::estimate::{Modelled, travel};
use crate::flat::Flat;
use crate::join::Joined;
use crate::workload::Around;
use crate::{Argument, Destination, Estimate, Kernel, Operand, Records, Unfit, View, Workload, lower_part};

/// Loops for a chain of stages, each reading the one before at a window of rows that moves down: a depthwise
/// convolution in its pointwise consumer, an expansion in its depthwise consumer, or all three.
///
/// `rows` is the axis of all stages' domains that is walked; `operands` are the definition's, without its stages. The
/// last stage is the only result, and goes to `result`. Each stage is arranged as `records` say, or else by default.
pub fn line_buffer(
    name: &str,
    definition: &Definition,
    rows: usize,
    operands: &[Operand],
    result: &Destination,
    target: &Target,
    records: &Records,
) -> Result<Kernel, Unfit> {
    let estimate = estimate_lines(definition, rows, operands, result, target)?;
    let chain = Chain::new(definition, rows, operands, result, target)?;
    let last = definition.stages.len() - 1;
    let places = (0..last).map(Argument::Scratch).chain([Argument::Result]).collect();
    let height = chain.extent(last)?;
    let threads = if estimate.cycles(target) >= WORTH_THREADS { target.threads } else { 1 };
    let known = Chain::new(definition, rows, operands, result, target)?;
    let mut writer = Writer { name, chain: chain.apart(), known, records, joined: Joined::new(vec![]) };
    let mut joined = Joined::new(places);
    let body = joined.shared_out(height, threads, |joined, from, to| {
        std::mem::swap(&mut writer.joined, joined);
        let body = writer.rows_of(last, from.clone(), to, from);
        std::mem::swap(&mut writer.joined, joined);
        body
    })?;
    Ok(joined.into_kernel(name, body, estimate))
}

/// What [`line_buffer`] would take.
pub fn estimate_lines(
    definition: &Definition,
    rows: usize,
    operands: &[Operand],
    result: &Destination,
    target: &Target,
) -> Result<Estimate, Unfit> {
    let chain = Chain::new(definition, rows, operands, result, target)?;
    let target = &*target.on_one_thread();
    let mut estimate = Estimate { start: target.costs.start, ..Estimate::default() };
    let constant = |operand: &&Operand| operand.constant;
    let bytes = |operand: &Operand| operand.len * operand.dtype.bytes();
    let weights: usize = operands.iter().filter(constant).map(bytes).sum();
    for (k, stage) in definition.stages.iter().enumerate() {
        let (operands, result) = chain.beside(k);
        let flat = Flat::new(&chain.one_row(k), &operands, &result);
        let schedule = choose::default_schedule(&flat, target);
        let height = chain.extent(k)? as f64;
        estimate.compute += height * (Modelled::new(&flat, &schedule, target).compute() + START_OF_ROW);
        let ring: usize = chain.kept(k).iter().product::<usize>() * stage.dtype.bytes();
        let row = (ring / chain.kept(k).get(rows).copied().unwrap_or(1).max(1)) as f64;
        if k + 1 == definition.stages.len() {
            estimate.memory += travel(stage.ty().bytes(), false, target);
        } else if ring > 0 {
            // Each row is written once, and read once for every row of its window.
            estimate.memory += height * 2.0 * travel(ring, false, target) * row / ring as f64;
        }
        // All weights pass by for every row, from the second cache if they fit there.
        let near = target.caches.get(1).is_some_and(|cache| 2 * weights <= cache.bytes);
        let own: usize = reads_of(stage, operands.iter().filter(|operand| operand.constant)).map(bytes).sum();
        let again = if near { travel(own, false, target) } else { travel(own, true, target) };
        estimate.memory += travel(own, true, target) + (height - 1.0) * again;
    }
    let moving = operands.iter().filter(|operand| !operand.constant);
    estimate.memory += moving.map(|operand| travel(bytes(operand), false, target)).sum::<f64>();
    Ok(estimate)
}

/// Cycles of beginning a row of a stage: its addresses, the pipeline of its loops filled again.
const START_OF_ROW: f64 = 40.0;

/// Those of `operands` that a stage reads.
fn reads_of<'a>(
    stage: &'a Stage,
    operands: impl Iterator<Item = &'a Operand> + 'a,
) -> impl Iterator<Item = &'a Operand> + 'a {
    operands.filter(|operand| {
        [Some(&stage.body), stage.finish.as_ref()].into_iter().flatten().any(|expr| {
            expr.any(&mut |node| matches!(node, Expr::Read { source, .. } if *source == operand.source))
        })
    })
}

/// The rows of the stage before that row `p` of a stage reads: `step · p + low ..= step · p + high`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    step: i64,
    low: i64,
    high: i64,
}

impl Window {
    fn of(stage: &Stage, before: usize, rows: usize) -> Result<Window, Unfit> {
        let mut windows = Vec::new();
        for expr in [Some(&stage.body), stage.finish.as_ref()].into_iter().flatten() {
            expr.any(&mut |node| {
                if let Expr::Read { source: Source::Stage(k), index } = node {
                    windows.push(if *k == before { Window::of_index(stage, index, rows) } else { None });
                }
                false
            });
        }
        let unfit =
            || Unfit(format!("stage {} does not read stage {before} at a window of rows", before + 1));
        let windows: Vec<Window> = windows.into_iter().collect::<Option<_>>().ok_or_else(unfit)?;
        let all = windows.into_iter().map(Some).reduce(|a, b| {
            let (a, b) = (a?, b?);
            (a.step == b.step).then(|| Window { low: a.low.min(b.low), high: a.high.max(b.high), ..a })
        });
        let window = all.flatten().ok_or_else(unfit)?;
        // Rows are computed one after the other; none is left out.
        if window.step < 1 || window.step > window.len() { Err(unfit()) } else { Ok(window) }
    }

    fn of_index(stage: &Stage, index: &[Expr], rows: usize) -> Option<Window> {
        let rank = stage.domain.len();
        let sum = Affine::of(index.get(rows)?);
        let coefficients = sum.over_axes(rank + stage.reduction.len())?;
        let mut window = Window { step: coefficients[rows], low: sum.offset, high: sum.offset };
        for (axis, &coefficient) in coefficients.iter().enumerate().filter(|(axis, _)| *axis != rows) {
            let extent = match axis.checked_sub(rank) {
                Some(reduction) => stage.reduction[reduction],
                None if coefficient != 0 => return None,
                None => continue,
            };
            let reach = coefficient * (extent as i64 - 1);
            window.low += reach.min(0);
            window.high += reach.max(0);
        }
        Some(window)
    }

    /// Rows that must be there at once.
    fn len(self) -> i64 {
        self.high - self.low + 1
    }
}

struct Chain<'a> {
    definition: &'a Definition,
    rows: usize,
    target: &'a Target,
    operands: &'a [Operand],
    result: &'a Destination,
    /// `windows[k]`: what stage `k + 1` reads of stage `k`.
    windows: Vec<Window>,
    /// `gaps[k]`: elements between the rows of stage `k`'s ring.
    gaps: Vec<usize>,
}

/// Bytes between the rows of a ring that is larger than the first cache, on processors that fetch ahead: behind the end of
/// the row that they are at they would fetch the one that is written next. MobileNetV2's second block takes 0.96 of its time on
/// an AMD Zen 3 by 768 bytes and more; fewer gain nothing, and so do they for rings that are near.
const APART: usize = 1024;

impl<'a> Chain<'a> {
    fn new(
        definition: &'a Definition,
        rows: usize,
        operands: &'a [Operand],
        result: &'a Destination,
        target: &'a Target,
    ) -> Result<Chain<'a>, Unfit> {
        if definition.results != [definition.stages.len() - 1] {
            return Err(Unfit("only the last stage may be a result".to_string()));
        }
        let later = definition.stages.iter().enumerate().skip(1);
        let windows = later.map(|(k, stage)| Window::of(stage, k - 1, rows)).collect::<Result<_, Unfit>>()?;
        let gaps = vec![0; definition.stages.len()];
        Ok(Chain { definition, rows, target, operands, result, windows, gaps })
    }

    /// The same with rows of rings as far from each other as it is best for the machine.
    fn apart(mut self) -> Chain<'a> {
        let Some(cache) = self.target.caches.first().filter(|_| self.target.costs.overlap) else {
            return self;
        };
        for stage in 0..self.windows.len() {
            let (shape, dtype) = (self.kept(stage), self.definition.stages[stage].dtype);
            if shape[self.rows] > 1 && shape.iter().product::<usize>() * dtype.bytes() > cache.bytes {
                self.gaps[stage] = APART / dtype.bytes();
            }
        }
        self
    }

    fn extent(&self, stage: usize) -> Result<usize, Unfit> {
        let domain = &self.definition.stages[stage].domain;
        domain
            .get(self.rows)
            .copied()
            .ok_or_else(|| Unfit(format!("stage {stage} has no axis {}", self.rows)))
    }

    /// The shape that a stage is kept in: the ring's rows, or all of the last stage's.
    fn kept(&self, stage: usize) -> Vec<usize> {
        let mut shape = self.definition.stages[stage].domain.clone();
        if let (Some(extent), Some(window)) = (shape.get_mut(self.rows), self.windows.get(stage)) {
            *extent = window.len() as usize;
        }
        shape
    }

    /// Where the rows of a stage are kept, and elements of that memory.
    fn ring(&self, stage: usize) -> (View, usize) {
        let mut padded = self.kept(stage);
        let inner = padded.split_off(self.rows + 1);
        let mut view = View::contiguous(&inner);
        padded.push(inner.iter().product::<usize>() + self.gaps[stage]);
        let outer = View::contiguous(&padded).strides;
        view.strides.splice(0..0, outer[..=self.rows].iter().copied());
        (view, padded.iter().product())
    }

    /// The loop over a stage's rows.
    fn around(&self, stage: usize) -> Around {
        let extent = self.definition.stages[stage].domain[self.rows];
        let kept = self.windows.get(stage).map_or(extent, |window| (window.len() as usize).min(extent));
        Around { axis: self.rows, extent, step: 1, kept }
    }

    /// What a stage reads from, and where it goes.
    fn beside(&self, stage: usize) -> (Vec<Operand>, Destination) {
        let mut operands = self.operands.to_vec();
        if let Some(before) = stage.checked_sub(1) {
            let (view, len) = self.ring(before);
            let dtype = self.definition.stages[before].dtype;
            operands.push(Operand { source: Source::Stage(before), dtype, len, view, constant: false });
        }
        if stage + 1 == self.definition.stages.len() {
            return (operands, self.result.clone());
        }
        let (view, len) = self.ring(stage);
        (operands, Destination { view, len })
    }

    /// The stage with one row, numbered by [`Around::placeholder`]; the rows that it reads are looked up in their ring.
    fn one_row(&self, stage: usize) -> Stage {
        let mut one = self.definition.stages[stage].clone();
        one.domain[self.rows] = 1;
        let place = |expr: &Expr| {
            expr.rewrite(&mut |node| match node {
                Expr::Axis(axis) if *axis == self.rows => Some(Expr::Loop(Around::placeholder(self.rows))),
                Expr::Read { source: Source::Stage(before), index } => {
                    let mut index = index.clone();
                    index[self.rows] = self.around(*before).slot(index[self.rows].clone());
                    Some(Expr::Read { source: Source::Stage(*before), index })
                }
                _ => None,
            })
        };
        Stage { body: place(&one.body), finish: one.finish.as_ref().map(place), ..one }
    }

    /// A stage of the kernel `name`, a row of it at a time.
    fn part(&self, name: &str, stage: usize) -> Workload {
        let (operands, result) = self.beside(stage);
        Workload {
            name: format!("{name}.{}", stage + 1),
            stage: self.one_row(stage),
            operands,
            result,
            around: Some(vec![self.around(stage)]),
        }
    }
}

struct Writer<'a> {
    name: &'a str,
    chain: Chain<'a>,
    /// The same as a search has it, with nothing between rows.
    known: Chain<'a>,
    records: &'a Records,
    joined: Joined,
}

impl Writer<'_> {
    /// The stage's rows `from..to`; `first` is the first that is ever computed.
    fn rows_of(&mut self, stage: usize, from: Expr, to: Expr, first: Expr) -> Result<Vec<Stmt>, Unfit> {
        let var = self.joined.variable();
        let row = Expr::Loop(var);
        let mut body = Vec::new();
        if let Some(before) = stage.checked_sub(1) {
            // The rows that this row needs and the one above it did not.
            let window = self.chain.windows[before];
            let times = |row: Expr, add: i64| sum(row * Expr::int(window.step) + Expr::int(add));
            let first_before = at_least_zero(times(first.clone(), window.low));
            let next = first_before.clone().max(times(row.clone() - Expr::int(1), window.high + 1));
            let is_first = Expr::compare(Compare::Eq, row.clone(), first);
            let from = Expr::select(is_first, first_before.clone(), next);
            let extent = Expr::int(self.chain.extent(before)? as i64);
            let to = extent.min(times(row.clone(), window.high + 1));
            body.extend(self.rows_of(before, from, to, first_before)?);
        }
        body.extend(self.row_of(stage, &row)?);
        Ok(vec![Stmt::For { var, from, to, step: 1, parallel: false, body }])
    }

    /// One row of a stage, lowered on its own and put into its place.
    fn row_of(&mut self, stage: usize, row: &Expr) -> Result<Vec<Stmt>, Unfit> {
        let part = self.chain.part(self.name, stage);
        let (outer, place) = part.block_at(std::slice::from_ref(row));
        let known = self.known.part(self.name, stage);
        let kernel = lower_part(known, &part.flat(), self.chain.target, self.records);
        let kernel = kernel.map_err(|error| Unfit(error.to_string()))?;
        Ok(self.joined.add(stage, kernel, &outer, &place))
    }
}

/// An index expression in its normal form.
fn sum(expr: Expr) -> Expr {
    Affine::of(&expr).to_expr()
}

fn at_least_zero(expr: Expr) -> Expr {
    match &expr {
        Expr::Const(scalar) => Expr::int(scalar.as_i64().max(0)),
        _ => Expr::int(0).max(expr),
    }
}
