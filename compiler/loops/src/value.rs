//! Values of a nest's expressions: a scalar or a vector, computed as a machine computes them.

use ir::{DType, Scalar};

use crate::evaluate::{binary_float, binary_int, holds, saturated_int, unary_float, unary_int, wrap};
use crate::{Binary, Compare, Fold, Type, Unary};

/// One element per lane. Every operation rounds (or wraps) its result to the element type.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    dtype: DType,
    lanes: Lanes,
}

/// Floats up to `f64` and integers up to 64 bits hold every element type exactly; `U64` is kept wrapped.
#[derive(Debug, Clone, PartialEq)]
enum Lanes {
    Float(Vec<f64>),
    Int(Vec<i64>),
}

impl Value {
    pub fn scalar(scalar: Scalar) -> Value {
        Value::splat(scalar, 1)
    }

    pub fn splat(scalar: Scalar, lanes: usize) -> Value {
        let values = match scalar.dtype.is_float() {
            true => Lanes::Float(vec![scalar.as_f64(); lanes]),
            false => Lanes::Int(vec![scalar.as_i64(); lanes]),
        };
        Value { dtype: scalar.dtype, lanes: values }
    }

    /// Floats are rounded to `dtype`.
    pub fn floats(dtype: DType, values: impl IntoIterator<Item = f64>) -> Value {
        Value { dtype, lanes: Lanes::Float(values.into_iter().map(|x| round(dtype, x)).collect()) }
    }

    /// Integers are wrapped to `dtype`.
    pub fn ints(dtype: DType, values: impl IntoIterator<Item = i64>) -> Value {
        Value { dtype, lanes: Lanes::Int(values.into_iter().map(|x| wrap(dtype, x)).collect()) }
    }

    pub fn from_scalars(dtype: DType, scalars: impl IntoIterator<Item = Scalar>) -> Value {
        match dtype.is_float() {
            true => Value { dtype, lanes: Lanes::Float(scalars.into_iter().map(Scalar::as_f64).collect()) },
            false => Value { dtype, lanes: Lanes::Int(scalars.into_iter().map(Scalar::as_i64).collect()) },
        }
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    pub fn lanes(&self) -> usize {
        match &self.lanes {
            Lanes::Float(values) => values.len(),
            Lanes::Int(values) => values.len(),
        }
    }

    pub fn ty(&self) -> Type {
        Type { dtype: self.dtype, lanes: self.lanes() }
    }

    pub fn float(&self, lane: usize) -> f64 {
        match &self.lanes {
            Lanes::Float(values) => values[lane],
            Lanes::Int(values) => values[lane] as f64,
        }
    }

    pub fn int(&self, lane: usize) -> i64 {
        match &self.lanes {
            Lanes::Float(values) => values[lane] as i64,
            Lanes::Int(values) => values[lane],
        }
    }

    pub fn get(&self, lane: usize) -> Scalar {
        match &self.lanes {
            Lanes::Float(values) => Scalar::from_f64(self.dtype, values[lane]),
            Lanes::Int(values) => Scalar::from_i64(self.dtype, values[lane]),
        }
    }

    pub fn scalars(&self) -> impl Iterator<Item = Scalar> + '_ {
        (0..self.lanes()).map(|lane| self.get(lane))
    }

    /// The first lane, as a condition.
    pub fn is_true(&self) -> bool {
        self.int(0) != 0
    }

    pub fn broadcast(&self, lanes: usize) -> Value {
        Value::splat(self.get(0), lanes)
    }

    pub fn unary(&self, op: Unary) -> Value {
        let each = 0..self.lanes();
        match op {
            Unary::IsNan => Value::ints(DType::Bool, each.map(|l| i64::from(self.float(l).is_nan()))),
            Unary::IsInf => Value::ints(DType::Bool, each.map(|l| i64::from(self.float(l).is_infinite()))),
            _ => match &self.lanes {
                Lanes::Float(values) => Value::floats(self.dtype, values.iter().map(|&x| unary_float(op, x))),
                Lanes::Int(values) => {
                    Value::ints(self.dtype, values.iter().map(|&x| unary_int(op, self.dtype, x)))
                }
            },
        }
    }

    pub fn binary(&self, op: Binary, other: &Value) -> Value {
        // Sums, products, quotients and roots of floats that were rounded from f64 are those computed in f32 or f16:
        // 53 bits are more than twice 24 and two.
        match (&self.lanes, &other.lanes) {
            (Lanes::Float(a), Lanes::Float(b)) => {
                Value::floats(self.dtype, a.iter().zip(b).map(|(&a, &b)| binary_float(op, a, b)))
            }
            (Lanes::Int(a), Lanes::Int(b)) => {
                Value::ints(self.dtype, a.iter().zip(b).map(|(&a, &b)| binary_int(op, self.dtype, a, b)))
            }
            _ => unreachable!("{:?} of {} and {}", op, self.dtype, other.dtype),
        }
    }

    pub fn compare(&self, op: Compare, other: &Value) -> Value {
        let each = 0..self.lanes();
        let holds = |lane: usize| match (&self.lanes, self.dtype) {
            (Lanes::Float(_), _) => holds(op, self.float(lane), other.float(lane)),
            (_, DType::U64) => holds(op, self.int(lane) as u64, other.int(lane) as u64),
            _ => holds(op, self.int(lane), other.int(lane)),
        };
        Value::ints(DType::Bool, each.map(|lane| i64::from(holds(lane))))
    }

    /// `self · factor + addend`; floats are rounded once.
    pub fn mul_add(&self, factor: &Value, addend: &Value) -> Value {
        let each = 0..self.lanes();
        let floats = |lane: usize| (self.float(lane), factor.float(lane), addend.float(lane));
        match self.dtype {
            DType::F32 => Value::floats(
                self.dtype,
                each.map(|lane| {
                    let (a, b, c) = floats(lane);
                    f64::from((a as f32).mul_add(b as f32, c as f32))
                }),
            ),
            d if d.is_float() => Value::floats(
                d,
                each.map(|lane| {
                    let (a, b, c) = floats(lane);
                    a.mul_add(b, c)
                }),
            ),
            _ => self.binary(Binary::Mul, factor).binary(Binary::Add, addend),
        }
    }

    /// Lane by lane; a condition of one lane decides for all.
    pub fn select(condition: &Value, then: &Value, otherwise: &Value) -> Value {
        let chosen = |lane: usize| match condition.int(if condition.lanes() == 1 { 0 } else { lane }) != 0 {
            true => then.get(lane),
            false => otherwise.get(lane),
        };
        Value::from_scalars(then.dtype, (0..then.lanes()).map(chosen))
    }

    pub fn cast(&self, to: DType) -> Value {
        let one = |lane: usize| match (&self.lanes, to) {
            (Lanes::Float(values), DType::Bool) => Scalar::bool(values[lane] != 0.0),
            (Lanes::Float(values), to) if to.is_int() => {
                Scalar::from_i64(to, saturated_int(to, values[lane]))
            }
            (Lanes::Float(values), to) => Scalar::from_f64(to, values[lane]),
            (Lanes::Int(values), to) if self.dtype == DType::U64 && to.is_float() => {
                Scalar::from_f64(to, values[lane] as u64 as f64)
            }
            (Lanes::Int(values), to) => Scalar::from_i64(to, values[lane]),
        };
        Value::from_scalars(to, (0..self.lanes()).map(one))
    }

    /// The same bits as elements of `to`, which they fill.
    pub fn bits(&self, to: DType) -> Value {
        let bytes: Vec<u8> = self.scalars().flat_map(Scalar::to_le_bytes).collect();
        Value::from_scalars(to, bytes.chunks_exact(to.bytes()).map(|bytes| Scalar::from_le_bytes(to, bytes)))
    }

    /// One of the lanes; of those beyond the last, zero.
    pub fn lane(&self, lane: usize) -> Value {
        let zero = || Scalar::from_i64(self.dtype, 0);
        Value::scalar(self.scalars().nth(lane).unwrap_or_else(zero))
    }

    /// Lanes of both, counted through; of those beyond the last, zero.
    pub fn shuffle(&self, other: &Value, lanes: &[usize]) -> Value {
        let both: Vec<Scalar> = self.scalars().chain(other.scalars()).collect();
        let zero = Scalar::from_i64(self.dtype, 0);
        let picked = lanes.iter().map(|&lane| both.get(lane).copied().unwrap_or(zero));
        Value::from_scalars(self.dtype, picked)
    }

    /// All lanes folded into one: the upper half onto the lower, until one is left. An odd last lane is folded onto
    /// the first.
    pub fn horizontal(&self, fold: Fold) -> Value {
        let mut lanes: Vec<Value> = self.scalars().map(Value::scalar).collect();
        while lanes.len() > 1 {
            let odd = (lanes.len() % 2 == 1).then(|| lanes.pop()).flatten();
            let upper = lanes.split_off(lanes.len() / 2);
            lanes = lanes.iter().zip(&upper).map(|(a, b)| a.binary(fold.binary(), b)).collect();
            if let (Some(odd), Some(first)) = (odd, lanes.first_mut()) {
                *first = first.binary(fold.binary(), &odd);
            }
        }
        lanes.into_iter().next().unwrap_or_else(|| Value::scalar(fold.identity(self.dtype)))
    }
}

fn round(dtype: DType, x: f64) -> f64 {
    match dtype {
        DType::F64 => x,
        DType::F32 => f64::from(x as f32),
        _ => Scalar::from_f64(dtype, x).as_f64(),
    }
}
