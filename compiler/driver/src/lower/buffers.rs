//! Buffers and the looks that values have at them.

use ir::{DType, Tensor, TensorType};
use loops::affine::Affine;
use loops::{Definition, Expr};
use ops::shape::Group;
use schedule::View;

/// Where a buffer's memory comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Home {
    Input(usize),
    Output(usize),
    Arena,
    Constant(Tensor),
    /// A constant in another order, evaluated when the weights are written.
    Packed {
        constant: usize,
        packing: Definition,
    },
}

#[derive(Debug, Clone)]
pub struct Buffer {
    pub home: Home,
    pub dtype: DType,
    /// Elements.
    pub len: usize,
}

impl Buffer {
    pub fn bytes(&self) -> usize {
        self.len * self.dtype.bytes()
    }
}

/// A value's place: a look at a buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// Index into the lowering's buffers.
    pub buffer: usize,
    pub view: View,
}

impl Located {
    pub fn whole(buffer: usize, ty: &TensorType) -> Located {
        Located { buffer, view: View::contiguous(&ty.shape) }
    }

    /// Whether the elements lie in row-major order without gaps; axes of one element do not count.
    pub fn is_dense(&self, shape: &[usize]) -> bool {
        let dense = View::contiguous(shape);
        let axes = shape.iter().zip(&self.view.strides).zip(&dense.strides);
        axes.into_iter().all(|((&extent, have), want)| extent <= 1 || have == want)
    }

    /// The same elements under another shape, where that is a matter of strides: axes may be cut in any way, and
    /// neighbours joined of which the outer one steps over all of the inner one.
    pub fn reshaped(&self, from: &[usize], to: &[usize]) -> Option<Located> {
        let mut view = View { offset: self.view.offset, ..View::contiguous(to) };
        if from.iter().product::<usize>() > 0 {
            for group in Group::all(from, to) {
                let mut stride = self.joined_stride(from, group.before)?;
                for axis in group.after.rev() {
                    view.strides[axis] = stride;
                    stride *= to[axis] as i64;
                }
            }
        }
        Some(Located { buffer: self.buffer, view })
    }

    /// The distance of neighbours along `axes` taken as one; `None` where it is not the same everywhere. Axes of one
    /// element do not count.
    fn joined_stride(&self, shape: &[usize], axes: std::ops::Range<usize>) -> Option<i64> {
        let mut wide = axes.rev().filter(|&axis| shape[axis] > 1);
        let Some(inner) = wide.next() else { return Some(1) };
        let stride = self.view.strides[inner];
        let mut next = stride * shape[inner] as i64;
        for axis in wide {
            if self.view.strides[axis] != next {
                return None;
            }
            next *= shape[axis] as i64;
        }
        Some(stride)
    }

    /// Whether no two elements of a `ty` are neighbours in memory.
    pub fn is_scattered(&self, ty: &TensorType) -> bool {
        let mut wide = ty.shape.iter().zip(&self.view.strides).filter(|&(&extent, _)| extent > 1).peekable();
        wide.peek().is_some() && wide.all(|(_, &stride)| stride != 1)
    }

    /// Whether the elements of a value of this shape are the same ones for both.
    pub fn coincides(&self, other: &Located, shape: &[usize]) -> bool {
        let strides = self.view.strides.iter().zip(&other.view.strides).zip(shape);
        (self.buffer, self.view.offset) == (other.buffer, other.view.offset)
            && strides.into_iter().all(|((a, b), &extent)| extent <= 1 || a == b)
    }

    /// The part from `start` on along `axis`.
    pub fn part(&self, axis: usize, start: usize) -> Located {
        let mut part = self.clone();
        part.view.offset += start as i64 * part.view.strides[axis];
        part
    }

    /// Seen through `index`, one expression per axis of this value over the axes of a result of rank `rank`; `None`
    /// if that is no matter of strides.
    pub fn seen_through(&self, index: &[Expr], rank: usize) -> Option<Located> {
        let address = index
            .iter()
            .zip(&self.view.strides)
            .fold(Affine::constant(self.view.offset), |sum, (index, &stride)| {
                sum.plus(&Affine::of(index), stride)
            });
        let strides = address.over_axes(rank)?;
        Some(Located { buffer: self.buffer, view: View { offset: address.offset, strides } })
    }
}
