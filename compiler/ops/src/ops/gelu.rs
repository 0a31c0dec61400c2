use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI};

use ir::{DType, OpError};
use loops::{Expr, Unary};
use serde::{Deserialize, Serialize};

use crate::{Elementwise, Onnx, check, onnx};

/// `x · Φ(x)`, with `Φ` the normal distribution.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Gelu {
    pub approximation: Approximation,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approximation {
    /// `Φ(x) = (1 + erf(x / √2)) / 2`.
    #[default]
    None,
    /// `Φ(x) ≈ (1 + tanh(√(2/π) · (x + 0.044715 x³))) / 2`.
    Tanh,
}

impl Elementwise for Gelu {
    const NAME: &'static str = "gelu";
    const ONNX: &'static [Onnx] = &[onnx("Gelu", 20, |node| {
        let approximation = match node.string("approximate")?.as_deref() {
            None | Some("none") => Approximation::None,
            Some("tanh") => Approximation::Tanh,
            Some(other) => {
                return Err(OpError::new(format!("`approximate` is \"{other}\"; none and tanh are known")));
            }
        };
        node.direct(Gelu { approximation })
    })];
    const ARITY: (usize, usize) = (1, 1);

    fn result(&self, inputs: &[DType]) -> Result<DType, OpError> {
        check::same_float(inputs)
    }

    fn body(&self, args: &[Expr], inputs: &[DType]) -> Expr {
        let constant = |value| Expr::constant(inputs[0], value);
        let x = args[0].clone();
        let odd = match self.approximation {
            Approximation::None => Expr::unary(Unary::Erf, x.clone() * constant(FRAC_1_SQRT_2)),
            Approximation::Tanh => {
                let cube = x.clone() * x.clone() * x.clone();
                let inner = x.clone() + constant(0.044_715) * cube;
                Expr::unary(Unary::Tanh, constant(FRAC_2_PI.sqrt()) * inner)
            }
        };
        constant(0.5) * x * (constant(1.0) + odd)
    }
}
