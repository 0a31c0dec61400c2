//! Stages of a definition computed into one another row by row: of what lies between two of them only the rows that the
//! later one looks at exist, in a ring.
//!
//! Each stage is lowered as usual, for one row of its domain; the row's number is a loop variable around it.

use loops::affine::Affine;
use loops::{Binary, Compare, Definition, Expr, LoopVar, Source, Stage, Stmt};
use targets::Target;

use crate::join::Joined;
use crate::{Argument, Arranged, Destination, Operand, Unfit, View, lower_part};

/// What stands for the row in a stage that is lowered for one.
const ROW: LoopVar = LoopVar(u32::MAX);

/// Loops for a chain of stages, each reading the one before at a window of rows that moves down: a depthwise
/// convolution in its pointwise consumer, an expansion in its depthwise consumer, or all three.
///
/// `rows` is the axis of all stages' domains that is walked; `operands` are the definition's, without its stages. The
/// last stage is the only result, row-major.
pub fn line_buffer(
    name: &str,
    definition: &Definition,
    rows: usize,
    operands: &[Operand],
    target: &Target,
) -> Result<Arranged, Unfit> {
    let last = definition.stages.len() - 1;
    if definition.results != [last] {
        return Err(Unfit("only the last stage may be a result".to_string()));
    }
    let windows =
        definition.stages.iter().enumerate().skip(1).map(|(k, stage)| Window::of(stage, k - 1, rows));
    let windows = windows.collect::<Result<Vec<Window>, Unfit>>()?;
    let places = (0..last).map(Argument::Scratch).chain([Argument::Result]).collect();
    let mut chain = Chain { definition, rows, target, operands, windows, joined: Joined::new(places) };
    let whole = Expr::int(chain.extent(last)? as i64);
    let body = chain.rows_of(last, Expr::int(0), whole, 0)?;
    let (nest, arguments) = chain.joined.into_nest(name, body);
    Ok(Arranged { nest, arguments })
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
    /// `windows[k]`: what stage `k + 1` reads of stage `k`.
    windows: Vec<Window>,
    joined: Joined,
}

impl Chain<'_> {
    /// The stage's rows `from..to`; `first` is the first that is ever computed.
    fn rows_of(&mut self, stage: usize, from: Expr, to: Expr, first: i64) -> Result<Vec<Stmt>, Unfit> {
        let var = self.joined.variable();
        let row = Expr::Loop(var);
        let mut body = Vec::new();
        if let Some(before) = stage.checked_sub(1) {
            // The rows that this row needs and the one above it did not.
            let window = self.windows[before];
            let end = |row: Expr| row * Expr::int(window.step) + Expr::int(window.high + 1);
            let first_before = (window.step * first + window.low).max(0);
            let next = Expr::int(first_before).max(end(row.clone() - Expr::int(1)));
            let is_first = Expr::compare(Compare::Eq, row.clone(), Expr::int(first));
            let from = Expr::select(is_first, Expr::int(first_before), next);
            let to = Expr::int(self.extent(before)? as i64).min(end(row.clone()));
            body.extend(self.rows_of(before, from, to, first_before)?);
        }
        body.extend(self.row_of(stage, &row)?);
        Ok(vec![Stmt::For { var, from, to, step: 1, parallel: false, body }])
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

    /// Where a row of a stage is kept.
    fn slot(&self, stage: usize, row: Expr) -> Expr {
        match self.windows.get(stage).map(|window| window.len()) {
            None => row,
            Some(1) => Expr::int(0),
            Some(rows) => Expr::binary(Binary::Rem, row, Expr::int(rows)),
        }
    }

    /// One row of a stage, lowered on its own and put into its place.
    fn row_of(&mut self, stage: usize, row: &Expr) -> Result<Vec<Stmt>, Unfit> {
        let mut operands = self.operands.to_vec();
        if let Some(before) = stage.checked_sub(1) {
            let shape = self.kept(before);
            operands.push(Operand {
                source: Source::Stage(before),
                dtype: self.definition.stages[before].dtype,
                len: shape.iter().product(),
                view: View::contiguous(&shape),
                constant: false,
            });
        }
        let shape = self.kept(stage);
        let result = Destination { len: shape.iter().product(), view: View::contiguous(&shape) };
        let kernel = lower_part("row", &self.one_row(stage), &operands, &result, self.target);
        let kernel = kernel.map_err(|error| Unfit(error.to_string()))?;
        let place = self.slot(stage, row.clone()) * Expr::int(result.view.strides[self.rows]);
        Ok(self.joined.add(stage, kernel, &[(ROW, row.clone())], &place))
    }

    /// The stage with one row, numbered [`ROW`]; the rows that it reads are looked up in their ring.
    fn one_row(&self, stage: usize) -> Stage {
        let mut one = self.definition.stages[stage].clone();
        one.domain[self.rows] = 1;
        let place = |expr: &Expr| {
            expr.rewrite(&mut |node| match node {
                Expr::Axis(axis) if *axis == self.rows => Some(Expr::Loop(ROW)),
                Expr::Read { source: Source::Stage(before), index } => {
                    let mut index = index.clone();
                    index[self.rows] = self.slot(*before, index[self.rows].clone());
                    Some(Expr::Read { source: Source::Stage(*before), index })
                }
                _ => None,
            })
        };
        Stage { body: place(&one.body), finish: one.finish.as_ref().map(place), ..one }
    }
}
