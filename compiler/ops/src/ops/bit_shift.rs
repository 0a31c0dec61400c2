use ir::{DType, OpError};
use loops::{Binary, Expr};
use serde::{Deserialize, Serialize};

use crate::{Elementwise, Onnx, check, onnx};

/// `a` shifted by `b` bits.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BitShift {
    pub direction: Direction,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    #[default]
    Left,
    Right,
}

impl Elementwise for BitShift {
    const NAME: &'static str = "bit_shift";
    const ONNX: &'static [Onnx] = &[onnx("BitShift", 11, |node| {
        let direction = match node.string("direction")?.as_deref() {
            Some("LEFT") => Direction::Left,
            Some("RIGHT") => Direction::Right,
            other => return Err(OpError::new(format!("`direction` is {other:?}; LEFT and RIGHT are known"))),
        };
        node.direct(BitShift { direction })
    })];
    const ARITY: (usize, usize) = (2, 2);

    fn result(&self, inputs: &[DType]) -> Result<DType, OpError> {
        check::same_int(inputs)
    }

    fn body(&self, args: &[Expr], _: &[DType]) -> Expr {
        let op = match self.direction {
            Direction::Left => Binary::ShiftLeft,
            Direction::Right => Binary::ShiftRight,
        };
        Expr::binary(op, args[0].clone(), args[1].clone())
    }
}
