use ir::{OpError, Scalar, TensorType};
use loops::{Binary, Definition, Expr, Source, Stage, Unary};
use serde::{Deserialize, Serialize};

use crate::{Import, Meaning, Onnx, Op, onnx, ops, shape};

/// More (or, where a pad is negative, fewer) elements before and after each axis.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pad {
    /// Before and after, per axis.
    pub pads: Vec<(i64, i64)>,
    pub mode: PadMode,
    /// What a constant pad is filled with; zero where there is none.
    pub value: Option<Scalar>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PadMode {
    #[default]
    Constant,
    /// Mirrored at the outermost element, which is not repeated.
    Reflect,
    /// The outermost element, repeated.
    Edge,
    /// From the other end.
    Wrap,
}

impl Op for Pad {
    const NAME: &'static str = "pad";
    const ONNX: &'static [Onnx] = &[onnx("Pad", 2, import), onnx("CenterCropPad", 18, center_crop_pad)];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = shape::inputs(inputs)?;
        if self.pads.len() != x.rank() {
            return Err(OpError::new(format!("{} pairs of pads for {x}", self.pads.len())));
        }
        if let Some(value) = self.value.filter(|value| value.dtype != x.dtype) {
            return Err(OpError::new(format!("pads {x} with a value of type {}", value.dtype)));
        }
        let padded = |(&extent, &(before, after)): (&usize, &(i64, i64))| {
            let result = i64::try_from(extent).ok()?.checked_add(before)?.checked_add(after)?;
            usize::try_from(result).ok().filter(|&n| extent > 0 || n == 0 || self.mode == PadMode::Constant)
        };
        let result: Option<Vec<usize>> = x.shape.iter().zip(&self.pads).map(padded).collect();
        match result {
            Some(shape) => Ok(vec![x.with_shape(shape)]),
            None => Err(OpError::new(format!("{x} cannot be padded by {:?}", self.pads))),
        }
    }

    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let x = &inputs[0];
        let places: Vec<Expr> = (0..x.rank()).map(|axis| self.place(axis)).collect();
        if self.mode != PadMode::Constant {
            let index = |(axis, place): (usize, Expr)| match self.pads[axis] {
                (before, after) if before <= 0 && after <= 0 => place,
                _ => folded(self.mode, place, x.shape[axis] as i64),
            };
            return Meaning::View(vec![places.into_iter().enumerate().map(index).collect()]);
        }
        let guarded = |axis: &usize| self.pads[*axis].0 > 0 || self.pads[*axis].1 > 0;
        let conditions = (0..x.rank()).filter(guarded).map(|axis| places[axis].clone().within(x.shape[axis]));
        let Some(condition) = conditions.reduce(Expr::and) else { return Meaning::View(vec![places]) };
        let value = self.value.unwrap_or(Scalar::from_f64(x.dtype, 0.0));
        let body = Expr::select(condition, Expr::read(Source::Operand(0), places), Expr::Const(value));
        let domain = self.infer(inputs).map(|results| results[0].shape.clone()).unwrap_or_default();
        Meaning::Compute(Definition::single(Stage::map(x.dtype, domain, body)))
    }

    fn before_transpose(&self, permutation: &[usize]) -> Option<(Pad, Vec<usize>)> {
        let pads = shape::before_transpose(&self.pads, permutation)?;
        Some((Pad { pads, ..self.clone() }, permutation.to_vec()))
    }
}

impl Pad {
    /// The operand's index along an axis, which may lie outside of it.
    fn place(&self, axis: usize) -> Expr {
        match self.pads[axis].0 {
            0 => Expr::Axis(axis),
            before => Expr::Axis(axis) - Expr::int(before),
        }
    }
}

/// `place`, which may lie outside, as the index of the element of `0..extent` that stands there.
fn folded(mode: PadMode, place: Expr, extent: i64) -> Expr {
    let last = Expr::int(extent - 1);
    match mode {
        PadMode::Constant => place,
        PadMode::Edge => place.max(Expr::int(0)).min(last),
        PadMode::Wrap => Expr::binary(Binary::Mod, place, Expr::int(extent)),
        PadMode::Reflect => {
            // Up to the last element and back to the first is one period; a lone element is its own mirror image.
            let phase = Expr::binary(Binary::Mod, place, Expr::int(2 * (extent - 1)));
            last.clone() - Expr::unary(Unary::Abs, last - phase)
        }
    }
}

fn import(node: &mut Import) -> Result<Vec<ir::Value>, OpError> {
    let x = node.input(0)?;
    let ty = node.ty(x).clone();
    let pads = shape::input_or_ints(node, 1, "pads", 11)?.ok_or_else(|| OpError::new("`pads` is missing"))?;
    let axes = match if node.opset < 18 { None } else { node.optional_constant(3)? } {
        None => (0..ty.rank()).collect(),
        Some(axes) => axes
            .to_i64s()
            .into_iter()
            .map(|axis| shape::axis(axis, ty.rank()))
            .collect::<Result<Vec<_>, _>>()?,
    };
    if pads.len() != 2 * axes.len() {
        return Err(OpError::new(format!("`pads` has {} entries for {} axes", pads.len(), axes.len())));
    }
    let mode = match node.string("mode")?.as_deref() {
        None | Some("constant") => PadMode::Constant,
        Some("reflect") => PadMode::Reflect,
        Some("edge") => PadMode::Edge,
        Some("wrap") => PadMode::Wrap,
        Some(other) => {
            let message = format!("`mode` is \"{other}\"; constant, reflect, edge and wrap are known");
            return Err(OpError::new(message));
        }
    };
    let value = match mode {
        PadMode::Constant if node.opset < 11 => {
            node.float("value")?.map(|value| Scalar::from_f64(ty.dtype, f64::from(value)))
        }
        PadMode::Constant => match node.optional_constant(2)? {
            Some(value) if value.ty.elements() != 1 => {
                return Err(OpError::new(format!(
                    "the padded value is of type {}, not one element",
                    value.ty
                )));
            }
            value => value.map(|value| value.get(0)),
        },
        _ => None,
    };
    let mut pad = Pad { pads: vec![(0, 0); ty.rank()], mode, value: value.filter(|value| value.bits != 0) };
    for (k, &axis) in axes.iter().enumerate() {
        pad.pads[axis] = (pads[k], pads[axes.len() + k]);
    }
    Ok(vec![pad.apply(node, x)?])
}

impl Pad {
    fn apply(self, node: &mut Import, x: ir::Value) -> Result<ir::Value, OpError> {
        if self.pads.iter().all(|&pads| pads == (0, 0)) { Ok(x) } else { node.apply(self, &[x]) }
    }
}

/// Crops or zero-pads axes to given extents, as much at the beginning as at the end (one more at the end if odd).
fn center_crop_pad(node: &mut Import) -> Result<Vec<ir::Value>, OpError> {
    let x = node.input(0)?;
    let ty = node.ty(x).clone();
    let wanted = node.constant(1)?.to_i64s();
    let axes = match node.ints("axes")? {
        None => (0..ty.rank()).collect(),
        Some(axes) => {
            axes.into_iter().map(|axis| shape::axis(axis, ty.rank())).collect::<Result<Vec<_>, _>>()?
        }
    };
    if wanted.len() != axes.len() {
        return Err(OpError::new(format!("{} extents for {} axes", wanted.len(), axes.len())));
    }
    let mut slice = ops::slice::Slice::whole(&ty);
    let mut pad = Pad { pads: vec![(0, 0); ty.rank()], ..Pad::default() };
    for (&axis, &wanted) in axes.iter().zip(&wanted) {
        let (extent, wanted) = (ty.shape[axis], shape::extent(wanted, "shape")?);
        let (more, fewer) = (wanted.saturating_sub(extent), extent.saturating_sub(wanted));
        pad.pads[axis] = ((more / 2) as i64, (more - more / 2) as i64);
        if fewer > 0 {
            slice.cut(axis, (fewer / 2) as i64, (fewer / 2 + wanted) as i64, 1)?;
        }
    }
    let cropped = slice.apply(node, x)?;
    Ok(vec![pad.apply(node, cropped)?])
}
