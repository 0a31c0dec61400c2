use ir::{DType, OpError};
use loops::{Binary, Expr};
use serde::{Deserialize, Serialize};

use crate::{Elementwise, Onnx, check, onnx};

/// The remainder of `a / b`: with the divisor's sign (Python's `%`), or with the dividend's (C's `fmod`).
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Modulo {
    pub fmod: bool,
}

impl Elementwise for Modulo {
    const NAME: &'static str = "mod";
    const ONNX: &'static [Onnx] = &[onnx("Mod", 10, |node| {
        let fmod = node.int("fmod")?.unwrap_or(0) != 0;
        node.direct(Modulo { fmod })
    })];
    const ARITY: (usize, usize) = (2, 2);

    fn result(&self, inputs: &[DType]) -> Result<DType, OpError> {
        check::same_number(inputs)
    }

    fn body(&self, args: &[Expr], _: &[DType]) -> Expr {
        let op = if self.fmod { Binary::Rem } else { Binary::Mod };
        Expr::binary(op, args[0].clone(), args[1].clone())
    }
}
