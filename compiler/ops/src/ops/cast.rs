use ir::{DType, OpError};
use loops::Expr;
use serde::{Deserialize, Serialize};

use crate::{Elementwise, Onnx, import, onnx};

/// Conversion to another element type: floats truncate towards zero and saturate, integers wrap, bool is `≠ 0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cast {
    pub to: DType,
}

impl Default for Cast {
    fn default() -> Cast {
        Cast { to: DType::F32 }
    }
}

impl Elementwise for Cast {
    const NAME: &'static str = "cast";
    // `saturate` and `round_mode` speak of float8 types alone.
    const ONNX: &'static [Onnx] = &[
        onnx("Cast", 6, |node| {
            let code = node.int("to")?.ok_or_else(|| OpError::new("attribute `to` is missing"))?;
            let x = node.input(0)?;
            Ok(vec![node.cast(x, import::element_type(code)?)?])
        }),
        onnx("CastLike", 15, |node| {
            let (x, like) = (node.input(0)?, node.input(1)?);
            let to = node.ty(like).dtype;
            Ok(vec![node.cast(x, to)?])
        }),
    ];
    const ARITY: (usize, usize) = (1, 1);

    fn result(&self, _: &[DType]) -> Result<DType, OpError> {
        Ok(self.to)
    }

    fn body(&self, args: &[Expr], inputs: &[DType]) -> Expr {
        if inputs[0] == self.to { args[0].clone() } else { args[0].clone().cast(self.to) }
    }
}
