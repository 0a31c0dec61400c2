use ir::{OpError, Scalar, Tensor, TensorType};
use loops::{Definition, Expr, Fold, Source, Stage};
use serde::{Deserialize, Serialize};

use crate::shape::{Layout, Pool};
use crate::{Meaning, Onnx, Op, onnx};

/// The mean of the elements under the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AveragePool {
    pub pool: Pool,
    /// How far around the map, per spatial axis, the kernel's taps still count as elements (of value 0); nothing
    /// where the list is empty.
    pub counted: Vec<(usize, usize)>,
}

impl Op for AveragePool {
    const NAME: &'static str = "average_pool";
    const ONNX: &'static [Onnx] = &[onnx("AveragePool", 1, |node| {
        let x = node.input(0)?;
        let (pool, pads) = Pool::import(node, node.ty(x))?;
        let count_pads = node.int("count_include_pad")?.unwrap_or(0) != 0;
        let counted = if count_pads && pads.iter().any(|&p| p != (0, 0)) { pads } else { vec![] };
        Ok(vec![node.apply(AveragePool { pool, counted }, &[x])?])
    })];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let result = self.pool.infer(inputs)?;
        crate::check::require(result.dtype, result.dtype.is_float(), "a float type")?;
        if !self.counted.is_empty() && self.counted.len() != self.pool.kernel.len() {
            return Err(OpError::new(format!(
                "counted pads {:?} for kernel {:?}",
                self.counted, self.pool.kernel
            )));
        }
        Ok(vec![result])
    }

    /// The sum over the kernel, divided by how many taps count: a constant where that is the same everywhere, else
    /// a product of one number per position and axis, which tables hold.
    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let x = &inputs[0];
        let domain = self.pool.infer(inputs).map(|result| result.shape).unwrap_or_default();
        let axes = self.pool.layout.axes(x.rank());
        let (_, _, extents) = self.pool.layout.split(&x.shape);
        let mut tables = vec![];
        let mut everywhere = 1;
        let mut divisor: Option<Expr> = None;
        for (k, &extent) in extents.iter().enumerate() {
            let counts = self.counts(k, extent, domain[axes.spatial(k)]);
            match counts.first() {
                Some(&first) if counts.iter().all(|&c| c == first) => everywhere *= first,
                _ => {
                    let count = Expr::read(Source::Table(tables.len()), vec![Expr::Axis(axes.spatial(k))]);
                    tables.push(table(x.dtype, &counts));
                    divisor = Some(divisor.map_or(count.clone(), |d| d * count));
                }
            }
        }
        let constant = Expr::constant(x.dtype, everywhere as f64);
        let divisor = match divisor {
            None => constant,
            Some(divisor) if everywhere == 1 => divisor,
            Some(divisor) => divisor * constant,
        };
        let body = self.pool.body(x, |element| element, Expr::constant(x.dtype, 0.0));
        let stage = Stage::reduce(x.dtype, domain, Fold::Sum, self.pool.kernel.clone(), body)
            .finished(x.dtype, &(Expr::Folded / divisor));
        Meaning::Compute(Definition::single(stage).with_tables(tables))
    }

    fn in_layout(&self, layout: Layout) -> Option<AveragePool> {
        let pool = Pool { layout, ..self.pool.clone() };
        Some(AveragePool { pool, ..self.clone() })
    }
}

impl AveragePool {
    /// For each position along spatial axis `k` how many taps count.
    fn counts(&self, k: usize, extent: usize, positions: usize) -> Vec<usize> {
        let window = &self.pool.window;
        let (before, after) = self.counted.get(k).copied().unwrap_or((0, 0));
        // Both in elements from the beginning of the begin pad.
        let (first, end) = (
            window.pads[k].0.saturating_sub(before),
            window.pads[k].0.saturating_add(extent).saturating_add(after),
        );
        let counts = |position: usize| {
            let places =
                (0..self.pool.kernel[k]).map(|tap| position * window.strides[k] + tap * window.dilations[k]);
            places.filter(|place| (first..end).contains(place)).count()
        };
        (0..positions).map(counts).collect()
    }
}

fn table(dtype: ir::DType, counts: &[usize]) -> Tensor {
    let data = counts.iter().flat_map(|&count| Scalar::from_f64(dtype, count as f64).to_le_bytes()).collect();
    Tensor::new(TensorType::new(dtype, [counts.len()]), data)
}
