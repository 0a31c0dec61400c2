//! Integer contractions on dot-product instructions: the instruction's meaning says how the loops and the weights'
//! order must be.
//!
//! Three forms carry the known instructions: sums of groups in every lane ([`lanes`]: vpdpbusd, sdot), sums over pairs
//! of widened halfwords ([`pairs`]: smlad), and sums over a whole vector ([`whole`]: vmladava).

mod lanes;
mod pairs;
mod whole;

use ir::{DType, TensorType};
use loops::affine::Affine;
use loops::{
    Access, Binary, Buffer, BufferId, Definition, Expr, Fold, LoopVar, Reg, Source, Stage, Stmt, Type,
};
use targets::Target;
use targets::instructions::{Instruction, Meaning};

use crate::{Argument, Arranged};

/// Why a definition does not take the form that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit(pub String);

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unfit {}

/// Loops for `definition` on `instruction`.
///
/// The definition is one sum of `i32(operand 0) · i32(operand 1)`, operand 1 constant; `operands` are their types.
/// Its last domain axis is the weights' alone, its last reduction axis dense in operand 0. So are matrix products and
/// unpadded convolutions over channels-last images.
pub fn tensorize(
    name: &str,
    definition: &Definition,
    operands: [&TensorType; 2],
    instruction: &Instruction,
    target: &Target,
) -> Result<Arranged, Unfit> {
    let contraction = Contraction::of(definition, operands)?;
    let Some([_, a, b]) = instruction.arguments.first_chunk() else {
        return Err(Unfit(format!("{} is no dot product", instruction.name)));
    };
    let widened = *a == Type::vector(DType::I16, 2);
    if b.dtype != contraction.weights.dtype && !widened {
        return Err(Unfit(format!("{} takes weights of {}", instruction.name, b.dtype)));
    }
    match instruction.meaning {
        Meaning::Dot { group } => lanes::nest(name, &contraction, instruction, group, target),
        Meaning::DotAll if widened => pairs::nest(name, &contraction, instruction, target),
        Meaning::DotAll => whole::nest(name, &contraction, instruction),
        Meaning::Block { .. } | Meaning::Matrix { .. } | Meaning::Widen { .. } | Meaning::Convert => {
            Err(Unfit(format!("{} is no dot product", instruction.name)))
        }
    }
}

/// `result[rows..., column] = Σ over outer..., k of activations[rows, outer, k] · weights[column, outer, k]`.
struct Contraction {
    /// Extents of the domain's axes but the last, and of the last.
    rows: Vec<usize>,
    columns: usize,
    /// Extents of the reduction's axes but the last, and of the last.
    outer: Vec<usize>,
    depth: usize,
    activations: Operand,
    weights: Operand,
}

/// An operand as a linear index over all axes.
struct Operand {
    dtype: DType,
    len: usize,
    offset: i64,
    /// Elements per step of each axis.
    strides: Vec<i64>,
}

impl Operand {
    fn of(expr: &Expr, operands: [&TensorType; 2], rank: usize) -> Option<(usize, Operand)> {
        let Expr::Cast(DType::I32, read) = expr else { return None };
        let Expr::Read { source: Source::Operand(k), index } = &**read else { return None };
        let ty = operands.get(*k)?;
        let linear = index
            .iter()
            .zip(ty.strides())
            .fold(Affine::default(), |sum, (index, stride)| sum.plus(&Affine::of(index), stride as i64));
        let strides = linear.over_axes(rank)?;
        Some((*k, Operand { dtype: ty.dtype, len: ty.elements(), offset: linear.offset, strides }))
    }

    /// The element at these values of the first axes; the others are 0.
    fn at(&self, axes: &[Expr]) -> Expr {
        let terms = axes.iter().zip(&self.strides).map(|(axis, &stride)| axis.clone() * Expr::int(stride));
        folded(terms.fold(Expr::int(self.offset), |sum, term| sum + term))
    }
}

impl Contraction {
    fn of(definition: &Definition, operands: [&TensorType; 2]) -> Result<Contraction, Unfit> {
        let unfit = |what: &str| Unfit(format!("the definition is no integer contraction: {what}"));
        let [stage] = definition.stages.as_slice() else { return Err(unfit("it has several stages")) };
        if stage.fold != Some(Fold::Sum) || stage.finish.is_some() || stage.dtype != DType::I32 {
            return Err(unfit("it is not a plain sum in i32"));
        }
        let Expr::Binary(Binary::Mul, a, b) = &stage.body else {
            return Err(unfit("its body is no product"));
        };
        let rank = stage.domain.len() + stage.reduction.len();
        let read = |expr: &Expr| {
            Operand::of(expr, operands, rank).ok_or_else(|| unfit("a factor is no widened affine read"))
        };
        let (activations, weights) = match (read(a)?, read(b)?) {
            ((0, a), (1, b)) | ((1, b), (0, a)) => (a, b),
            _ => return Err(unfit("its factors are not its two operands")),
        };
        let (Some((&columns, rows)), Some((&depth, outer))) =
            (stage.domain.split_last(), stage.reduction.split_last())
        else {
            return Err(unfit("it has no domain or no reduction"));
        };
        let column = rows.len();
        if weights.strides[..column].iter().any(|&stride| stride != 0) || activations.strides[column] != 0 {
            return Err(unfit("its last axis is not the weights' alone"));
        }
        if activations.strides.last() != Some(&1) {
            return Err(unfit("its last reduction axis is not dense in the activations"));
        }
        Ok(Contraction { rows: rows.to_vec(), columns, outer: outer.to_vec(), depth, activations, weights })
    }

    fn outer_steps(&self) -> usize {
        self.outer.iter().product()
    }

    /// A weight by `column`, position among the outer reduction axes and `k`, all over a packing's own axes; zero
    /// beyond the last column or `k`. The packed weights' source is flat.
    fn weight(&self, column: &Expr, outer: &Expr, k: &Expr) -> Expr {
        let mut axes = vec![Expr::int(0); self.rows.len()];
        axes.push(column.clone());
        axes.extend(unravelled(outer, &self.outer));
        axes.push(k.clone());
        let read = Expr::read(Source::Operand(0), [self.weights.at(&axes)]);
        let inside = column.clone().within(self.columns).and(k.clone().within(self.depth));
        Expr::select(inside, read, Expr::constant(self.weights.dtype, 0.0))
    }
}

/// The coordinates of a row-major position.
fn unravelled(position: &Expr, extents: &[usize]) -> Vec<Expr> {
    if let [_] = extents {
        return vec![position.clone()];
    }
    let mut inner: usize = extents.iter().product();
    let coordinate = |&extent: &usize| {
        inner /= extent;
        let quotient = Expr::binary(Binary::Div, position.clone(), Expr::int(inner as i64));
        Expr::binary(Binary::Rem, quotient, Expr::int(extent as i64))
    };
    extents.iter().map(coordinate).collect()
}

/// The same index as a sum in normal form.
fn folded(index: Expr) -> Expr {
    Affine::of(&index).to_expr()
}

fn read_only(name: &str, dtype: DType, len: usize) -> Buffer {
    Buffer { name: name.to_string(), dtype, len, access: Access::Read }
}

fn result(contraction: &Contraction) -> Buffer {
    let len = contraction.rows.iter().product::<usize>() * contraction.columns;
    Buffer { name: "y".to_string(), dtype: DType::I32, len, access: Access::Write }
}

/// Ids of a nest under construction.
#[derive(Default)]
struct Ids {
    registers: u32,
    variables: u32,
}

/// A row's place on every row axis.
type Coordinates = Vec<Expr>;

impl Ids {
    fn register(&mut self) -> Reg {
        self.registers += 1;
        Reg(self.registers - 1)
    }

    /// Declares a register and gives it.
    fn declare(&mut self, body: &mut Vec<Stmt>, ty: Type, value: Expr) -> Reg {
        let reg = self.register();
        body.push(Stmt::Let { reg, ty, value });
        reg
    }

    /// `for variable in 0..to step step { inner(variable) }`, without a loop where there is one iteration.
    fn repeat(
        &mut self,
        to: usize,
        step: usize,
        inner: impl FnOnce(&mut Ids, Expr) -> Vec<Stmt>,
    ) -> Vec<Stmt> {
        match to {
            0 => vec![],
            to if to <= step => inner(self, Expr::int(0)),
            to => {
                let var = LoopVar(self.variables);
                self.variables += 1;
                let body = inner(self, Expr::Loop(var));
                let (from, to) = (Expr::int(0), Expr::int(to as i64));
                vec![Stmt::For { var, from, to, step: step as i64, parallel: false, body }]
            }
        }
    }

    /// Loops over all rows, the last of `extents` in tiles of `step`; `inner` is given the coordinates of a tile's rows.
    fn row_tiles(
        &mut self,
        extents: &[usize],
        step: usize,
        inner: &mut dyn FnMut(&mut Ids, &[Coordinates]) -> Vec<Stmt>,
    ) -> Vec<Stmt> {
        let (tiled, around) = match extents.split_last() {
            Some((&tiled, around)) => (tiled, around),
            None => (1, extents),
        };
        self.over(around, &[], &mut |ids, around| {
            ids.tiles(tiled, step, &mut |ids, row, rows| {
                // Without a row axis there is no coordinate.
                let at =
                    |row: Expr| around.iter().cloned().chain((!extents.is_empty()).then_some(row)).collect();
                let rows: Vec<Coordinates> =
                    (0..rows).map(|r| at(folded(row.clone() + Expr::int(r as i64)))).collect();
                inner(ids, &rows)
            })
        })
    }

    /// Loops over all of `extents`, outermost first.
    fn over(
        &mut self,
        extents: &[usize],
        outside: &[Expr],
        inner: &mut dyn FnMut(&mut Ids, &[Expr]) -> Vec<Stmt>,
    ) -> Vec<Stmt> {
        match extents.split_first() {
            None => inner(self, outside),
            Some((&extent, rest)) => self.repeat(extent, 1, |ids, axis| {
                let axes: Vec<Expr> = outside.iter().cloned().chain([axis]).collect();
                ids.over(rest, &axes, inner)
            }),
        }
    }

    /// `0..extent` in tiles: a loop over whole ones, then what is left.
    fn tiles(
        &mut self,
        extent: usize,
        tile: usize,
        inner: &mut dyn FnMut(&mut Ids, Expr, usize) -> Vec<Stmt>,
    ) -> Vec<Stmt> {
        let whole = extent - extent % tile;
        let mut body = self.repeat(whole, tile, |ids, at| inner(ids, at, tile));
        if whole < extent {
            body.extend(inner(self, Expr::int(whole as i64), extent - whole));
        }
        body
    }
}

fn load(buffer: BufferId, index: Expr, lanes: usize, valid: usize) -> Expr {
    Expr::Load { buffer, index: Box::new(folded(index)), lanes, valid }
}

fn bits(dtype: DType, value: Expr) -> Expr {
    Expr::Bits(dtype, Box::new(value))
}

fn call(instruction: &Instruction, args: Vec<Expr>) -> Expr {
    Expr::Instruction { name: instruction.name.to_string(), args }
}

fn packed(packing: Stage) -> Argument {
    Argument::Packed { source: Source::Operand(1), packing: Definition::single(packing) }
}

/// The result's place of a row (its coordinates) and column.
fn place(contraction: &Contraction, rows: &[Expr], column: Expr) -> Expr {
    let row = rows
        .iter()
        .zip(&contraction.rows)
        .fold(Expr::int(0), |sum, (row, &extent)| sum * Expr::int(extent as i64) + row.clone());
    folded(row * Expr::int(contraction.columns as i64) + column)
}
