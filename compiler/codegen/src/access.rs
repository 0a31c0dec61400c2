//! Loads and stores: whole vectors, masked, or in pieces.

use ir::{DType, Scalar};
use loops::{BufferId, Expr, Type};
use melior::ir::{Attribute, Value as Ssa};

use crate::builder::Value;
use crate::kernel::{Kernel, Lowered};

/// LLVM's degrees of locality, and kinds of cache, of a prefetch.
const SECOND_CACHE: i32 = 2;
const DATA: i32 = 1;

/// Where a vector lies: the first element's address and the type there.
#[derive(Clone, Copy)]
struct Address<'c, 'a> {
    base: Ssa<'c, 'a>,
    index: Value<'c, 'a>,
    ty: Type,
}

impl<'c, 'a> Kernel<'_, 'c, 'a> {
    /// `lanes` elements from `index` on, of which `valid` are touched and the others are zero.
    pub fn load(
        &mut self,
        buffer: BufferId,
        index: &Expr,
        lanes: usize,
        valid: usize,
    ) -> Lowered<Value<'c, 'a>> {
        let at = self.address_of(buffer, index, lanes, valid)?;
        let stored = match valid {
            0 => self.build.constant(Scalar::from_i64(at.ty.dtype, 0), lanes),
            _ if valid == lanes => self.load_whole(at, 0, lanes),
            _ if self.target.vector.masked => self.load_masked(at, valid),
            _ => self.load_pieces(at, valid),
        };
        match self.nest().buffers[buffer.0 as usize].dtype {
            DType::Bool => self.cast(DType::Bool, stored),
            _ => Ok(stored),
        }
    }

    /// Writes the first `valid` lanes of `value` from `index` on.
    pub fn store(&mut self, buffer: BufferId, index: &Expr, value: &Expr, valid: usize) -> Lowered<()> {
        let value = self.expr(value)?;
        let at = self.address_of(buffer, index, value.ty.lanes, valid)?;
        let dtype = self.nest().buffers[buffer.0 as usize].dtype;
        let value = self.widened(value, Type { dtype, ..value.ty })?;
        let value = if dtype == DType::Bool { self.cast(DType::U8, value)? } else { value };
        match valid {
            0 => {}
            _ if valid == value.ty.lanes => self.store_whole(at, 0, value),
            _ if self.target.vector.masked => self.store_masked(at, value, valid),
            _ => {
                for (from, count) in pieces(valid) {
                    let piece = self.lanes(value, from, count);
                    self.store_whole(at, from, piece);
                }
            }
        }
        Ok(())
    }

    /// Asks for an element's cache line in the second cache: it is wanted soon, but not next.
    pub fn prefetch(&mut self, buffer: BufferId, index: &Expr) -> Lowered<()> {
        let pointer = self.element_pointer(buffer, index)?;
        let attributes = [("rw", 0), ("hint", SECOND_CACHE), ("cache", DATA)];
        let attributes = attributes.map(|(name, value)| (name, self.build.i32(value)));
        self.build.op("llvm.intr.prefetch", &[pointer], &[], &attributes);
        Ok(())
    }

    /// The address of an element.
    pub fn element_pointer(&mut self, buffer: BufferId, index: &Expr) -> Lowered<Ssa<'c, 'a>> {
        let at = self.address_of(buffer, index, 1, 1)?;
        Ok(self.pointer(at, 0))
    }

    fn address_of(
        &mut self,
        buffer: BufferId,
        index: &Expr,
        lanes: usize,
        valid: usize,
    ) -> Lowered<Address<'c, 'a>> {
        let number = buffer.0 as usize;
        let Some(described) = self.nest().buffers.get(number) else {
            return Err(format!("buffer {number} does not exist"));
        };
        if lanes == 0 || valid > lanes {
            return Err(format!("{valid} valid of {lanes} lanes of `{}`", described.name));
        }
        let dtype = if described.dtype == DType::Bool { DType::U8 } else { described.dtype };
        Ok(Address { base: self.buffers[number], index: self.index(index)?, ty: Type { dtype, lanes } })
    }

    /// The address of lane `lane`.
    fn pointer(&mut self, at: Address<'c, 'a>, lane: usize) -> Ssa<'c, 'a> {
        let element = self.build.mlir(Type { lanes: 1, ..at.ty });
        let mut index = at.index;
        if lane > 0 {
            let lane = self.build.at(lane as i64);
            index = self.build.value("arith.addi", &[index, lane], index.ty);
        }
        self.build.address(at.base, element, index.ssa)
    }

    /// Elements are aligned to themselves, vectors no better.
    fn alignment(&self, at: Address<'c, 'a>) -> Attribute<'c> {
        self.build.i64(at.ty.dtype.bytes() as i64)
    }

    fn load_whole(&mut self, at: Address<'c, 'a>, lane: usize, lanes: usize) -> Value<'c, 'a> {
        let pointer = self.pointer(at, lane);
        let ty = Type { lanes, ..at.ty };
        let alignment = [("alignment", self.alignment(at))];
        Value { ssa: self.build.ssa("llvm.load", &[pointer], self.build.mlir(ty), &alignment), ty }
    }

    fn store_whole(&mut self, at: Address<'c, 'a>, lane: usize, value: Value<'c, 'a>) {
        let pointer = self.pointer(at, lane);
        let alignment = [("alignment", self.alignment(at))];
        self.build.op("llvm.store", &[value.ssa, pointer], &[], &alignment);
    }

    fn load_masked(&mut self, at: Address<'c, 'a>, valid: usize) -> Value<'c, 'a> {
        let pointer = self.pointer(at, 0);
        let mask = self.build.mask(at.ty.lanes, valid);
        let zero = self.build.constant(Scalar::from_i64(at.ty.dtype, 0), at.ty.lanes);
        let alignment = [("alignment", self.build.i32(at.ty.dtype.bytes() as i32))];
        let operands = [pointer, mask, zero.ssa];
        let ssa = self.build.ssa("llvm.intr.masked.load", &operands, self.build.mlir(at.ty), &alignment);
        Value { ssa, ty: at.ty }
    }

    fn store_masked(&mut self, at: Address<'c, 'a>, value: Value<'c, 'a>, valid: usize) {
        let pointer = self.pointer(at, 0);
        let mask = self.build.mask(at.ty.lanes, valid);
        let alignment = [("alignment", self.build.i32(at.ty.dtype.bytes() as i32))];
        self.build.op("llvm.intr.masked.store", &[value.ssa, pointer, mask], &[], &alignment);
    }

    /// Powers of two from the widest on, put side by side above zeros.
    fn load_pieces(&mut self, at: Address<'c, 'a>, valid: usize) -> Value<'c, 'a> {
        let lanes = at.ty.lanes;
        let mut whole = self.build.constant(Scalar::from_i64(at.ty.dtype, 0), lanes);
        for (from, count) in pieces(valid) {
            let piece = self.load_whole(at, from, count);
            if count == 1 {
                let lane = self.build.integer(Type { dtype: DType::I32, lanes: 1 }, from as i64);
                whole = self.build.value("llvm.insertelement", &[whole, piece, lane], at.ty);
                continue;
            }
            let widen: Vec<i32> =
                (0..lanes).map(|lane| if lane < count { lane as i32 } else { -1 }).collect();
            let wide = self.build.shuffle(piece, piece, &widen);
            let merge = (0..lanes).map(|lane| match lane.checked_sub(from) {
                Some(k) if k < count => (lanes + k) as i32,
                _ => lane as i32,
            });
            whole = self.build.shuffle(whole, wide, &merge.collect::<Vec<_>>());
        }
        whole
    }
}

/// `valid` lanes as runs (first, count) of powers of two, the longest first.
fn pieces(valid: usize) -> Vec<(usize, usize)> {
    let mut runs = Vec::new();
    let mut from = 0;
    while from < valid {
        let count = 1 << (valid - from).ilog2();
        runs.push((from, count));
        from += count;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::pieces;

    #[test]
    fn pieces_cover_the_valid_lanes_once() {
        assert_eq!(pieces(13), [(0, 8), (8, 4), (12, 1)]);
        assert_eq!(pieces(1), [(0, 1)]);
        assert_eq!(pieces(0), []);
    }
}
