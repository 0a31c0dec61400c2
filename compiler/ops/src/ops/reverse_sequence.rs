use ir::{OpError, TensorType};
use loops::{Compare, Definition, Expr, Source, Stage};
use serde::{Deserialize, Serialize};

use crate::{Meaning, Onnx, Op, onnx, shape};

/// Sequences with their first elements in reverse order; how many, the second operand says per batch element.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReverseSequence {
    pub batch_axis: usize,
    pub time_axis: usize,
}

impl Op for ReverseSequence {
    const NAME: &'static str = "reverse_sequence";
    const ONNX: &'static [Onnx] = &[onnx("ReverseSequence", 10, |node| {
        let rank = node.ty(node.input(0)?).rank();
        let batch_axis = shape::axis(node.int("batch_axis")?.unwrap_or(1), rank)?;
        let time_axis = shape::axis(node.int("time_axis")?.unwrap_or(0), rank)?;
        node.direct(ReverseSequence { batch_axis, time_axis })
    })];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x, lengths] = shape::inputs(inputs)?;
        let fits =
            self.time_axis < x.rank() && self.batch_axis < x.rank() && self.batch_axis != self.time_axis;
        if !fits || lengths.shape != [x.shape[self.batch_axis]] || !lengths.dtype.is_int() {
            return Err(OpError::new(format!(
                "lengths {lengths} with batch axis {} and time axis {} do not fit {x}",
                self.batch_axis, self.time_axis
            )));
        }
        Ok(vec![x.clone()])
    }

    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let x = &inputs[0];
        let length = Expr::read(Source::Operand(1), vec![Expr::Axis(self.batch_axis)]).cast(ir::DType::I64);
        // A length beyond the axis counts as all of it.
        let length = length.min(Expr::int(x.shape[self.time_axis] as i64));
        let time = Expr::Axis(self.time_axis);
        let within = Expr::compare(Compare::Lt, time.clone(), length.clone());
        let mut index: Vec<Expr> = (0..x.rank()).map(Expr::Axis).collect();
        index[self.time_axis] = Expr::select(within, length - time.clone() - Expr::int(1), time);
        let body = Expr::read(Source::Operand(0), index);
        Meaning::Compute(Definition::single(Stage::map(x.dtype, x.shape.clone(), body)))
    }
}
