use std::fmt;

use crate::Buffer;

/// Why a placement is wrong. Buffers are given by their index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Not one offset per buffer.
    Count {
        buffers: usize,
        offsets: usize,
    },
    Misaligned {
        buffer: usize,
        offset: usize,
    },
    /// The buffer ends behind the address space.
    Outside {
        buffer: usize,
        offset: usize,
    },
    /// Both are alive in `step` and share the byte at `offset`.
    Overlap {
        buffers: [usize; 2],
        step: usize,
        offset: usize,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Count { buffers, offsets } => write!(f, "{offsets} offsets for {buffers} buffers"),
            Fault::Misaligned { buffer, offset } => {
                write!(f, "buffer {buffer} is misaligned at offset {offset}")
            }
            Fault::Outside { buffer, offset } => {
                write!(f, "buffer {buffer} at offset {offset} leaves the address space")
            }
            Fault::Overlap { buffers: [a, b], step, offset } => {
                write!(f, "buffers {a} and {b} are both alive in step {step} and share offset {offset}")
            }
        }
    }
}

impl std::error::Error for Fault {}

/// Recomputes from the definition whether `offsets` is a right placement: every buffer aligned, and no byte owned by
/// two buffers that are alive in the same step.
pub fn check(buffers: &[Buffer], offsets: &[usize]) -> Result<(), Fault> {
    if buffers.len() != offsets.len() {
        return Err(Fault::Count { buffers: buffers.len(), offsets: offsets.len() });
    }
    for (k, (buffer, &offset)) in buffers.iter().zip(offsets).enumerate() {
        if !offset.is_multiple_of(buffer.align) {
            return Err(Fault::Misaligned { buffer: k, offset });
        }
        if offset.checked_add(buffer.bytes).is_none() {
            return Err(Fault::Outside { buffer: k, offset });
        }
    }
    for second in 0..buffers.len() {
        for first in 0..second {
            let (a, b) = (&buffers[first], &buffers[second]);
            let step = a.first.max(b.first);
            let start = offsets[first].max(offsets[second]);
            let end = (offsets[first] + a.bytes).min(offsets[second] + b.bytes);
            if step <= a.last.min(b.last) && start < end {
                return Err(Fault::Overlap { buffers: [first, second], step, offset: start });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(bytes: usize, first: usize, last: usize) -> Buffer {
        Buffer { bytes, align: 4, first, last }
    }

    #[test]
    fn buffers_of_other_times_may_share() {
        assert_eq!(check(&[buffer(8, 0, 1), buffer(8, 2, 3)], &[0, 0]), Ok(()));
    }

    #[test]
    fn the_last_step_counts() {
        let fault = Fault::Overlap { buffers: [0, 1], step: 1, offset: 4 };
        assert_eq!(check(&[buffer(8, 0, 1), buffer(8, 1, 3)], &[0, 4]), Err(fault));
        assert_eq!(check(&[buffer(8, 0, 1), buffer(8, 1, 3)], &[0, 8]), Ok(()));
    }

    #[test]
    fn ends_and_alignment_count() {
        assert_eq!(check(&[buffer(8, 0, 0)], &[2]), Err(Fault::Misaligned { buffer: 0, offset: 2 }));
        assert_eq!(check(&[buffer(8, 0, 0)], &[]), Err(Fault::Count { buffers: 1, offsets: 0 }));
        let far = usize::MAX - 3;
        assert_eq!(check(&[buffer(8, 0, 0)], &[far]), Err(Fault::Outside { buffer: 0, offset: far }));
    }

    #[test]
    fn an_empty_buffer_owns_nothing() {
        assert_eq!(check(&[buffer(8, 0, 1), buffer(0, 0, 1)], &[0, 4]), Ok(()));
    }
}
