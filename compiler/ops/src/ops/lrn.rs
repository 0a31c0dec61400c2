use ir::{Float, OpError, TensorType};
use loops::{Binary, Definition, Expr, Fold, Source, Stage};
use serde::{Deserialize, Serialize};

use crate::along::{accumulator, operand, stored};
use crate::shape::{self, Layout};
use crate::{Meaning, Onnx, Op, check, onnx};

/// Local response normalization: `x / (bias + alpha / size · Σ x²)^beta`, the sum over the `size` channels around.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lrn {
    pub size: usize,
    pub alpha: Float,
    pub beta: Float,
    pub bias: Float,
    pub layout: Layout,
}

impl Op for Lrn {
    const NAME: &'static str = "lrn";
    const ONNX: &'static [Onnx] = &[onnx("LRN", 1, |node| {
        let size = node.int("size")?.ok_or_else(|| OpError::new("attribute `size` is missing"))?;
        let float = |name: &str, absent| Ok(Float(node.float(name)?.unwrap_or(absent)));
        let (alpha, beta, bias) = (float("alpha", 1e-4)?, float("beta", 0.75)?, float("bias", 1.0)?);
        node.direct(Lrn {
            size: shape::positive(size, "size")?,
            alpha,
            beta,
            bias,
            layout: Layout::ChannelsFirst,
        })
    })];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = shape::inputs(inputs)?;
        check::same_float(&[x.dtype])?;
        match x.rank() >= 2 {
            true => Ok(vec![x.clone()]),
            false => Err(OpError::new(format!("takes a batch of channels, got {x}"))),
        }
    }

    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let x = &inputs[0];
        let acc = accumulator(x.dtype);
        let constant = |value| Expr::constant(acc, value);
        let channel = self.layout.axes(x.rank()).channel;
        let element: Vec<Expr> = (0..x.rank()).map(Expr::Axis).collect();
        // Of an even window the larger half lies behind.
        let before = self.size.saturating_sub(1) / 2;
        let mut near = element.clone();
        near[channel] = Expr::Axis(channel) + Expr::Axis(x.rank()) - Expr::int(before as i64);
        let read = Expr::read(Source::Operand(0), near.as_slice());
        let squares = Expr::select(
            near[channel].clone().within(x.shape[channel]),
            stored(read.clone(), x.dtype, acc) * stored(read, x.dtype, acc),
            constant(0.0),
        );
        let share = constant(self.alpha.wide() / self.size as f64);
        let base = constant(self.bias.wide()) + share * Expr::Folded;
        let divisor = Expr::binary(Binary::Pow, base, constant(self.beta.wide()));
        let quotient = operand(0, x, acc, &element) / Expr::read(Source::Stage(0), element);
        Meaning::Compute(Definition::of(vec![
            Stage::reduce(acc, x.shape.clone(), Fold::Sum, [self.size], squares).finished(acc, &divisor),
            Stage::map(x.dtype, x.shape.clone(), stored(quotient, acc, x.dtype)),
        ]))
    }

    fn in_layout(&self, layout: Layout) -> Option<Lrn> {
        Some(Lrn { layout, ..self.clone() })
    }
}
