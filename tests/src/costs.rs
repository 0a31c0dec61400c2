//! Costs without a target, for tests of what is stored in 16 bits.

use ir::{DType, TensorType};
use ops::AnyOp;
use rewrite::{CostModel, DefaultCost};

/// A machine to which operators on narrow operands are so many times as dear, and that has more or less memory.
pub struct Narrowing {
    pub dearer: f64,
    pub short_of_memory: bool,
}

impl Narrowing {
    /// All that can be narrow is.
    pub const EVERYWHERE: Narrowing = Narrowing { dearer: 1.0, short_of_memory: true };
}

impl CostModel for Narrowing {
    fn cost(&self, op: &AnyOp, inputs: &[TensorType], outputs: &[TensorType]) -> f64 {
        let narrow = inputs.iter().any(|ty| matches!(ty.dtype, DType::F16 | DType::BF16));
        DefaultCost::default().cost(op, inputs, outputs) * if narrow { self.dearer } else { 1.0 }
    }

    fn short_of_memory(&self) -> bool {
        self.short_of_memory
    }
}
