use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// The lesser one, `if a < b { a } else { b }`: with a NaN among them, `b`.
    Min = "min", [onnx("Min", 6, |node| node.chain(Min))], check::same_number,
    |_, _, [a, b]| a.min(b)
}
