//! Inputs to try a model with: the same seed, the same tensors, on every machine.

use ir::{DType, Scalar, Tensor, TensorType};

/// Steele, Lea and Flood's SplitMix64 ("Fast splittable pseudorandom number generators", 2014).
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `[0, 1)`, a multiple of 2⁻²⁴: exact as f32.
    fn unit(&mut self) -> f64 {
        (self.next() >> 40) as f64 / f64::from(1u32 << 24)
    }
}

/// One tensor per type. Floats are uniform in [-1, 1); bytes take all their values (they are images or quantized);
/// wider integers are 0 or 1 (they are indices, lengths or masks, of which more may not be valid); booleans are both.
pub fn inputs<'a>(types: impl IntoIterator<Item = &'a TensorType>, seed: u64) -> Vec<Tensor> {
    let mut random = SplitMix64(seed);
    types.into_iter().map(|ty| tensor(ty, &mut random)).collect()
}

fn tensor(ty: &TensorType, random: &mut SplitMix64) -> Tensor {
    let mut data = Vec::with_capacity(ty.bytes());
    for _ in 0..ty.elements() {
        let element = match ty.dtype {
            float if float.is_float() => Scalar::from_f64(float, random.unit() * 2.0 - 1.0),
            DType::U8 | DType::I8 => Scalar::from_i64(ty.dtype, (random.next() >> 56) as i64),
            other => Scalar::from_i64(other, (random.next() >> 63) as i64),
        };
        data.extend(element.to_le_bytes());
    }
    Tensor::new(ty.clone(), data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_published_one() {
        // The first value of the reference implementation for seed 1234567.
        assert_eq!(SplitMix64(1_234_567).next(), 6_457_827_717_110_365_317);
    }

    #[test]
    fn seeds_repeat_and_differ() {
        let types = [TensorType::new(DType::F32, [64]), TensorType::new(DType::U8, [64])];
        assert_eq!(inputs(&types, 1), inputs(&types, 1));
        assert_ne!(inputs(&types, 1), inputs(&types, 2));
        assert!(inputs(&types, 1)[0].to_f64s().iter().all(|v| (-1.0..1.0).contains(v)));
    }
}
