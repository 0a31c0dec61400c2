use ir::{OpError, TensorType};
use loops::{Binary, Compare, Definition, Expr, Fold, Source, Stage};
use serde::{Deserialize, Serialize};

use crate::shape::{self, Layout, Window};
use crate::{Import, Meaning, Onnx, Op, onnx};

/// Transposed convolution over any number of spatial axes: operands `x`, `w` (always `[in, out / group, kernel...]`),
/// and an optional bias `[out]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConvTranspose {
    /// Of the convolution that this is the transpose of: its pads are cut off the result.
    pub window: Window,
    /// Elements that the result has more at the end, per spatial axis.
    pub output_padding: Vec<usize>,
    pub group: usize,
    /// Of `x` and the result.
    pub layout: Layout,
}

impl Op for ConvTranspose {
    const NAME: &'static str = "conv_transpose";
    const ONNX: &'static [Onnx] = &[onnx("ConvTranspose", 1, |node| {
        let (x, w) = (node.input(0)?, node.input(1)?);
        let (x_type, w_type) = (node.ty(x).clone(), node.ty(w).clone());
        shape::convolution(&x_type, &w_type)?;
        let (window, output_padding) = import_window(node, &x_type.shape[2..], &w_type.shape[2..])?;
        let group = shape::positive(node.int("group")?.unwrap_or(1), "group")?;
        let mut operands = vec![x, w];
        operands.extend(node.optional(2));
        let layout = Layout::ChannelsFirst;
        Ok(vec![node.apply(ConvTranspose { window, output_padding, group, layout }, &operands)?])
    })];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let (x, w, bias) = match inputs {
            [x, w] => (x, w, None),
            [x, w, bias] => (x, w, Some(bias)),
            _ => return Err(OpError::new(format!("takes 2 or 3 inputs, got {}", inputs.len()))),
        };
        shape::convolution(x, w)?;
        if x.dtype != w.dtype || !x.dtype.is_float() {
            return Err(OpError::new(format!("takes floats of one type, got {x} and {w}")));
        }
        let (batch, channels, spatial) = self.layout.split(&x.shape);
        if self.group == 0 || w.shape[0] != channels || !channels.is_multiple_of(self.group) {
            return Err(OpError::new(format!(
                "{} groups over {channels} input channels do not fit weights {w}",
                self.group
            ))
            .with_hint("weights are [in channels, out channels / group, kernel...]"));
        }
        let out =
            w.shape[1].checked_mul(self.group).ok_or_else(|| OpError::new("too many output channels"))?;
        if let Some(bias) = bias.filter(|bias| bias.shape != [out] || bias.dtype != x.dtype) {
            return Err(OpError::new(format!("bias {bias} does not fit {out} output channels")));
        }
        let spatial = self.results(&spatial, &w.shape[2..])?;
        Ok(vec![x.with_shape(self.layout.join(batch, out, &spatial))])
    }

    /// `y[n, o, p] = Σ_{c, k} x[n, g(o) · C + c, t / stride] · w[g(o) · C + c, o mod O, k] (+ b[o])` over those taps
    /// for which `t = p + pad - k · dilation` is a multiple of the stride and on the map.
    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let (x, w) = (&inputs[0], &inputs[1]);
        let (batch, channels, spatial) = self.layout.split(&x.shape);
        let (out_per_group, kernel) = (w.shape[1], &w.shape[2..]);
        let in_per_group = channels / self.group.max(1);
        let rank = x.rank();
        let positions = self.results(&spatial, kernel).unwrap_or_default();
        let axes = self.layout.axes(rank);
        let (mut places, mut conditions) = (vec![], vec![]);
        for (k, &extent) in spatial.iter().enumerate() {
            let stride = self.window.strides[k];
            let spread = self.spread(k, Expr::Axis(axes.spatial(k)), Expr::Axis(rank + k));
            // How far apart the map's first and last element are once the stride has spread them.
            conditions.push(spread.clone().within((extent - 1) * stride + 1));
            let divisor = Expr::int(stride as i64);
            if stride > 1 {
                let rest = Expr::binary(Binary::Rem, spread.clone(), divisor.clone());
                conditions.push(Expr::compare(Compare::Eq, rest, Expr::int(0)));
            }
            places.push(if stride > 1 { spread / divisor } else { spread });
        }
        let out = Expr::Axis(axes.channel);
        let tap = Expr::Axis(rank + kernel.len());
        let (channel, within_group) = match (self.group, out_per_group) {
            (1, _) => (tap, out.clone()),
            (_, 1) => (out.clone() * Expr::int(in_per_group as i64) + tap, Expr::int(0)),
            _ => {
                let width = Expr::int(out_per_group as i64);
                let group = out.clone() / width.clone();
                (group * Expr::int(in_per_group as i64) + tap, Expr::binary(Binary::Rem, out.clone(), width))
            }
        };
        let mut w_index = vec![channel.clone(), within_group];
        w_index.extend((0..kernel.len()).map(|k| Expr::Axis(rank + k)));
        let read_x = Expr::read(Source::Operand(0), self.layout.join(Expr::Axis(0), channel, &places));
        let product = read_x * Expr::read(Source::Operand(1), w_index);
        let body = match conditions.into_iter().reduce(Expr::and) {
            None => product,
            Some(condition) => Expr::select(condition, product, Expr::constant(x.dtype, 0.0)),
        };
        let domain = self.layout.join(batch, out_per_group * self.group, &positions);
        let mut reduction = kernel.to_vec();
        reduction.push(in_per_group);
        let mut stage = Stage::reduce(x.dtype, domain, Fold::Sum, reduction, body);
        if inputs.len() == 3 {
            stage = stage.finished(x.dtype, &(Expr::Folded + Expr::read(Source::Operand(2), vec![out])));
        }
        Meaning::Compute(Definition::single(stage))
    }

    fn in_layout(&self, layout: Layout) -> Option<ConvTranspose> {
        Some(ConvTranspose { layout, ..self.clone() })
    }
}

impl ConvTranspose {
    /// Extents of the result: `stride · (x - 1) + reach - pads + output padding`.
    fn results(&self, spatial: &[usize], kernel: &[usize]) -> Result<Vec<usize>, OpError> {
        let rank = spatial.len();
        let window = &self.window;
        if [window.strides.len(), window.dilations.len(), window.pads.len(), self.output_padding.len()]
            != [rank; 4]
        {
            return Err(OpError::new(format!("the window does not have {rank} spatial axes")));
        }
        let result = |k: usize| {
            if spatial[k] == 0 || kernel[k] == 0 || window.strides[k] == 0 || window.dilations[k] == 0 {
                return None;
            }
            let steps = window.strides[k].checked_mul(spatial[k] - 1)?;
            let reach = window.dilations[k].checked_mul(kernel[k] - 1)?.checked_add(1)?;
            let whole = steps.checked_add(reach)?.checked_add(self.output_padding[k])?;
            whole.checked_sub(window.pads[k].0)?.checked_sub(window.pads[k].1)
        };
        (0..rank)
            .map(|k| {
                result(k).ok_or_else(|| {
                    OpError::new(format!(
                        "a kernel of {} over an extent of {} with pads {:?} leaves nothing",
                        kernel[k], spatial[k], window.pads[k]
                    ))
                })
            })
            .collect()
    }

    /// Where the tap falls on the map as spread out by the stride.
    fn spread(&self, k: usize, position: Expr, tap: Expr) -> Expr {
        let padded = match self.window.pads[k].0 {
            0 => position,
            pad => position + Expr::int(pad as i64),
        };
        padded - tap * Expr::int(self.window.dilations[k] as i64)
    }
}

/// The window and the output padding, with `output_shape` and `auto_pad` worked out as pads.
fn import_window(
    node: &Import,
    spatial: &[usize],
    kernel: &[usize],
) -> Result<(Window, Vec<usize>), OpError> {
    let rank = spatial.len();
    let mut window = Window::import(node, spatial, kernel)?;
    let mut output_padding = match node.ints("output_padding")? {
        None => vec![0; rank],
        Some(list) if list.len() != rank => {
            return Err(OpError::new(format!(
                "`output_padding` has {} entries for {rank} spatial axes",
                list.len()
            )));
        }
        Some(list) => {
            list.into_iter().map(|p| shape::extent(p, "output_padding")).collect::<Result<_, _>>()?
        }
    };
    let auto_pad = node.string("auto_pad")?.unwrap_or_default();
    let wanted: Vec<usize> = match node.ints("output_shape")? {
        Some(list) if list.len() < rank => {
            return Err(OpError::new(format!(
                "`output_shape` has {} entries for {rank} spatial axes",
                list.len()
            )));
        }
        // Early exporters list batch and channels as well.
        Some(list) => list[list.len() - rank..]
            .iter()
            .map(|&extent| shape::extent(extent, "output_shape"))
            .collect::<Result<_, _>>()?,
        None if auto_pad.starts_with("SAME") => {
            spatial.iter().zip(&window.strides).map(|(&x, &stride)| x.saturating_mul(stride)).collect()
        }
        None => return Ok((window, output_padding)),
    };
    for k in 0..rank {
        let steps = window.strides[k].saturating_mul(spatial[k].saturating_sub(1));
        let reach = window.dilations[k].saturating_mul(kernel[k].saturating_sub(1)).saturating_add(1);
        let whole = steps.saturating_add(reach).saturating_add(output_padding[k]);
        let total = whole.saturating_sub(wanted[k]);
        // A result wider than everything that the taps reach is zero there.
        output_padding[k] = output_padding[k].saturating_add(wanted[k].saturating_sub(whole));
        let (small, large) = (total / 2, total - total / 2);
        window.pads[k] = if auto_pad == "SAME_UPPER" { (small, large) } else { (large, small) };
    }
    Ok((window, output_padding))
}
