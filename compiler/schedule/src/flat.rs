//! A stage with its reads turned into linear addresses and its axes brought to the fewest.

use ir::DType;
use loops::affine::Affine;
use loops::{Binary, BufferId, Expr, Fold, Stage};

use crate::{Destination, Operand};

/// One axis of a flattened stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    pub extent: usize,
    pub reduction: bool,
}

/// A stage over linear buffers. Expressions read through `Expr::Load` with one lane, indexed by `Expr::Axis`.
#[derive(Debug, Clone)]
pub struct Flat {
    /// No unit axes, and neighbours that every access runs through as one are one. Domain axes come first.
    pub axes: Vec<Axis>,
    pub fold: Option<Fold>,
    pub body: Expr,
    /// Over `Expr::Folded` and the domain axes; `Folded` alone where the stage has none.
    pub finish: Expr,
    pub result: Expr,
    pub dtype: DType,
    /// What the fold accumulates in.
    pub folded: DType,
    /// The buffers that are read, in the order of `BufferId`.
    pub operands: Vec<Operand>,
    pub result_len: usize,
}

impl Flat {
    pub fn new(stage: &Stage, operands: &[Operand], result: &Destination) -> Flat {
        let linear = |expr: &Expr| linearize(expr, operands);
        let strides = result.view.strides.iter().enumerate();
        let address = strides.fold(Affine::constant(result.view.offset), |sum, (axis, &stride)| {
            sum.plus(&Affine::of(&Expr::Axis(axis)), stride)
        });
        let axis = |reduction: bool| move |&extent: &usize| Axis { extent, reduction };
        let body = linear(&stage.body);
        let folded = dtype_of(&body, operands, stage.dtype);
        let finish = stage.finish.as_ref().map_or(Expr::Folded, linear);
        // An empty reduction is known beforehand, and the stage a map.
        let empty = stage.fold.filter(|_| stage.reduction.contains(&0));
        let (fold, reduction, body, finish) = match empty {
            Some(fold) => {
                let identity = Expr::Const(fold.identity(folded));
                let value = finish.rewrite(&mut |node| (*node == Expr::Folded).then(|| identity.clone()));
                (None, &[][..], value, Expr::Folded)
            }
            None => (stage.fold, &stage.reduction[..], body, finish),
        };
        let folded = if empty.is_some() { stage.dtype } else { folded };
        let mut flat = Flat {
            axes: stage.domain.iter().map(axis(false)).chain(reduction.iter().map(axis(true))).collect(),
            fold,
            body,
            finish,
            result: address.to_expr(),
            dtype: stage.dtype,
            folded,
            operands: operands.to_vec(),
            result_len: result.len,
        };
        while let Some((axis, divisor)) = flat.divided_axis() {
            flat.split(axis, divisor);
        }
        flat.simplify();
        flat
    }

    /// Drops axes of one element and joins neighbours that every access runs through as one.
    pub fn simplify(&mut self) {
        self.drop_units();
        while let Some(axis) = (1..self.axes.len()).rev().find(|&inner| self.can_merge(inner)) {
            self.merge(axis);
        }
    }

    pub fn axes_where(&self, reduction: bool) -> impl DoubleEndedIterator<Item = usize> + '_ {
        (0..self.axes.len()).filter(move |&axis| self.axes[axis].reduction == reduction)
    }

    /// Every load in the body and the finish: buffer and address.
    pub fn loads(&self) -> Vec<(BufferId, Affine)> {
        [&self.body, &self.finish].into_iter().flat_map(loads).collect()
    }

    /// Places that an address goes to, those several times that windows look at again: the operand may have fewer.
    pub fn footprint(&self, address: &Affine) -> usize {
        let moves = |axis: &usize| {
            let atom = Expr::Axis(*axis);
            address.coefficient(&atom) != 0 || address.hides(&atom)
        };
        (0..self.axes.len()).filter(moves).map(|axis| self.axes[axis].extent).product()
    }

    fn map(&mut self, f: &mut dyn FnMut(&Expr) -> Option<Expr>) {
        for expr in [&mut self.body, &mut self.finish, &mut self.result] {
            *expr = normalize(&expr.rewrite(f));
        }
    }

    /// Puts `replacement[k]` in place of axis `k`, in numbers of the new axes.
    fn replace_axes(&mut self, axes: Vec<Axis>, replacement: &[Expr]) {
        self.axes = axes;
        self.map(&mut |node| match node {
            Expr::Axis(axis) => Some(replacement[*axis].clone()),
            _ => None,
        });
    }

    fn drop_units(&mut self) {
        let mut next = 0;
        let replacement: Vec<Expr> = self
            .axes
            .iter()
            .map(|axis| match axis.extent {
                1 => Expr::int(0),
                _ => {
                    next += 1;
                    Expr::Axis(next - 1)
                }
            })
            .collect();
        let axes = self.axes.iter().copied().filter(|axis| axis.extent != 1).collect();
        self.replace_axes(axes, &replacement);
    }

    /// An axis that is divided by a constant that divides its extent.
    fn divided_axis(&self) -> Option<(usize, usize)> {
        let mut found = None;
        for expr in [&self.body, &self.finish, &self.result] {
            expr.any(&mut |node| {
                if let Expr::Binary(Binary::Div | Binary::Rem | Binary::Mod, a, b) = node
                    && let (Expr::Axis(axis), Expr::Const(divisor)) = (&**a, &**b)
                    && let Ok(divisor) = usize::try_from(divisor.as_i64())
                    && divisor > 1
                    && self.axes[*axis].extent > divisor
                    && self.axes[*axis].extent.is_multiple_of(divisor)
                {
                    found = Some((*axis, divisor));
                }
                found.is_some()
            });
        }
        found
    }

    /// Makes axis `axis` two: `outer · inner + i`.
    fn split(&mut self, axis: usize, inner: usize) {
        let mut axes = self.axes.clone();
        let old = axes[axis];
        axes[axis].extent = old.extent / inner;
        axes.insert(axis + 1, Axis { extent: inner, ..old });
        let (high, low) = (Expr::Axis(axis), Expr::Axis(axis + 1));
        let replacement: Vec<Expr> = (0..self.axes.len())
            .map(|a| match a.cmp(&axis) {
                std::cmp::Ordering::Less => Expr::Axis(a),
                std::cmp::Ordering::Equal => high.clone() * Expr::int(inner as i64) + low.clone(),
                std::cmp::Ordering::Greater => Expr::Axis(a + 1),
            })
            .collect();
        self.replace_axes(axes, &replacement);
        let ranges = self.axes.clone();
        self.map(&mut |node| divide(node, &ranges));
    }

    /// Whether axis `inner` and the one before it are always used as one longer axis.
    fn can_merge(&self, inner: usize) -> bool {
        let outer = inner - 1;
        if self.axes[outer].reduction != self.axes[inner].reduction {
            return false;
        }
        let extent = self.axes[inner].extent as i64;
        let (a, b) = (Expr::Axis(outer), Expr::Axis(inner));
        let as_one = |address: &Affine| {
            address.coefficient(&a) == address.coefficient(&b) * extent
                && !address.hides(&a)
                && !address.hides(&b)
        };
        let addresses =
            self.loads().into_iter().map(|(_, address)| address).chain([Affine::of(&self.result)]);
        let elsewhere = [&self.body, &self.finish].into_iter().any(|expr| outside_loads(expr, &[&a, &b]));
        addresses.into_iter().all(|address| as_one(&address)) && !elsewhere
    }

    fn merge(&mut self, inner: usize) {
        let outer = inner - 1;
        let mut axes = self.axes.clone();
        axes[outer].extent *= axes[inner].extent;
        axes.remove(inner);
        // The longer axis counts in steps of the inner one; the outer one's terms go.
        let replacement: Vec<Expr> = (0..self.axes.len())
            .map(|a| match a {
                a if a == outer => Expr::int(0),
                a if a == inner => Expr::Axis(outer),
                a if a > inner => Expr::Axis(a - 1),
                a => Expr::Axis(a),
            })
            .collect();
        self.replace_axes(axes, &replacement);
    }
}

/// Every load in an expression, those in addresses too: buffer and address.
pub fn loads(expr: &Expr) -> Vec<(BufferId, Affine)> {
    let mut loads = Vec::new();
    expr.any(&mut |node| {
        if let Expr::Load { buffer, index, .. } = node {
            loads.push((*buffer, Affine::of(index)));
        }
        false
    });
    loads
}

/// Reads to loads with linear addresses.
fn linearize(expr: &Expr, operands: &[Operand]) -> Expr {
    let linear = expr.rewrite(&mut |node| match node {
        Expr::Read { source, index } => {
            let place = operands.iter().position(|operand| operand.source == *source)?;
            let view = &operands[place].view;
            let address = index
                .iter()
                .zip(&view.strides)
                .fold(Affine::constant(view.offset), |sum, (index, &stride)| {
                    sum.plus(&Affine::of(index), stride)
                });
            Some(load(place, address.to_expr()))
        }
        _ => None,
    });
    normalize(&linear)
}

fn load(place: usize, index: Expr) -> Expr {
    Expr::Load { buffer: BufferId(place as u32), index: Box::new(index), lanes: 1, valid: 1 }
}

/// Addresses and the sides of integer comparisons in their normal form.
pub fn normalize(expr: &Expr) -> Expr {
    expr.rewrite(&mut |node| match node {
        Expr::Load { buffer, index, lanes, valid } => Some(Expr::Load {
            buffer: *buffer,
            index: Box::new(Affine::of(index).to_expr()),
            lanes: *lanes,
            valid: *valid,
        }),
        Expr::Binary(op @ (Binary::Div | Binary::Rem | Binary::Mod), a, b) if is_index(a) && is_index(b) => {
            Some(Expr::binary(*op, Affine::of(a).to_expr(), Affine::of(b).to_expr()))
        }
        _ => None,
    })
}

/// Whether the expression is index arithmetic over axes, loops and constants.
pub fn is_index(expr: &Expr) -> bool {
    match expr {
        Expr::Const(scalar) => scalar.dtype == DType::I64,
        Expr::Axis(_) | Expr::Loop(_) => true,
        Expr::Binary(_, a, b) => is_index(a) && is_index(b),
        _ => false,
    }
}

/// `(a · d + b) / d = a` and `(a · d + b) % d = b` for an axis `b` shorter than `d`.
fn divide(node: &Expr, axes: &[Axis]) -> Option<Expr> {
    let Expr::Binary(op @ (Binary::Div | Binary::Rem | Binary::Mod), a, b) = node else { return None };
    let Expr::Const(divisor) = &**b else { return None };
    if !is_index(a) || divisor.as_i64() <= 0 {
        return None;
    }
    let divisor = divisor.as_i64();
    let sum = Affine::of(a);
    let mut quotient = Affine::constant(sum.offset.div_euclid(divisor));
    let mut rest = Affine::constant(sum.offset.rem_euclid(divisor));
    for (atom, &coefficient) in &sum.terms {
        let term = Affine::of(atom);
        quotient = quotient.plus(&term, coefficient.div_euclid(divisor));
        rest = rest.plus(&term, coefficient.rem_euclid(divisor));
    }
    let mut most = rest.offset;
    for (atom, &coefficient) in &rest.terms {
        let Expr::Axis(axis) = atom else { return None };
        most += coefficient * (axes[*axis].extent as i64 - 1);
    }
    if most >= divisor {
        return None;
    }
    Some(if *op == Binary::Div { quotient.to_expr() } else { rest.to_expr() })
}

/// Whether one of `atoms` occurs other than in a load's address.
pub fn outside_loads(expr: &Expr, atoms: &[&Expr]) -> bool {
    match expr {
        Expr::Load { .. } => false,
        node if atoms.contains(&node) => true,
        node => node.children().into_iter().any(|child| outside_loads(child, atoms)),
    }
}

/// The element type of an expression over loads; `folded` is what `Expr::Folded` has.
pub fn dtype_of(expr: &Expr, operands: &[Operand], folded: DType) -> DType {
    match expr {
        Expr::Const(scalar) => scalar.dtype,
        Expr::Axis(_) | Expr::Loop(_) => DType::I64,
        Expr::Load { buffer, .. } => operands[buffer.0 as usize].dtype,
        Expr::Folded => folded,
        Expr::Unary(loops::Unary::IsNan | loops::Unary::IsInf, _) | Expr::Compare(..) => DType::Bool,
        Expr::Cast(dtype, _) | Expr::Bits(dtype, _) => *dtype,
        Expr::Select { then, .. } => dtype_of(then, operands, folded),
        other => other.children().first().map_or(folded, |child| dtype_of(child, operands, folded)),
    }
}
