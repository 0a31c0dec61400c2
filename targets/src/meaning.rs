//! What the instructions compute, for the interpreter of nests.

use loops::{Instructions, Type, Value};

use crate::instructions::{Matrix, Meaning, Table, find};

impl Instructions for Table {
    fn signature(&self, name: &str, args: &[Type]) -> Option<(Vec<Type>, Type)> {
        find(name).map(|instruction| match instruction.matrix(args) {
            Some(_) => (args.to_vec(), args[0]),
            None => (instruction.arguments.to_vec(), instruction.result),
        })
    }

    fn run(&self, name: &str, args: &[Value]) -> Option<Value> {
        let instruction = find(name)?;
        let types: Vec<Type> = args.iter().map(Value::ty).collect();
        let matrix = instruction.matrix(&types);
        if types != instruction.arguments && matrix.is_none() {
            return None;
        }
        let dtype = instruction.result.dtype;
        let lanes = 0..instruction.result.lanes;
        let dot = |a: &Value, b: &Value, terms: std::ops::Range<usize>| {
            terms.fold(0i64, |sum, k| sum.wrapping_add(a.int(k).wrapping_mul(b.int(k))))
        };
        let float_dot = |sum: f64, (a, from): (&Value, usize), (b, other): (&Value, usize), group: usize| {
            let add =
                |sum: f64, k| Value::floats(dtype, [sum + a.float(from + k) * b.float(other + k)]).float(0);
            (0..group).fold(sum, add)
        };
        match (instruction.meaning, args) {
            (Meaning::Dot { group }, [sum, a, b]) if dtype.is_float() => {
                let lane = |l: usize| float_dot(sum.float(l), (a, l * group), (b, l * group), group);
                Some(Value::floats(dtype, lanes.map(lane)))
            }
            (Meaning::Block { columns, group, .. }, [sum, a, b]) => {
                let lane = |l: usize| {
                    let (row, column) = (l / columns, l % columns);
                    float_dot(sum.float(l), (a, row * group), (b, column * group), group)
                };
                Some(Value::floats(dtype, lanes.map(lane)))
            }
            (Meaning::Matrix { columns, group }, [sum, a, b]) => {
                let Matrix { depth, .. } = matrix?;
                let lane = |l: usize| {
                    let (row, column) = (l / columns, l % columns);
                    (0..depth / group).fold(sum.float(l), |sum, k| {
                        let first = (k * columns + column) * group;
                        float_dot(sum, (a, row * depth + k * group), (b, first), group)
                    })
                };
                Some(Value::floats(dtype, (0..sum.lanes()).map(lane)))
            }
            (Meaning::Convert, [a]) => Some(a.cast(dtype)),
            (Meaning::Dot { group }, [sum, a, b]) => {
                let lane = |l: usize| sum.int(l).wrapping_add(dot(a, b, l * group..(l + 1) * group));
                Some(Value::ints(dtype, lanes.map(lane)))
            }
            (Meaning::DotAll, [sum, a, b]) => {
                Some(Value::ints(dtype, [sum.int(0).wrapping_add(dot(a, b, 0..a.lanes()))]))
            }
            (Meaning::Widen { stride, offset }, [a]) => {
                Some(Value::ints(dtype, lanes.map(|l| a.int(stride * l + offset))))
            }
            _ => None,
        }
    }
}
