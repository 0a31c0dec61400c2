use ir::{DType, OpError, Scalar, Tensor, TensorType};
use loops::{Definition, Expr, Fold, Source, Stage};
use serde::{Deserialize, Serialize};

use crate::shape::{self, Coordinates, Kernel, ResizedAxis, Rounding};
use crate::{Import, Meaning, Onnx, Op, onnx};

/// The operand sampled at other places along any axes. Where to look and what it weighs is worked out at compile
/// time, axis by axis.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Resize {
    /// Extents of the result.
    pub shape: Vec<usize>,
    /// Per axis what the model states as scale; empty where the extents say it.
    pub scales: Vec<Scalar>,
    pub coordinates: Coordinates,
    pub sampling: Sampling,
}

/// How an element between the operand's elements is made of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    Nearest { rounding: Rounding },
    Linear { antialias: bool, exclude_outside: bool },
    Cubic { antialias: bool, exclude_outside: bool, a: Scalar },
}

impl Default for Resize {
    fn default() -> Resize {
        let sampling = Sampling::Nearest { rounding: Rounding::default() };
        Resize { shape: vec![], scales: vec![], coordinates: Coordinates::default(), sampling }
    }
}

impl Op for Resize {
    const NAME: &'static str = "resize";
    const ONNX: &'static [Onnx] = &[onnx("Resize", 10, import), onnx("Upsample", 7, import)];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = shape::inputs(inputs)?;
        if self.shape.len() != x.rank() || !(self.scales.is_empty() || self.scales.len() == x.rank()) {
            return Err(OpError::new(format!("{x} is not resized to {:?}", self.shape)));
        }
        if x.shape.iter().zip(&self.shape).any(|(&from, &to)| from == 0 && to != 0) {
            return Err(OpError::new(format!("{x} is empty and does not grow to {:?}", self.shape)));
        }
        if let Some(scale) =
            self.scales.iter().find(|scale| scale.as_f64() <= 0.0 || !scale.as_f64().is_finite())
        {
            return Err(OpError::new(format!("the scale {scale} is not positive")));
        }
        if x.dtype == DType::Bool && !matches!(self.sampling, Sampling::Nearest { .. }) {
            return Err(OpError::new(format!("{x} cannot be interpolated")));
        }
        Ok(vec![x.with_shape(self.shape.clone())])
    }

    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let x = &inputs[0];
        match self.sampling {
            Sampling::Nearest { rounding } => self.nearest(x, rounding),
            Sampling::Linear { antialias, exclude_outside } => {
                self.interpolated(x, Kernel::Linear, antialias, exclude_outside)
            }
            Sampling::Cubic { antialias, exclude_outside, a } => {
                self.interpolated(x, Kernel::Cubic { a: a.as_f64() }, antialias, exclude_outside)
            }
        }
    }

    fn before_transpose(&self, permutation: &[usize]) -> Option<(Resize, Vec<usize>)> {
        let resize = Resize {
            shape: shape::before_transpose(&self.shape, permutation)?,
            scales: match self.scales.is_empty() {
                true => vec![],
                false => shape::before_transpose(&self.scales, permutation)?,
            },
            ..self.clone()
        };
        Some((resize, permutation.to_vec()))
    }
}

impl Resize {
    fn axis(&self, x: &TensorType, axis: usize) -> ResizedAxis {
        let scale = self.scales.get(axis).map(|scale| scale.as_f64());
        ResizedAxis { from: x.shape[axis], to: self.shape[axis], scale, coordinates: self.coordinates }
    }

    /// `y[p, q] = x[places[p], places[q]]`, with a table for each axis that is not left as it is.
    fn nearest(&self, x: &TensorType, rounding: Rounding) -> Meaning {
        let mut tables = vec![];
        let mut index = |axis: usize| {
            let places = self.axis(x, axis).nearest(rounding);
            if places.iter().copied().eq(0..x.shape[axis] as i64) {
                return Expr::Axis(axis);
            }
            tables.push(Tensor::from_slice([places.len()], &places));
            Expr::read(Source::Table(tables.len() - 1), vec![Expr::Axis(axis)])
        };
        let index: Vec<Expr> = (0..x.rank()).map(&mut index).collect();
        let body = Expr::read(Source::Operand(0), index);
        Meaning::Compute(
            Definition::single(Stage::map(x.dtype, self.shape.clone(), body)).with_tables(tables),
        )
    }

    /// `y[p, q] = Σ_{s, t} x[places[p, s], places[q, t]] · weights[p, s] · weights[q, t]`.
    fn interpolated(
        &self,
        x: &TensorType,
        kernel: Kernel,
        antialias: bool,
        exclude_outside: bool,
    ) -> Meaning {
        // Integers and narrow floats are weighed and summed as f32.
        let work = if x.dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let (mut tables, mut reduction, mut weight) = (vec![], vec![], None);
        let mut index: Vec<Expr> = (0..x.rank()).map(Expr::Axis).collect();
        for (axis, place) in index.iter_mut().enumerate() {
            let resized = self.axis(x, axis);
            if resized.from == resized.to && resized.scale.is_none_or(|scale| scale == 1.0) {
                continue;
            }
            let taps = resized.interpolated(kernel, antialias, exclude_outside);
            let at = vec![Expr::Axis(axis), Expr::Axis(x.rank() + reduction.len())];
            *place = Expr::read(Source::Table(tables.len()), at.clone());
            let factor = Expr::read(Source::Table(tables.len() + 1), at);
            weight = Some(weight.map_or(factor.clone(), |weight: Expr| weight * factor));
            reduction.push(taps.taps);
            tables.push(Tensor::from_slice([resized.to, taps.taps], &taps.places));
            let bytes = taps.weights.iter().flat_map(|&w| Scalar::from_f64(work, w).to_le_bytes()).collect();
            tables.push(Tensor::new(TensorType::new(work, [resized.to, taps.taps]), bytes));
        }
        let read = Expr::read(Source::Operand(0), index);
        let Some(weight) = weight else {
            return Meaning::Compute(Definition::single(Stage::map(x.dtype, self.shape.clone(), read)));
        };
        let element = if x.dtype == work { read } else { read.cast(work) };
        let mut stage = Stage::reduce(work, self.shape.clone(), Fold::Sum, reduction, element * weight);
        if x.dtype != work {
            stage = stage.finished(x.dtype, &Expr::Folded.cast(x.dtype));
        }
        Meaning::Compute(Definition::single(stage).with_tables(tables))
    }
}

fn import(node: &mut Import) -> Result<Vec<ir::Value>, OpError> {
    let x = node.input(0)?;
    let ty = node.ty(x).clone();
    let axes = match node.ints("axes")? {
        None => (0..ty.rank()).collect(),
        Some(list) => {
            list.into_iter().map(|axis| shape::axis(axis, ty.rank())).collect::<Result<Vec<_>, _>>()?
        }
    };
    let (shape, scales) = target(node, &ty, &axes)?;
    let coordinates = coordinates(node)?;
    let resize = Resize { sampling: sampling(node, &ty, &shape)?, shape, scales, coordinates };
    Ok(vec![node.apply(resize, &[x])?])
}

/// The result's extents, and the scales where they are not simply what the extents say.
fn target(node: &Import, x: &TensorType, axes: &[usize]) -> Result<(Vec<usize>, Vec<Scalar>), OpError> {
    // `Upsample` and the first `Resize` have no region of interest before the scales.
    let place = if node.opset < 11 { 1 } else { 2 };
    let scales = match node.floats("scales")? {
        Some(scales) => Some(scales.into_iter().map(f64::from).collect()),
        None => node.optional_constant(place)?.map(|tensor| tensor.to_f64s()),
    };
    let sizes = if node.opset < 11 { None } else { node.optional_constant(3)? };
    let wrong_count =
        |name: &str, n: usize| OpError::new(format!("`{name}` has {n} entries for {} axes", axes.len()));
    let mut shape = x.shape.clone();
    let mut all = vec![Scalar::from_f64(DType::F64, 1.0); x.rank()];
    match (scales.filter(|scales| !scales.is_empty()), sizes) {
        (Some(scales), _) => {
            if scales.len() != axes.len() {
                return Err(wrong_count("scales", scales.len()));
            }
            for (&axis, scale) in axes.iter().zip(scales) {
                shape[axis] = (x.shape[axis] as f64 * scale).floor() as usize;
                all[axis] = Scalar::from_f64(DType::F64, scale);
            }
            Ok((shape, all))
        }
        (None, Some(sizes)) => {
            let sizes = sizes
                .to_i64s()
                .into_iter()
                .map(|n| shape::extent(n, "sizes"))
                .collect::<Result<Vec<_>, _>>()?;
            if sizes.len() != axes.len() {
                return Err(wrong_count("sizes", sizes.len()));
            }
            let ratios = axes.iter().zip(&sizes).map(|(&axis, &size)| size as f64 / x.shape[axis] as f64);
            let scale = match node.string("keep_aspect_ratio_policy")?.as_deref() {
                None | Some("stretch") => {
                    axes.iter().zip(sizes).for_each(|(&axis, size)| shape[axis] = size);
                    return Ok((shape, vec![]));
                }
                Some("not_larger") => ratios.fold(f64::INFINITY, f64::min),
                Some("not_smaller") => ratios.fold(0.0, f64::max),
                Some(other) => {
                    let known = "stretch, not_larger and not_smaller are known";
                    return Err(OpError::new(format!("`keep_aspect_ratio_policy` is \"{other}\"; {known}")));
                }
            };
            for &axis in axes {
                shape[axis] = (x.shape[axis] as f64 * scale + 0.5).floor() as usize;
                all[axis] = Scalar::from_f64(DType::F64, scale);
            }
            Ok((shape, all))
        }
        (None, None) => Err(OpError::new("neither `scales` nor `sizes` is given")),
    }
}

fn coordinates(node: &Import) -> Result<Coordinates, OpError> {
    Ok(match node.string("coordinate_transformation_mode")?.as_deref() {
        None if node.opset < 11 => Coordinates::Asymmetric,
        None | Some("half_pixel") => Coordinates::HalfPixel,
        Some("half_pixel_symmetric") => Coordinates::HalfPixelSymmetric,
        Some("pytorch_half_pixel") => Coordinates::PytorchHalfPixel,
        Some("align_corners") => Coordinates::AlignCorners,
        Some("asymmetric") => Coordinates::Asymmetric,
        Some("tf_half_pixel_for_nn") => Coordinates::TfHalfPixelForNn,
        Some(other) => {
            let message = format!("`coordinate_transformation_mode` \"{other}\" is not supported");
            let supported = "half_pixel, half_pixel_symmetric, pytorch_half_pixel, align_corners, asymmetric and \
                             tf_half_pixel_for_nn are";
            return Err(OpError::new(message).with_hint(supported));
        }
    })
}

fn sampling(node: &Import, x: &TensorType, shape: &[usize]) -> Result<Sampling, OpError> {
    let flag = |name: &str| -> Result<bool, OpError> { Ok(node.int(name)?.unwrap_or(0) != 0) };
    let (antialias, exclude_outside) = (flag("antialias")?, flag("exclude_outside")?);
    Ok(match node.string("mode")?.as_deref() {
        None | Some("nearest") => Sampling::Nearest { rounding: rounding(node, x, shape)? },
        Some("linear" | "bilinear") => Sampling::Linear { antialias, exclude_outside },
        Some("cubic") => {
            let a = Scalar::f32(node.float("cubic_coeff_a")?.unwrap_or(-0.75));
            Sampling::Cubic { antialias, exclude_outside, a }
        }
        Some(other) => {
            return Err(OpError::new(format!("`mode` is \"{other}\"; nearest, linear and cubic are known")));
        }
    })
}

fn rounding(node: &Import, x: &TensorType, shape: &[usize]) -> Result<Rounding, OpError> {
    let shrinks = x.shape.iter().zip(shape).any(|(from, to)| to < from);
    Ok(match node.string("nearest_mode")?.as_deref() {
        // Opset 10 does not say; this is what ONNX Runtime does.
        None if node.opset < 11 && shrinks => Rounding::Ceil,
        None if node.opset < 11 => Rounding::Floor,
        None | Some("round_prefer_floor") => Rounding::RoundPreferFloor,
        Some("round_prefer_ceil") => Rounding::RoundPreferCeil,
        Some("floor") => Rounding::Floor,
        Some("ceil") => Rounding::Ceil,
        Some(other) => {
            let known = "round_prefer_floor, round_prefer_ceil, floor and ceil are known";
            return Err(OpError::new(format!("`nearest_mode` is \"{other}\"; {known}")));
        }
    })
}
