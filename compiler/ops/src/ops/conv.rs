use ir::{OpError, TensorType};
use loops::{Definition, Expr, Fold, Source, Stage};
use serde::{Deserialize, Serialize};

use crate::shape::{self, Layout, Window};
use crate::{Meaning, Onnx, Op, onnx};

/// Convolution over any number of spatial axes: operands `x`, `w` (always `[out, in / group, kernel...]`), and an
/// optional bias `[out]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Conv {
    pub window: Window,
    pub group: usize,
    /// Of `x` and the result.
    pub layout: Layout,
}

impl Op for Conv {
    const NAME: &'static str = "conv";
    const ONNX: &'static [Onnx] = &[onnx("Conv", 1, |node| {
        let (x, w) = (node.input(0)?, node.input(1)?);
        let (x_type, w_type) = (node.ty(x).clone(), node.ty(w).clone());
        shape::convolution(&x_type, &w_type)?;
        let window = Window::import(node, &x_type.shape[2..], &w_type.shape[2..])?;
        let group = shape::positive(node.int("group")?.unwrap_or(1), "group")?;
        let mut operands = vec![x, w];
        operands.extend(node.optional(2));
        Ok(vec![node.apply(Conv { window, group, layout: Layout::ChannelsFirst }, &operands)?])
    })];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let (x, w) = match inputs {
            [x, w] => (x, w),
            [x, w, bias] if bias.shape == w.shape[..w.rank().min(1)] && bias.dtype == x.dtype => (x, w),
            [_, w, bias] => return Err(OpError::new(format!("bias {bias} does not fit weights {w}"))),
            _ => return Err(OpError::new(format!("takes 2 or 3 inputs, got {}", inputs.len()))),
        };
        shape::convolution(x, w)?;
        if x.dtype != w.dtype || !x.dtype.is_float() {
            return Err(OpError::new(format!("takes floats of one type, got {x} and {w}")));
        }
        let (batch, channels, spatial) = self.layout.split(&x.shape);
        let (out, per_group) = (w.shape[0], w.shape[1]);
        if self.group == 0 || per_group.checked_mul(self.group) != Some(channels) || !out.is_multiple_of(self.group) {
            return Err(OpError::new(format!(
                "{} groups over {channels} input channels do not fit weights {w}",
                self.group
            ))
            .with_hint("weights are [out channels, in channels / group, kernel...]"));
        }
        let spatial = self.window.results(&spatial, &w.shape[2..])?;
        Ok(vec![x.with_shape(self.layout.join(batch, out, &spatial))])
    }

    /// `y[n, o, p] = Σ_{c, k} x[n, g(o) · C + c, p · stride + k · dilation - pad] · w[o, c, k] (+ b[o])`.
    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let (x, w) = (&inputs[0], &inputs[1]);
        let (batch, _, spatial) = self.layout.split(&x.shape);
        let (out, per_group, kernel) = (w.shape[0], w.shape[1], &w.shape[2..]);
        let rank = x.rank();
        let positions = self.window.results(&spatial, kernel).unwrap_or_default();
        let axes = self.layout.axes(rank);
        // Reduction axes: kernel positions, then channels, so that channels are the innermost loop.
        let tap = |k: usize| Expr::Axis(rank + k);
        let channel = Expr::Axis(rank + kernel.len());
        let first = match self.group {
            1 => Expr::int(0),
            g if g == out => Expr::Axis(axes.channel) * Expr::int(per_group as i64),
            g => Expr::Axis(axes.channel) / Expr::int((out / g) as i64) * Expr::int(per_group as i64),
        };
        let places: Vec<Expr> = (0..kernel.len()).map(|k| self.window.place(k, Expr::Axis(axes.spatial(k)), tap(k))).collect();
        let read_x = Expr::read(Source::Operand(0), self.layout.join(Expr::Axis(0), first + channel.clone(), &places));
        let mut w_index = vec![Expr::Axis(axes.channel), channel];
        w_index.extend((0..kernel.len()).map(tap));
        let product = read_x * Expr::read(Source::Operand(1), w_index);
        let body = self.window.guard(&places, &spatial, kernel, product, Expr::constant(x.dtype, 0.0));
        let mut reduction = kernel.to_vec();
        reduction.push(per_group);
        let mut stage = Stage::reduce(x.dtype, self.layout.join(batch, out, &positions), Fold::Sum, reduction, body);
        if inputs.len() == 3 {
            stage = stage.finished(x.dtype, &(Expr::Folded + Expr::read(Source::Operand(2), vec![Expr::Axis(axes.channel)])));
        }
        Meaning::Compute(Definition::single(stage))
    }

    fn in_layout(&self, layout: Layout) -> Option<Conv> {
        Some(Conv { layout, ..self.clone() })
    }
}
