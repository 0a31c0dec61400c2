use ir::{OpError, TensorType, Value};
use loops::Expr;
use serde::{Deserialize, Serialize};

use crate::{Import, Meaning, Onnx, Op, onnx, shape};

/// Elements at equal distances along every axis.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slice {
    /// Place of the first element, per axis.
    pub starts: Vec<usize>,
    /// Distance to the next; negative ones go backwards.
    pub steps: Vec<i64>,
    /// Extents of the result.
    pub shape: Vec<usize>,
}

impl Op for Slice {
    const NAME: &'static str = "slice";
    const ONNX: &'static [Onnx] = &[onnx("Slice", 1, |node| {
        let x = node.input(0)?;
        let list = |k: usize, name: &str| shape::input_or_ints(node, k, name, 10);
        let missing = |name: &str| OpError::new(format!("`{name}` is missing"));
        let starts = list(1, "starts")?.ok_or_else(|| missing("starts"))?;
        let ends = list(2, "ends")?.ok_or_else(|| missing("ends"))?;
        let axes = list(3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = if node.opset < 10 { None } else { list(4, "steps")? };
        let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
        if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
            return Err(OpError::new("`starts`, `ends`, `axes` and `steps` differ in length"));
        }
        let mut slice = Slice::whole(node.ty(x));
        let mut seen = vec![false; node.ty(x).rank()];
        for k in 0..starts.len() {
            let axis = shape::axis(axes[k], seen.len())?;
            if std::mem::replace(&mut seen[axis], true) {
                return Err(OpError::new(format!("axis {axis} is named twice")));
            }
            slice.cut(axis, starts[k], ends[k], steps[k])?;
        }
        Ok(vec![slice.apply(node, x)?])
    })];

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = shape::inputs(inputs)?;
        if [self.starts.len(), self.steps.len(), self.shape.len()] != [x.rank(); 3] {
            return Err(OpError::new(format!("the slice does not have the {} axes of {x}", x.rank())));
        }
        for (axis, &extent) in x.shape.iter().enumerate() {
            let last = |steps: usize| {
                let reach = self.steps[axis].checked_mul(i64::try_from(steps).ok()?)?;
                self.starts[axis].checked_add_signed(isize::try_from(reach).ok()?)
            };
            let inside = match self.shape[axis] {
                0 => true,
                n => self.starts[axis] < extent && last(n - 1).is_some_and(|last| last < extent),
            };
            if !inside {
                return Err(OpError::new(format!("the slice leaves axis {axis} of {x}")));
            }
        }
        Ok(vec![x.with_shape(self.shape.clone())])
    }

    fn meaning(&self, inputs: &[TensorType]) -> Meaning {
        let index = |axis: usize| {
            let scaled = match self.steps[axis] {
                1 => Expr::Axis(axis),
                step => Expr::Axis(axis) * Expr::int(step),
            };
            if self.starts[axis] == 0 { scaled } else { scaled + Expr::int(self.starts[axis] as i64) }
        };
        Meaning::View(vec![(0..inputs[0].rank()).map(index).collect()])
    }

    fn before_transpose(&self, permutation: &[usize]) -> Option<(Slice, Vec<usize>)> {
        let slice = Slice {
            starts: shape::before_transpose(&self.starts, permutation)?,
            steps: shape::before_transpose(&self.steps, permutation)?,
            shape: shape::before_transpose(&self.shape, permutation)?,
        };
        Some((slice, permutation.to_vec()))
    }
}

impl Slice {
    /// All of `x`.
    pub fn whole(x: &TensorType) -> Slice {
        Slice { starts: vec![0; x.rank()], steps: vec![1; x.rank()], shape: x.shape.clone() }
    }

    /// Takes `start..end` (NumPy's way: from the end if negative, clamped) by `step` of an axis that is whole so far.
    pub fn cut(&mut self, axis: usize, start: i64, end: i64, step: i64) -> Result<(), OpError> {
        let extent = self.shape[axis] as i64;
        if step == 0 {
            return Err(OpError::new(format!("the step of axis {axis} is 0")));
        }
        let from_end = |place: i64| if place < 0 { place.saturating_add(extent) } else { place };
        // Backwards the places are one lower: from the last element to before the first.
        let (low, high) = if step > 0 { (0, extent) } else { (-1, extent - 1) };
        let (start, end) = (from_end(start).clamp(low, high), from_end(end).clamp(low, high));
        let distance = if step > 0 { end - start } else { start - end };
        let count = distance.max(0).unsigned_abs().div_ceil(step.unsigned_abs()) as usize;
        self.starts[axis] = if count == 0 { 0 } else { start.max(0) as usize };
        // Where at most one element is left no step is taken.
        self.steps[axis] = if count > 1 { step } else { 1 };
        self.shape[axis] = count;
        Ok(())
    }

    /// The slice `self(inner(x))`; `None` where it has no elements.
    pub fn after(&self, inner: &Slice) -> Option<Slice> {
        let mut merged = self.clone();
        for axis in 0..self.shape.len() {
            let start = inner.steps[axis].checked_mul(i64::try_from(self.starts[axis]).ok()?)?;
            merged.starts[axis] = inner.starts[axis].checked_add_signed(isize::try_from(start).ok()?)?;
            merged.steps[axis] = match self.shape[axis] {
                0 => return None,
                1 => 1,
                _ => inner.steps[axis].checked_mul(self.steps[axis])?,
            };
        }
        Some(merged)
    }

    /// The lowest and the highest place along `axis` that it takes; `None` where it takes none.
    pub fn reach(&self, axis: usize) -> Option<(usize, usize)> {
        let steps = i64::try_from(self.shape[axis].checked_sub(1)?).ok()?;
        let distance = self.steps[axis].checked_mul(steps)?;
        let last = self.starts[axis].checked_add_signed(isize::try_from(distance).ok()?)?;
        Some((last.min(self.starts[axis]), last.max(self.starts[axis])))
    }

    /// The slice that holds the elements of this one and then those of `next`, along `axis`.
    pub fn joined(&self, next: &Slice, axis: usize) -> Option<Slice> {
        let mut joined = self.clone();
        joined.steps[axis] = next.steps[axis];
        joined.starts[axis] = next.starts[axis];
        joined.shape[axis] = next.shape[axis];
        let differ_elsewhere = joined != *next;
        let (first, second) = (self.shape[axis], next.shape[axis]);
        let distance = next.starts[axis].checked_signed_diff(self.starts[axis])? as i64;
        // A slice of one element takes any step.
        let step = match (first, second) {
            (0, _) | (_, 0) => return None,
            (1, 1) => distance,
            (1, _) => next.steps[axis],
            _ => self.steps[axis],
        };
        let in_step = step != 0
            && i64::try_from(first).ok().and_then(|first| step.checked_mul(first)) == Some(distance)
            && (second == 1 || next.steps[axis] == step);
        joined.starts[axis] = self.starts[axis];
        joined.steps[axis] = step;
        joined.shape[axis] = first + second;
        (in_step && !differ_elsewhere).then_some(joined)
    }

    /// Adds the slice; nothing where it takes all of `x`.
    pub fn apply(self, node: &mut Import, x: Value) -> Result<Value, OpError> {
        if self == Slice::whole(node.ty(x)) { Ok(x) } else { node.apply(self, &[x]) }
    }
}
