use ir::{DType, OpError};
use loops::{Binary, Expr};
use serde::{Deserialize, Serialize};

use crate::{Elementwise, Onnx, check, onnx};

/// `a^b` in `a`'s type; the exponent may be of another.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pow;

impl Elementwise for Pow {
    const NAME: &'static str = "pow";
    const ONNX: &'static [Onnx] = &[onnx("Pow", 7, |node| node.direct(Pow))];
    const ARITY: (usize, usize) = (2, 2);

    fn result(&self, inputs: &[DType]) -> Result<DType, OpError> {
        check::require(inputs[1], inputs[1] != DType::Bool, "a number type as exponent")?;
        check::require(inputs[0], inputs[0] != DType::Bool, "a number type as base")
    }

    fn body(&self, args: &[Expr], inputs: &[DType]) -> Expr {
        let (base, exponent) = (args[0].clone(), args[1].clone());
        let cast = |value: Expr, from, to| if from == to { value } else { value.cast(to) };
        // An integer to a fractional power is computed among the fractions.
        let within = if inputs[0].is_int() && inputs[1].is_float() { inputs[1] } else { inputs[0] };
        let power =
            Expr::binary(Binary::Pow, cast(base, inputs[0], within), cast(exponent, inputs[1], within));
        cast(power, within, inputs[0])
    }
}
