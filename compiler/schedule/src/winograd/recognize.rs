//! Which stages are convolutions of 3×3 taps.

use ir::DType;
use loops::affine::Affine;
use loops::{Binary, BufferId, Expr, Fold, Source};

use super::transform::TAPS;
use crate::emit::computed;
use crate::emit::guard::{self, Guard};
use crate::flat::{Flat, outside_loads};

/// A stage `y[i, j, o] = finish(Σ input(i + k, j + l, c) · w[o, c, k, l])` over f32.
#[derive(Debug, Clone)]
pub(super) struct Convolution<'a> {
    pub flat: &'a Flat,
    /// The axes of the result's rows, columns and channels.
    pub domain: [usize; 3],
    /// The axes of the taps' rows and columns and of the input's channels.
    pub reduction: [usize; 3],
    /// The input over the axes of rows, columns and input channels; those of the taps are 0.
    pub input: Expr,
    /// The rows and columns, counted from the first window's first, at which there is an input.
    pub rows: (i64, i64),
    pub columns: (i64, i64),
    pub weights: BufferId,
    pub weights_address: Affine,
}

impl<'a> Convolution<'a> {
    pub fn of(flat: &'a Flat) -> Option<Convolution<'a>> {
        let places = flat.axes_where(false).count() == 3 && flat.axes_where(true).count() == 3;
        // What is stored narrow is widened as it is read, and rounded as it is written.
        let floats = computed(flat.dtype) == DType::F32 && flat.folded == DType::F32;
        if !places || !floats || flat.fold != Some(Fold::Sum) || !reads_floats(flat) {
            return None;
        }
        let (guards, body) = guard::of(flat);
        let Expr::Binary(Binary::Mul, a, b) = &body else { return None };
        let (input, weights, weights_address) = match (weights(flat, a), weights(flat, b)) {
            (None, Some((buffer, address))) => (a, buffer, address),
            (Some((buffer, address)), None) => (b, buffer, address),
            _ => return None,
        };
        let uses = |axis: &usize| weights_address.coefficient(&Expr::Axis(*axis)) != 0;
        let channels: Vec<usize> = flat.axes_where(false).filter(uses).collect();
        let others: Vec<usize> = flat.axes_where(false).filter(|axis| !uses(axis)).collect();
        let (&[channel], &[row, column]) = (&channels[..], &others[..]) else { return None };
        let dense = Affine::of(&flat.result).coefficient(&Expr::Axis(channel)) == 1;
        let axes: Vec<Expr> = (0..flat.axes.len()).map(Expr::Axis).collect();
        let as_values = |expr: &Expr| outside_loads(expr, &axes.iter().collect::<Vec<_>>());
        if !dense
            || as_values(input)
            || as_values(&flat.finish)
            || !flat.axes_where(true).all(|axis| uses(&axis))
        {
            return None;
        }
        let domain = [row, column, channel];
        let loads = loads(input, flat.axes.len())?;
        let reduction = permutations(flat).into_iter().find(|&[k, l, c]| {
            let taps = [k, l].iter().all(|&axis| flat.axes[axis].extent == TAPS);
            let slides = |load: &Vec<i64>| {
                (load[row], load[column], load[channel]) == (load[k], load[l], 0) && matches!(load[c], 0 | 1)
            };
            taps && loads.iter().all(slides) && loads.iter().any(|load| load[c] == 1)
        })?;
        let [k, l, _] = reduction;
        let whole = |axis: usize| (0, (flat.axes[axis].extent + TAPS - 1) as i64);
        let (mut rows, mut columns) = (whole(row), whole(column));
        for guard in &guards {
            let coefficients = guard.sum.as_ref()?.over_axes(flat.axes.len())?;
            let used: Vec<usize> = (0..coefficients.len()).filter(|&axis| coefficients[axis] != 0).collect();
            let range = match used[..] {
                [a, b] if [a, b] == [row, k] => &mut rows,
                [a, b] if [a, b] == [column, l] => &mut columns,
                _ => return None,
            };
            narrow(range, guard, [coefficients[used[0]], coefficients[used[1]]])?;
        }
        let none: Vec<Expr> = (0..flat.axes.len())
            .map(|axis| if axis == k || axis == l { Expr::int(0) } else { Expr::Axis(axis) })
            .collect();
        let input = crate::flat::normalize(&input.substitute_axes(&none));
        Some(Convolution { flat, domain, reduction, input, rows, columns, weights, weights_address })
    }

    pub fn height(&self) -> usize {
        self.flat.axes[self.domain[0]].extent
    }

    pub fn width(&self) -> usize {
        self.flat.axes[self.domain[1]].extent
    }

    /// Of the result.
    pub fn channels(&self) -> usize {
        self.flat.axes[self.domain[2]].extent
    }

    /// Channels of the input.
    pub fn inputs(&self) -> usize {
        self.flat.axes[self.reduction[2]].extent
    }
}

/// Of all that is read, and not what earlier stages of the same definition left.
fn reads_floats(flat: &Flat) -> bool {
    flat.loads().iter().all(|(buffer, _)| {
        let operand = &flat.operands[buffer.0 as usize];
        computed(operand.dtype) == DType::F32 && !matches!(operand.source, Source::Stage(_))
    })
}

/// The buffer and address of a constant that is read as it is.
fn weights(flat: &Flat, expr: &Expr) -> Option<(BufferId, Affine)> {
    let Expr::Load { buffer, index, .. } = expr else { return None };
    let address = Affine::of(index);
    let known = flat.operands[buffer.0 as usize].constant && address.over_axes(flat.axes.len()).is_some();
    known.then_some((*buffer, address))
}

/// The coefficients of every load's address; `None` if one is not affine.
fn loads(expr: &Expr, rank: usize) -> Option<Vec<Vec<i64>>> {
    let mut loads = Some(Vec::new());
    expr.any(&mut |node| {
        if let Expr::Load { index, .. } = node {
            match (Affine::of(index).over_axes(rank), &mut loads) {
                (Some(coefficients), Some(loads)) => loads.push(coefficients),
                _ => loads = None,
            }
        }
        false
    });
    loads
}

/// The reduction's axes in every order.
fn permutations(flat: &Flat) -> Vec<[usize; 3]> {
    let axes: Vec<usize> = flat.axes_where(true).collect();
    [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
        .map(|order| order.map(|k| axes[k]))
        .into()
}

/// Takes from a range of places what a guard `0 <= offset ± (axis + tap)` does not let through.
fn narrow(range: &mut (i64, i64), guard: &Guard, coefficients: [i64; 2]) -> Option<()> {
    let offset = guard.sum.as_ref()?.offset;
    match coefficients {
        [1, 1] => range.0 = range.0.max(-offset),
        [-1, -1] => range.1 = range.1.min(offset + 1),
        _ => return None,
    }
    Some(())
}
