use crate::elementwise::elementwise;
use crate::{check, onnx};

elementwise! {
    /// The greater one, `if a > b { a } else { b }`: with a NaN among them, `b`.
    Max = "max", [onnx("Max", 6, |node| node.chain(Max))], check::same_number,
    |_, _, [a, b]| a.max(b)
}
