use ir::{OpError, TensorType};
use loops::{Expr, Source};
use serde::{Deserialize, Serialize};

use super::{Layout, Window};
use crate::Import;

/// The window of a pooling operator: each result element folds the elements under the kernel, per channel.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pool {
    pub kernel: Vec<usize>,
    pub window: Window,
    pub layout: Layout,
}

impl Pool {
    /// Reads `kernel_shape`, `ceil_mode` and what [`Window::import`] reads.
    ///
    /// The result of `ceil_mode` is written as wider end pads; what they were in the model is the second result.
    pub fn import(node: &Import, x: &TensorType) -> Result<(Pool, Vec<(usize, usize)>), OpError> {
        if x.rank() < 3 {
            return Err(OpError::new(format!("{x} has no spatial axes to pool")));
        }
        let spatial = &x.shape[2..];
        let kernel =
            node.ints("kernel_shape")?.ok_or_else(|| OpError::new("attribute `kernel_shape` is missing"))?;
        if kernel.len() != spatial.len() {
            return Err(OpError::new(format!("`kernel_shape` has {} entries for {x}", kernel.len())));
        }
        let kernel =
            kernel.into_iter().map(|k| super::positive(k, "kernel_shape")).collect::<Result<Vec<_>, _>>()?;
        let mut window = Window::import(node, spatial, &kernel)?;
        let pads = window.pads.clone();
        let automatic = node.string("auto_pad")?.is_some_and(|mode| mode != "NOTSET");
        if node.int("ceil_mode")?.unwrap_or(0) != 0 && !automatic {
            for (k, &extent) in spatial.iter().enumerate() {
                window.pads[k].1 =
                    ceil_pad(extent, kernel[k], window.strides[k], window.dilations[k], pads[k]);
            }
        }
        Ok((Pool { kernel, window, layout: Layout::ChannelsFirst }, pads))
    }

    pub fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
        let [x] = super::inputs(inputs)?;
        if x.rank() < 3 {
            return Err(OpError::new(format!("{x} has no spatial axes to pool")));
        }
        let (batch, channels, spatial) = self.layout.split(&x.shape);
        let positions = self.window.results(&spatial, &self.kernel)?;
        Ok(x.with_shape(self.layout.join(batch, channels, &positions)))
    }

    /// The element under the kernel, mapped by `inside`, and `outside` where the kernel hangs over the edge.
    pub fn body(&self, x: &TensorType, inside: impl FnOnce(Expr) -> Expr, outside: Expr) -> Expr {
        let rank = x.rank();
        let axes = self.layout.axes(rank);
        let (_, _, spatial) = self.layout.split(&x.shape);
        let place = |k: usize| self.window.place(k, Expr::Axis(axes.spatial(k)), Expr::Axis(rank + k));
        let places: Vec<Expr> = (0..spatial.len()).map(place).collect();
        let index = self.layout.join(Expr::Axis(0), Expr::Axis(axes.channel), &places);
        let read = inside(Expr::read(Source::Operand(0), index));
        self.window.guard(&places, &spatial, &self.kernel, read, outside)
    }
}

/// The end pad for which `floor` gives what `ceil` gives for the pads `(begin, end)`: a last window that hangs over
/// the end counts, unless it would start behind the input and the pad before it.
fn ceil_pad(
    extent: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    (begin, end): (usize, usize),
) -> usize {
    let reach = (kernel - 1).saturating_mul(dilation).saturating_add(1);
    let padded = extent.saturating_add(begin).saturating_add(end);
    let Some(room) = padded.checked_sub(reach) else { return end };
    let mut last = room.div_ceil(stride).saturating_mul(stride);
    if last >= extent.saturating_add(begin) {
        last = last.saturating_sub(stride);
    }
    last.saturating_add(reach).saturating_sub(extent.saturating_add(begin))
}
