//! Reductions along rows of any length: what is left after whole blocks of vectors.

use ir::{DType, Tensor};
use loops::{Definition, Expr, Fold, Source, Stage, Stmt, Unary, evaluate, interpret};
use schedule::{Argument, Destination, Operand, View, lower};
use targets::Target;

/// Whole vectors are left of blocks of eight, and then 3 elements of a vector of 8 or 4, 11 of one of 16.
const COLUMNS: usize = 203;

fn x() -> Expr {
    Expr::read(Source::Operand(0), [Expr::Axis(1)])
}

/// The elements that are folded one by one on the target, after the result was compared with the definition's.
fn alone(fold: Fold, body: Expr, name: &str) -> usize {
    let stage = Stage::reduce(DType::F32, [1], fold, [COLUMNS], body);
    let (view, len) = (View::contiguous(&[COLUMNS]), COLUMNS);
    let operand = Operand { source: Source::Operand(0), dtype: DType::F32, view, len, constant: false };
    let result = Destination { view: View::contiguous(&[1]), len: 1 };
    let target = Target::preset(name).unwrap();
    let kernel = lower("fold", &stage, std::slice::from_ref(&operand), &result, &target).unwrap();

    // Small integers: every order of a sum gives the same.
    let elements: Vec<f32> = (0..len).map(|k| (k * 7919 % 31) as f32 - 11.0).collect();
    let of = |argument: &Argument| match argument {
        Argument::Result => Tensor::from_slice([1], &[f32::NAN]),
        _ => Tensor::from_slice([len], &elements),
    };
    let mut buffers: Vec<Tensor> = kernel.arguments.iter().map(of).collect();
    interpret(&kernel.nest, &mut buffers, &()).unwrap_or_else(|error| panic!("{error}\n{}", kernel.nest));
    let expected = evaluate(&Definition::of(vec![stage]), &[&Tensor::from_slice([len], &elements)]).remove(0);
    let got = &buffers[kernel.result_argument().unwrap()];
    assert_eq!(got.to_f64s(), expected.to_f64s(), "{name}:\n{}", kernel.nest);
    scalar_loads(&kernel.nest.body)
}

fn scalar_loads(body: &[Stmt]) -> usize {
    let of = |stmt: &Stmt| match stmt {
        Stmt::For { from: Expr::Const(from), to: Expr::Const(to), step, body, .. } => {
            scalar_loads(body) * ((to.as_i64() - from.as_i64()) / step) as usize
        }
        Stmt::Let { ty, value: Expr::Load { .. }, .. } => usize::from(ty.lanes == 1),
        _ => 0,
    };
    body.iter().map(of).sum()
}

#[test]
fn greatest_and_least_go_back_over_a_vector() {
    for name in ["x86-64-v3", "x86-64-v4", "neoverse-n1"] {
        assert_eq!(alone(Fold::Max, x(), name), 0, "{name}");
        assert_eq!(alone(Fold::Min, x(), name), 0, "{name}");
    }
}

#[test]
fn sums_take_lanes_beyond_the_end_for_zeros() {
    for body in [x(), x() * x(), Expr::unary(Unary::Abs, x())] {
        assert_eq!(alone(Fold::Sum, body.clone(), "x86-64-v4"), 0);
        // Without masks what is less than a vector is left.
        assert_eq!(alone(Fold::Sum, body, "x86-64-v3"), 3);
    }
}

#[test]
fn lanes_that_would_count_are_left() {
    for body in [x() + Expr::f32(1.0), Expr::f32(2.0) * x()] {
        assert_eq!(alone(Fold::Sum, body, "x86-64-v4"), 11);
    }
    assert_eq!(alone(Fold::Product, x(), "x86-64-v4"), 11);
}
