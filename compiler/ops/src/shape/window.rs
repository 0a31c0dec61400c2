use ir::OpError;
use loops::Expr;
use serde::{Deserialize, Serialize};

use crate::Import;

/// How a kernel slides over the spatial axes of a feature map.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Window {
    pub strides: Vec<usize>,
    pub dilations: Vec<usize>,
    /// Before the first and after the last element, per spatial axis.
    pub pads: Vec<(usize, usize)>,
}

impl Window {
    /// Stride 1, no dilation, no padding.
    pub fn plain(rank: usize) -> Window {
        Window { strides: vec![1; rank], dilations: vec![1; rank], pads: vec![(0, 0); rank] }
    }

    /// Reads `strides`, `dilations`, `pads` and `auto_pad` of a convolution or pooling node.
    pub fn import(node: &Import, spatial: &[usize], kernel: &[usize]) -> Result<Window, OpError> {
        let rank = spatial.len();
        let list = |name: &str| -> Result<Vec<usize>, OpError> {
            let values = node.ints(name)?.unwrap_or_else(|| vec![1; rank]);
            if values.len() != rank {
                return Err(OpError::new(format!(
                    "`{name}` has {} entries for {rank} spatial axes",
                    values.len()
                )));
            }
            values.into_iter().map(|v| super::positive(v, name)).collect()
        };
        let (strides, dilations) = (list("strides")?, list("dilations")?);
        let auto_pad = node.string("auto_pad")?.unwrap_or_else(|| "NOTSET".into());
        let same = |after: bool| -> Vec<(usize, usize)> {
            (0..rank)
                .map(|k| {
                    let reach = kernel[k].saturating_sub(1).saturating_mul(dilations[k]) + 1;
                    let steps = spatial[k].div_ceil(strides[k]).saturating_sub(1).saturating_mul(strides[k]);
                    let total = (steps + reach).saturating_sub(spatial[k]);
                    let (small, large) = (total / 2, total - total / 2);
                    if after { (small, large) } else { (large, small) }
                })
                .collect()
        };
        let pads = match auto_pad.as_str() {
            "NOTSET" => explicit_pads(node.ints("pads")?, rank)?,
            "VALID" => vec![(0, 0); rank],
            "SAME_UPPER" => same(true),
            "SAME_LOWER" => same(false),
            other => {
                return Err(OpError::new(format!(
                    "`auto_pad` is \"{other}\"; NOTSET, VALID, SAME_UPPER and SAME_LOWER are known"
                )));
            }
        };
        Ok(Window { strides, dilations, pads })
    }

    /// Extents of the result: `floor((x + pads - reach) / stride) + 1`.
    pub fn results(&self, spatial: &[usize], kernel: &[usize]) -> Result<Vec<usize>, OpError> {
        let rank = spatial.len();
        if [self.strides.len(), self.dilations.len(), self.pads.len(), kernel.len()] != [rank; 4] {
            return Err(OpError::new(format!("the window does not have {rank} spatial axes")));
        }
        (0..rank).map(|k| self.result(k, spatial[k], kernel[k])).collect()
    }

    fn result(&self, k: usize, extent: usize, kernel: usize) -> Result<usize, OpError> {
        let reach = kernel.saturating_sub(1).saturating_mul(self.dilations[k]).saturating_add(1);
        let padded = extent.saturating_add(self.pads[k].0).saturating_add(self.pads[k].1);
        if kernel == 0 || self.strides[k] == 0 || self.dilations[k] == 0 || padded < reach {
            return Err(OpError::new(format!(
                "a kernel of {kernel} does not fit an extent of {extent} (pads {:?}, dilation {})",
                self.pads[k], self.dilations[k]
            )));
        }
        Ok((padded - reach) / self.strides[k] + 1)
    }

    /// Where tap `tap` of the window at `position` falls on spatial axis `k`.
    pub fn place(&self, k: usize, position: Expr, tap: Expr) -> Expr {
        let scaled =
            |value: Expr, factor: usize| if factor == 1 { value } else { value * Expr::int(factor as i64) };
        let sum = scaled(position, self.strides[k]) + scaled(tap, self.dilations[k]);
        if self.pads[k].0 == 0 { sum } else { sum - Expr::int(self.pads[k].0 as i64) }
    }

    /// `inside` where every place is on the map, `outside` elsewhere. Axes that no tap can leave are not asked.
    pub fn guard(
        &self,
        places: &[Expr],
        spatial: &[usize],
        kernel: &[usize],
        inside: Expr,
        outside: Expr,
    ) -> Expr {
        let leaves = |k: usize| {
            let positions = self.result(k, spatial[k], kernel[k]).unwrap_or(0);
            let last = positions.saturating_sub(1) * self.strides[k] + (kernel[k] - 1) * self.dilations[k];
            self.pads[k].0 > 0 || last >= spatial[k] + self.pads[k].0
        };
        let conditions =
            (0..places.len()).filter(|&k| leaves(k)).map(|k| places[k].clone().within(spatial[k]));
        match conditions.reduce(Expr::and) {
            None => inside,
            Some(condition) => Expr::select(condition, inside, outside),
        }
    }
}

/// ONNX's `pads`: all begins, then all ends.
fn explicit_pads(pads: Option<Vec<i64>>, rank: usize) -> Result<Vec<(usize, usize)>, OpError> {
    let pads = pads.unwrap_or_else(|| vec![0; 2 * rank]);
    if pads.len() != 2 * rank {
        return Err(OpError::new(format!("`pads` has {} entries for {rank} spatial axes", pads.len())));
    }
    let pad =
        |p: i64| usize::try_from(p).map_err(|_| OpError::new(format!("`pads` has the negative entry {p}")));
    (0..rank).map(|k| Ok((pad(pads[k])?, pad(pads[rank + k])?))).collect()
}
