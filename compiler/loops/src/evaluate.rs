//! The reference evaluator: runs a definition point by point, a row of lanes at a time.
//!
//! Floats are computed in `f64` and rounded once, when a stage's element is written, so that the reference is closer
//! to the exact result than any schedule of the same definition. Integers wrap at their own width.

use ir::{DType, Scalar, Tensor};

use crate::affine::Affine;
use crate::{Binary, Compare, Definition, Expr, Fold, Source, Stage, Unary};

/// Lanes that are evaluated at once: enough to hide the walk over the expression, few enough for the cache.
const ROW: usize = 512;

/// Runs `definition` on `operands`; one tensor per result.
pub fn evaluate(definition: &Definition, operands: &[&Tensor]) -> Vec<Tensor> {
    let mut done: Vec<Tensor> = Vec::new();
    let operands: Vec<Values> = operands.iter().map(|t| Values::of(t)).collect();
    let tables: Vec<Values> = definition.tables.iter().map(Values::of).collect();
    let mut stages: Vec<Values> = Vec::new();
    for stage in &definition.stages {
        let sources = Sources { operands: &operands, stages: &stages, tables: &tables };
        let tensor = evaluate_stage(stage, &sources);
        stages.push(Values::of(&tensor));
        done.push(tensor);
    }
    definition.results.iter().map(|&result| done[result].clone()).collect()
}

/// A tensor's elements widened for computation.
struct Values {
    dtype: DType,
    strides: Vec<i64>,
    shape: Vec<i64>,
    data: Column,
}

impl Values {
    fn of(tensor: &Tensor) -> Values {
        let data = match tensor.ty.dtype.is_float() {
            true => Column::Float(tensor.to_f64s()),
            false => Column::Int(tensor.to_i64s()),
        };
        let as_i64 = |dims: Vec<usize>| dims.into_iter().map(|d| d as i64).collect();
        Values {
            dtype: tensor.ty.dtype,
            strides: as_i64(tensor.ty.strides()),
            shape: as_i64(tensor.ty.shape.clone()),
            data,
        }
    }
}

struct Sources<'a> {
    operands: &'a [Values],
    stages: &'a [Values],
    tables: &'a [Values],
}

impl<'a> Sources<'a> {
    fn get(&self, source: Source) -> &'a Values {
        match source {
            Source::Operand(k) => &self.operands[k],
            Source::Stage(k) => &self.stages[k],
            Source::Table(k) => &self.tables[k],
        }
    }
}

/// One value per lane, or one for all of them.
#[derive(Debug, Clone)]
enum Column {
    Float(Vec<f64>),
    Int(Vec<i64>),
    OneFloat(f64),
    OneInt(i64),
}

impl Column {
    fn one(scalar: Scalar) -> Column {
        match scalar.dtype.is_float() {
            true => Column::OneFloat(scalar.as_f64()),
            false => Column::OneInt(scalar.as_i64()),
        }
    }

    fn is_uniform(&self) -> bool {
        matches!(self, Column::OneFloat(_) | Column::OneInt(_))
    }

    fn int(&self, lane: usize) -> i64 {
        match self {
            Column::Int(values) => values[lane],
            Column::OneInt(value) => *value,
            Column::Float(values) => values[lane] as i64,
            Column::OneFloat(value) => *value as i64,
        }
    }

    fn float(&self, lane: usize) -> f64 {
        match self {
            Column::Float(values) => values[lane],
            Column::OneFloat(value) => *value,
            Column::Int(values) => values[lane] as f64,
            Column::OneInt(value) => *value as f64,
        }
    }
}

/// An expression with its types and index sums worked out once per stage.
struct Node<'a> {
    dtype: DType,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Const(Column),
    Axis(usize),
    Folded,
    /// A read whose linear index is affine in the axes.
    Affine {
        values: &'a Values,
        offset: i64,
        coefficients: Vec<i64>,
    },
    Gather {
        values: &'a Values,
        index: Vec<Node<'a>>,
    },
    Unary(Unary, Box<Node<'a>>),
    Binary(Binary, Box<Node<'a>>, Box<Node<'a>>),
    Compare(Compare, Box<Node<'a>>, Box<Node<'a>>),
    Select(Box<Node<'a>>, Box<Node<'a>>, Box<Node<'a>>),
    Cast(Box<Node<'a>>),
}

impl<'a> Node<'a> {
    fn build(expr: &Expr, rank: usize, folded: DType, sources: &Sources<'a>) -> Node<'a> {
        let build = |e: &Expr| Box::new(Node::build(e, rank, folded, sources));
        let (dtype, kind) = match expr {
            Expr::Const(scalar) => (scalar.dtype, Kind::Const(Column::one(*scalar))),
            Expr::Axis(axis) => (DType::I64, Kind::Axis(*axis)),
            Expr::Folded => (folded, Kind::Folded),
            Expr::Read { source, index } => {
                let values = sources.get(*source);
                assert_eq!(index.len(), values.shape.len(), "indices of a read from {source:?}");
                let linear = index
                    .iter()
                    .zip(&values.strides)
                    .fold(Affine::default(), |sum, (index, &stride)| sum.plus(&Affine::of(index), stride));
                let kind = match linear.over_axes(rank) {
                    Some(coefficients) => Kind::Affine { values, offset: linear.offset, coefficients },
                    None => Kind::Gather { values, index: index.iter().map(|i| *build(i)).collect() },
                };
                (values.dtype, kind)
            }
            Expr::Unary(op, a) => {
                let a = build(a);
                let dtype = if matches!(op, Unary::IsNan | Unary::IsInf) { DType::Bool } else { a.dtype };
                (dtype, Kind::Unary(*op, a))
            }
            Expr::Binary(op, a, b) => {
                let a = build(a);
                (a.dtype, Kind::Binary(*op, a, build(b)))
            }
            Expr::Compare(op, a, b) => (DType::Bool, Kind::Compare(*op, build(a), build(b))),
            Expr::Select { condition, then, otherwise } => {
                let then = build(then);
                (then.dtype, Kind::Select(build(condition), then, build(otherwise)))
            }
            Expr::Cast(dtype, a) => (*dtype, Kind::Cast(build(a))),
            other => panic!("{other:?} belongs into a nest, not into a definition"),
        };
        Node { dtype, kind }
    }

    /// The value at `point`, with the axis `lane_axis` running over `lanes` from its value in `point` on. Lanes that
    /// are not `active` may read out of bounds; what they give is not used.
    fn eval(&self, row: &Row, folded: Option<&Column>, active: Option<&[bool]>) -> Column {
        let eval = |node: &Node| node.eval(row, folded, active);
        match &self.kind {
            Kind::Const(column) => column.clone(),
            Kind::Axis(axis) if *axis == row.lane_axis => {
                Column::Int((0..row.lanes as i64).map(|lane| row.point[*axis] + lane).collect())
            }
            Kind::Axis(axis) => Column::OneInt(row.point[*axis]),
            Kind::Folded => folded.cloned().unwrap_or(Column::OneInt(0)),
            Kind::Affine { values, offset, coefficients } => {
                let base: i64 = offset + coefficients.iter().zip(row.point).map(|(c, p)| c * p).sum::<i64>();
                read(values, row, coefficients.get(row.lane_axis).copied().unwrap_or(0), base)
            }
            Kind::Gather { values, index } => {
                let index: Vec<Column> = index.iter().map(eval).collect();
                gather(values, &index, row, active)
            }
            Kind::Unary(op, a) => unary(*op, a.dtype, &eval(a), row.lanes),
            Kind::Binary(op, a, b) => binary(*op, self.dtype, &eval(a), &eval(b), row.lanes),
            Kind::Compare(op, a, b) => compare(*op, a.dtype, &eval(a), &eval(b), row.lanes),
            Kind::Cast(a) => cast(self.dtype, a.dtype, &eval(a), row.lanes),
            Kind::Select(condition, then, otherwise) => {
                let condition = eval(condition);
                if condition.is_uniform() {
                    return if condition.int(0) != 0 { eval(then) } else { eval(otherwise) };
                }
                let is_active = |lane: usize| active.is_none_or(|mask| mask[lane]);
                let mask = |wanted: bool| -> Vec<bool> {
                    (0..row.lanes)
                        .map(|lane| is_active(lane) && (condition.int(lane) != 0) == wanted)
                        .collect()
                };
                let then = then.eval(row, folded, Some(&mask(true)));
                let otherwise = otherwise.eval(row, folded, Some(&mask(false)));
                let pick = |lane: usize| if condition.int(lane) != 0 { &then } else { &otherwise };
                match self.dtype.is_float() {
                    true => Column::Float((0..row.lanes).map(|lane| pick(lane).float(lane)).collect()),
                    false => Column::Int((0..row.lanes).map(|lane| pick(lane).int(lane)).collect()),
                }
            }
        }
    }
}

/// Where a row of lanes stands.
struct Row<'a> {
    point: &'a [i64],
    lane_axis: usize,
    lanes: usize,
}

fn read(values: &Values, row: &Row, stride: i64, base: i64) -> Column {
    // Out-of-bounds lanes are inactive ones: they read as zero.
    match &values.data {
        Column::Float(data) if stride == 0 => {
            Column::OneFloat(usize::try_from(base).ok().and_then(|i| data.get(i)).copied().unwrap_or(0.0))
        }
        Column::Int(data) if stride == 0 => {
            Column::OneInt(usize::try_from(base).ok().and_then(|i| data.get(i)).copied().unwrap_or(0))
        }
        Column::Float(data) => Column::Float(strided(data, row.lanes, stride, base)),
        Column::Int(data) => Column::Int(strided(data, row.lanes, stride, base)),
        _ => unreachable!("tensors are kept as full columns"),
    }
}

fn strided<T: Copy + Default>(data: &[T], lanes: usize, stride: i64, base: i64) -> Vec<T> {
    let last = base + stride * (lanes as i64 - 1);
    let inside = |index: i64| (0..data.len() as i64).contains(&index);
    if stride == 1 && inside(base) && inside(last) {
        return data[base as usize..=last as usize].to_vec();
    }
    let at = |lane| base + stride * lane;
    (0..lanes as i64)
        .map(|lane| if inside(at(lane)) { data[at(lane) as usize] } else { T::default() })
        .collect()
}

fn gather(values: &Values, index: &[Column], row: &Row, active: Option<&[bool]>) -> Column {
    let lanes = if index.iter().all(Column::is_uniform) { 1 } else { row.lanes };
    let is_active = |lane: usize| match active {
        // One read for all lanes counts if any of them does.
        Some(mask) if lanes == 1 => mask.contains(&true),
        Some(mask) => mask[lane],
        None => true,
    };
    let linear = |lane: usize| -> usize {
        if !is_active(lane) {
            return usize::MAX;
        }
        let mut sum = 0;
        for ((index, &extent), stride) in index.iter().zip(&values.shape).zip(&values.strides) {
            let i = index.int(lane);
            assert!((0..extent).contains(&i), "index {i} is outside an axis of {extent}");
            sum += i * stride;
        }
        sum as usize
    };
    let column = match &values.data {
        Column::Float(data) => {
            Column::Float((0..lanes).map(|l| data.get(linear(l)).copied().unwrap_or(0.0)).collect())
        }
        Column::Int(data) => {
            Column::Int((0..lanes).map(|l| data.get(linear(l)).copied().unwrap_or(0)).collect())
        }
        _ => unreachable!("tensors are kept as full columns"),
    };
    match column {
        Column::Float(one) if lanes == 1 => Column::OneFloat(one[0]),
        Column::Int(one) if lanes == 1 => Column::OneInt(one[0]),
        other => other,
    }
}

/// Applies `f` lane by lane, or once where all operands are the same in every lane.
fn lanewise_float(lanes: usize, columns: &[&Column], f: impl Fn(usize) -> f64) -> Column {
    match columns.iter().all(|c| c.is_uniform()) {
        true => Column::OneFloat(f(0)),
        false => Column::Float((0..lanes).map(f).collect()),
    }
}

fn lanewise_int(lanes: usize, columns: &[&Column], f: impl Fn(usize) -> i64) -> Column {
    match columns.iter().all(|c| c.is_uniform()) {
        true => Column::OneInt(f(0)),
        false => Column::Int((0..lanes).map(f).collect()),
    }
}

pub(crate) fn wrap(dtype: DType, value: i64) -> i64 {
    Scalar::from_i64(dtype, value).as_i64()
}

fn unary(op: Unary, dtype: DType, a: &Column, lanes: usize) -> Column {
    if matches!(op, Unary::IsNan | Unary::IsInf) {
        return lanewise_int(lanes, &[a], |l| {
            i64::from(if op == Unary::IsNan { a.float(l).is_nan() } else { a.float(l).is_infinite() })
        });
    }
    match dtype.is_float() {
        true => lanewise_float(lanes, &[a], |l| unary_float(op, a.float(l))),
        false => lanewise_int(lanes, &[a], |l| unary_int(op, dtype, a.int(l))),
    }
}

pub(crate) fn unary_float(op: Unary, x: f64) -> f64 {
    match op {
        Unary::Neg => -x,
        Unary::Abs => x.abs(),
        Unary::Sign => {
            if x > 0.0 {
                1.0
            } else if x < 0.0 {
                -1.0
            } else {
                x
            }
        }
        Unary::Not => f64::from(x == 0.0),
        Unary::Sqrt => x.sqrt(),
        Unary::Exp => x.exp(),
        Unary::Log => x.ln(),
        Unary::Sin => x.sin(),
        Unary::Cos => x.cos(),
        Unary::Tan => x.tan(),
        Unary::Asin => x.asin(),
        Unary::Acos => x.acos(),
        Unary::Atan => x.atan(),
        Unary::Sinh => x.sinh(),
        Unary::Cosh => x.cosh(),
        Unary::Tanh => x.tanh(),
        Unary::Asinh => x.asinh(),
        Unary::Acosh => x.acosh(),
        Unary::Atanh => x.atanh(),
        Unary::Erf => libm::erf(x),
        Unary::Floor => x.floor(),
        Unary::Ceil => x.ceil(),
        Unary::Round => x.round_ties_even(),
        Unary::Trunc => x.trunc(),
        Unary::IsNan | Unary::IsInf => unreachable!("answered by the caller"),
    }
}

pub(crate) fn unary_int(op: Unary, dtype: DType, x: i64) -> i64 {
    match op {
        Unary::Neg => wrap(dtype, x.wrapping_neg()),
        Unary::Abs if dtype.is_signed_int() => wrap(dtype, x.wrapping_abs()),
        Unary::Sign if dtype == DType::U64 => i64::from(x != 0),
        Unary::Sign => x.signum(),
        Unary::Not if dtype == DType::Bool => i64::from(x == 0),
        Unary::Not => wrap(dtype, !x),
        Unary::Abs | Unary::Floor | Unary::Ceil | Unary::Round | Unary::Trunc => x,
        other => panic!("{other:?} is not defined for {dtype}"),
    }
}

fn binary(op: Binary, dtype: DType, a: &Column, b: &Column, lanes: usize) -> Column {
    match dtype.is_float() {
        true => lanewise_float(lanes, &[a, b], |l| binary_float(op, a.float(l), b.float(l))),
        false => lanewise_int(lanes, &[a, b], |l| binary_int(op, dtype, a.int(l), b.int(l))),
    }
}

pub(crate) fn binary_float(op: Binary, a: f64, b: f64) -> f64 {
    match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Rem => a % b,
        Binary::Mod => {
            let rem = a % b;
            if rem != 0.0 && (rem < 0.0) != (b < 0.0) { rem + b } else { rem }
        }
        Binary::Pow => a.powf(b),
        Binary::Min => {
            if a < b {
                a
            } else {
                b
            }
        }
        Binary::Max => {
            if a > b {
                a
            } else {
                b
            }
        }
        other => panic!("{other:?} is not defined for floats"),
    }
}

/// Integer arithmetic at the width of `dtype`; shared with the nest interpreter.
pub(crate) fn binary_int(op: Binary, dtype: DType, a: i64, b: i64) -> i64 {
    let unsigned = dtype == DType::U64;
    let (ua, ub) = (a as u64, b as u64);
    let less = if unsigned { ua < ub } else { a < b };
    let greater = if unsigned { ua > ub } else { a > b };
    let value = match op {
        Binary::Add => a.wrapping_add(b),
        Binary::Sub => a.wrapping_sub(b),
        Binary::Mul => a.wrapping_mul(b),
        Binary::Div | Binary::Rem | Binary::Mod if b == 0 => 0,
        Binary::Div if unsigned => (ua / ub) as i64,
        Binary::Rem | Binary::Mod if unsigned => (ua % ub) as i64,
        Binary::Div => a.wrapping_div(b),
        Binary::Rem => a.wrapping_rem(b),
        Binary::Mod => {
            let rem = a.wrapping_rem(b);
            if rem != 0 && (rem < 0) != (b < 0) { rem.wrapping_add(b) } else { rem }
        }
        Binary::Pow => power(a, b),
        Binary::Min => {
            if less {
                a
            } else {
                b
            }
        }
        Binary::Max => {
            if greater {
                a
            } else {
                b
            }
        }
        Binary::And => a & b,
        Binary::Or => a | b,
        Binary::Xor => a ^ b,
        Binary::ShiftLeft => {
            if ub >= u64::from(dtype.bits()) {
                0
            } else {
                a.wrapping_shl(b as u32)
            }
        }
        Binary::ShiftRight if ub >= u64::from(dtype.bits()) => {
            if dtype.is_signed_int() && a < 0 {
                -1
            } else {
                0
            }
        }
        Binary::ShiftRight if unsigned => (ua >> ub) as i64,
        Binary::ShiftRight => a >> b,
    };
    wrap(dtype, value)
}

fn power(base: i64, exponent: i64) -> i64 {
    match u32::try_from(exponent) {
        Ok(exponent) => base.wrapping_pow(exponent),
        // A negative exponent: the reciprocal, truncated.
        Err(_) => match base {
            1 => 1,
            -1 => {
                if exponent % 2 == 0 {
                    1
                } else {
                    -1
                }
            }
            _ => 0,
        },
    }
}

pub(crate) fn holds<T: PartialOrd + Copy>(op: Compare, a: T, b: T) -> bool {
    match op {
        Compare::Eq => a == b,
        Compare::Ne => a != b,
        Compare::Lt => a < b,
        Compare::Le => a <= b,
        Compare::Gt => a > b,
        Compare::Ge => a >= b,
    }
}

fn compare(op: Compare, dtype: DType, a: &Column, b: &Column, lanes: usize) -> Column {
    lanewise_int(lanes, &[a, b], |l| {
        i64::from(match dtype {
            d if d.is_float() => holds(op, a.float(l), b.float(l)),
            DType::U64 => holds(op, a.int(l) as u64, b.int(l) as u64),
            _ => holds(op, a.int(l), b.int(l)),
        })
    })
}

fn cast(to: DType, from: DType, a: &Column, lanes: usize) -> Column {
    let one = |l: usize| match from.is_float() {
        true => Scalar::from_f64(to, a.float(l)),
        false if from == DType::U64 && to.is_float() => Scalar::from_f64(to, a.int(l) as u64 as f64),
        false => Scalar::from_i64(to, a.int(l)),
    };
    match to.is_float() {
        // Between the wide floats nothing is rounded until the stage is written.
        true if from.is_float() && to.bits() >= 32 => a.clone(),
        true => lanewise_float(lanes, &[a], |l| one(l).as_f64()),
        false => lanewise_int(lanes, &[a], |l| saturate(to, from, a, l).unwrap_or_else(|| one(l).as_i64())),
    }
}

/// Floats that do not fit a narrow integer stop at its ends, as the conversion instructions do.
fn saturate(to: DType, from: DType, a: &Column, lane: usize) -> Option<i64> {
    let narrow = from.is_float() && to.is_int() && to.bits() < 64;
    narrow.then(|| saturated_int(to, a.float(lane)))
}

/// `value` truncated to an integer type; what does not fit stops at its ends, NaN becomes 0.
pub(crate) fn saturated_int(to: DType, value: f64) -> i64 {
    let limit = |fold: Fold| fold.identity(to).as_i64();
    match to {
        DType::U64 => value as u64 as i64,
        DType::I64 => value as i64,
        _ => (value as i64).clamp(limit(Fold::Max), limit(Fold::Min)),
    }
}

fn evaluate_stage(stage: &Stage, sources: &Sources) -> Tensor {
    let ty = stage.ty();
    let rank = stage.domain.len();
    let all: Vec<i64> = stage.domain.iter().chain(&stage.reduction).map(|&e| e as i64).collect();
    let body = Node::build(&stage.body, all.len(), stage.dtype, sources);
    let finish = stage.finish.as_ref().map(|finish| Node::build(finish, rank, body.dtype, sources));
    // The longest axis makes the longest rows.
    let lane_axis = (0..rank).rev().max_by_key(|&axis| stage.domain[axis]).unwrap_or(usize::MAX);
    let mut out = vec![0u8; ty.bytes()];
    if ty.elements() == 0 {
        return Tensor::new(ty, out);
    }
    let strides = ty.strides();
    let width = ty.dtype.bytes();
    let mut point = vec![0i64; all.len()];
    loop {
        let lanes = match lane_axis {
            usize::MAX => 1,
            axis => (stage.domain[axis] - point[axis] as usize).min(ROW),
        };
        let column = evaluate_row(stage, &body, finish.as_ref(), &mut point, lane_axis, lanes, &all);
        let base: usize = strides.iter().zip(&point).map(|(s, p)| s * *p as usize).sum();
        let stride = strides.get(lane_axis).copied().unwrap_or(0);
        let places = (0..lanes).map(|lane| (base + lane * stride) * width);
        match (ty.dtype, &column) {
            (DType::F32, Column::Float(values)) => {
                for (at, value) in places.zip(values) {
                    out[at..at + 4].copy_from_slice(&(*value as f32).to_le_bytes());
                }
            }
            (dtype, column) => {
                for (lane, at) in places.enumerate() {
                    let value = match dtype.is_float() {
                        true => Scalar::from_f64(dtype, column.float(lane)),
                        false => Scalar::from_i64(dtype, column.int(lane)),
                    };
                    out[at..at + width].copy_from_slice(&value.bits.to_le_bytes()[..width]);
                }
            }
        }
        if !advance(&mut point[..rank], &stage.domain, lane_axis, lanes) {
            return Tensor::new(ty, out);
        }
    }
}

fn evaluate_row(
    stage: &Stage,
    body: &Node,
    finish: Option<&Node>,
    point: &mut [i64],
    lane_axis: usize,
    lanes: usize,
    extents: &[i64],
) -> Column {
    let rank = stage.domain.len();
    let folded = match stage.fold {
        None => body.eval(&Row { point, lane_axis, lanes }, None, None),
        Some(fold) => {
            let mut sum = Column::one(fold.identity(body.dtype));
            if extents[rank..].iter().all(|&e| e > 0) {
                point[rank..].fill(0);
                loop {
                    let next = body.eval(&Row { point, lane_axis, lanes }, None, None);
                    accumulate(fold, body.dtype, &mut sum, &next, lanes);
                    if !advance(&mut point[rank..], &stage.reduction, usize::MAX, 1) {
                        break;
                    }
                }
                point[rank..].fill(0);
            }
            sum
        }
    };
    match finish {
        None => folded,
        Some(finish) => finish.eval(&Row { point, lane_axis, lanes }, Some(&folded), None),
    }
}

fn accumulate(fold: Fold, dtype: DType, sum: &mut Column, next: &Column, lanes: usize) {
    // The common case in place, without a new column.
    if let (Fold::Sum, Column::Float(sum), Column::Float(next)) = (fold, &mut *sum, next) {
        sum.iter_mut().zip(next).for_each(|(s, n)| *s += n);
        return;
    }
    *sum = binary(fold.binary(), dtype, sum, next, lanes);
}

/// Steps `point` through `extents`, last axis fastest, `lane_axis` by `lanes`; false when it has come round.
fn advance(point: &mut [i64], extents: &[usize], lane_axis: usize, lanes: usize) -> bool {
    for axis in (0..point.len()).rev() {
        point[axis] += if axis == lane_axis { lanes as i64 } else { 1 };
        if (point[axis] as usize) < extents[axis] {
            return true;
        }
        point[axis] = 0;
    }
    false
}
