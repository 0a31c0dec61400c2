//! Who must be computed straight into somebody else's memory: graph outputs, and the parts of a concatenation.

use ir::{NodeKind, Value};
use ops::Meaning;

use super::buffers::{Home, Located};
use super::value::Lowering;

impl Lowering<'_, '_> {
    /// Gives outputs and concatenated parts their places before anything is computed.
    pub(super) fn claim_places(&mut self) {
        for (k, (_, value)) in self.graph.outputs().iter().enumerate() {
            let ty = self.graph.ty(*value).clone();
            let buffer = self.buffer(Home::Output(k), ty.dtype, ty.elements());
            self.outputs.push(buffer);
            self.claim(*value, Located::whole(buffer, &ty));
        }
        for id in self.graph.order().into_iter().rev() {
            let NodeKind::Apply(op) = &self.graph.node(id).kind else { continue };
            let operands = self.graph.operands(id);
            let types: Vec<_> = operands.iter().map(|&v| self.graph.ty(v).clone()).collect();
            if let Meaning::Concat { axis } = op.meaning(&types) {
                let result = Value { node: id, result: 0 };
                let whole = self.claimed_or_new(result);
                let mut start = 0;
                for (operand, ty) in operands.iter().zip(&types) {
                    self.claim(*operand, whole.part(axis, start));
                    start += ty.shape[axis];
                }
            }
        }
    }

    /// Lets `value` be computed at `place`, if it is computed at all and has no place yet.
    fn claim(&mut self, value: Value, place: Located) {
        let NodeKind::Apply(op) = &self.graph.node(value.node).kind else { return };
        let operands = self.graph.operands(value.node);
        let types: Vec<_> = operands.iter().map(|&v| self.graph.ty(v).clone()).collect();
        match op.meaning(&types) {
            // Vectors want neighbours: computing them elsewhere and copying single elements is faster.
            Meaning::Compute(_)
                if self.target.vector.bits > 0 && place.is_scattered(self.graph.ty(value)) =>
            {
                ()
            }
            Meaning::Compute(_) | Meaning::Concat { .. } => {
                self.claims.entry(value).or_insert(place);
            }
            Meaning::Reshape => {
                if let Some(place) = place.reshaped(&self.graph.ty(value).shape, &types[0].shape) {
                    self.claim(operands[0], place);
                }
            }
            Meaning::View(_) => (),
        }
    }

    /// The place of a computed value: the claimed one, or a buffer of its own in the arena.
    pub(super) fn claimed_or_new(&mut self, value: Value) -> Located {
        if let Some(place) = self.claims.get(&value) {
            return place.clone();
        }
        let ty = self.graph.ty(value).clone();
        let place = Located::whole(self.buffer(Home::Arena, ty.dtype, ty.elements()), &ty);
        self.claims.insert(value, place.clone());
        place
    }
}
