use ir::{OpError, TensorType, Value};
use loops::Expr;
use serde::{Deserialize, Serialize};

use crate::{Import, Meaning, Onnx, Op, onnx, ops::reshape::Reshape, shape};

/// The operand's axes in another order: result axis `k` is operand axis `permutation[k]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Transpose {
    pub permutation: Vec<usize>,
}

impl Op for Transpose {
    const NAME: &'static str = "transpose";
    const ONNX: &'static [Onnx] = &[
        onnx("Transpose", 1, |node| {
            let x = node.input(0)?;
            let rank = node.ty(x).rank();
            let permutation = match node.ints("perm")? {
                None => (0..rank).rev().collect(),
                Some(perm) => perm.iter().map(|&a| shape::axis(a, rank)).collect::<Result<_, _>>()?,
            };
            Ok(vec![node.apply(Transpose { permutation }, &[x])?])
        }),
        onnx("DepthToSpace", 1, depth_to_space),
        onnx("SpaceToDepth", 1, space_to_depth),
    ];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = shape::inputs(inputs)?;
        let mut sorted = self.permutation.clone();
        sorted.sort_unstable();
        if sorted != (0..x.rank()).collect::<Vec<_>>() {
            return Err(OpError::new(format!(
                "{:?} is no permutation of {} axes",
                self.permutation,
                x.rank()
            )));
        }
        Ok(vec![x.with_shape(self.permutation.iter().map(|&axis| x.shape[axis]).collect::<Vec<_>>())])
    }

    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let mut index = vec![Expr::int(0); inputs[0].rank()];
        for (result, &operand) in self.permutation.iter().enumerate() {
            index[operand] = Expr::Axis(result);
        }
        Meaning::View(vec![index])
    }
}

/// `reshape` to `split`, `permutation`, `reshape` to `joined`.
fn rearrange(
    node: &mut Import,
    x: Value,
    split: Vec<usize>,
    permutation: &[usize],
    joined: Vec<usize>,
) -> Result<Vec<Value>, OpError> {
    let parts = node.apply(Reshape { shape: split }, &[x])?;
    let moved = node.apply(Transpose { permutation: permutation.to_vec() }, &[parts])?;
    Ok(vec![node.apply(Reshape { shape: joined }, &[moved])?])
}

/// A feature map `[n, c, h, w]` and the block size.
fn blocks(node: &Import) -> Result<(Value, [usize; 4], usize), OpError> {
    let x = node.input(0)?;
    let block = node.int("blocksize")?.ok_or_else(|| OpError::new("attribute `blocksize` is missing"))?;
    let ty = node.ty(x);
    let extents =
        ty.shape.as_slice().try_into().map_err(|_| OpError::new(format!("takes four axes, got {ty}")))?;
    let block = shape::positive(block, "blocksize")?;
    match block.checked_mul(block) {
        Some(_) => Ok((x, extents, block)),
        None => Err(OpError::new(format!("`blocksize` is {block}"))),
    }
}

fn depth_to_space(node: &mut Import) -> Result<Vec<Value>, OpError> {
    let (x, [n, c, h, w], b) = blocks(node)?;
    if !c.is_multiple_of(b * b) {
        return Err(OpError::new(format!("{c} channels do not divide into blocks of {b} x {b}")));
    }
    let less = c / (b * b);
    let joined = vec![n, less, h * b, w * b];
    match node.string("mode")?.as_deref() {
        None | Some("DCR") => rearrange(node, x, vec![n, b, b, less, h, w], &[0, 3, 4, 1, 5, 2], joined),
        Some("CRD") => rearrange(node, x, vec![n, less, b, b, h, w], &[0, 1, 4, 2, 5, 3], joined),
        Some(other) => Err(OpError::new(format!("`mode` is \"{other}\"; DCR and CRD are known"))),
    }
}

fn space_to_depth(node: &mut Import) -> Result<Vec<Value>, OpError> {
    let (x, [n, c, h, w], b) = blocks(node)?;
    if !h.is_multiple_of(b) || !w.is_multiple_of(b) {
        return Err(OpError::new(format!("{h} x {w} does not divide into blocks of {b} x {b}")));
    }
    let split = vec![n, c, h / b, b, w / b, b];
    rearrange(node, x, split, &[0, 3, 5, 1, 2, 4], vec![n, c * b * b, h / b, w / b])
}
