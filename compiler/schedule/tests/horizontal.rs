//! Reductions along rows of any length: what is left after whole blocks of vectors.

use ir::{DType, Tensor};
use loops::{Definition, Expr, Fold, Source, Stage, Stmt, Unary, evaluate, interpret};
use schedule::{Argument, Destination, Kernel, Operand, View, lower};
use targets::Target;

/// Whole vectors are left of blocks of eight, and then 3 elements of a vector of 8 or 4, 11 of one of 16.
const COLUMNS: usize = 203;

fn x() -> Expr {
    Expr::read(Source::Operand(0), [Expr::Axis(0), Expr::Axis(1)])
}

/// Folds along rows, whose result was compared with the definition's.
fn folded(rows: usize, fold: Fold, body: Expr, name: &str) -> Kernel {
    let stage = Stage::reduce(DType::F32, [rows], fold, [COLUMNS], body);
    let (view, len) = (View::contiguous(&[rows, COLUMNS]), rows * COLUMNS);
    let operand = Operand { source: Source::Operand(0), dtype: DType::F32, view, len, constant: false };
    let result = Destination { view: View::contiguous(&[rows]), len: rows };
    let target = Target::preset(name).unwrap();
    let kernel = lower("fold", &stage, std::slice::from_ref(&operand), &result, &target).unwrap();

    // Small integers: every order of a sum gives the same.
    let elements: Vec<f32> = (0..len).map(|k| (k * 7919 % 31) as f32 - 11.0).collect();
    let of = |argument: &Argument| match argument {
        Argument::Result => Tensor::from_slice([rows], &vec![f32::NAN; rows]),
        _ => Tensor::from_slice([len], &elements),
    };
    let mut buffers: Vec<Tensor> = kernel.arguments.iter().map(of).collect();
    interpret(&kernel.nest, &mut buffers, &()).unwrap_or_else(|error| panic!("{error}\n{}", kernel.nest));
    let image = Tensor::from_slice([rows, COLUMNS], &elements);
    let expected = evaluate(&Definition::of(vec![stage]), &[&image]).remove(0);
    let got = &buffers[kernel.result_argument().unwrap()];
    assert_eq!(got.to_f64s(), expected.to_f64s(), "{name}:\n{}", kernel.nest);
    kernel
}

/// The elements of a row that are folded one by one on the target.
fn alone(fold: Fold, body: Expr, name: &str) -> usize {
    scalar_loads(&folded(1, fold, body, name).nest.body)
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

/// A row's fold ends in a chain of few operations, which those of other rows are beside; a single row has as many sums of
/// its own under way.
#[test]
fn rows_are_folded_side_by_side() {
    let tile = |rows: usize, name: &str| {
        let kernel = folded(rows, Fold::Max, x(), name);
        (kernel.stages[0].tile, kernel.stages[0].vectors)
    };
    for name in ["x86-64-v3", "cortex-a53", "rv64gcv"] {
        let (rows, vectors) = tile(19, name);
        assert!((4..=8).contains(&rows) && vectors < 3, "{name}: {rows} {vectors}");
        let (rows, vectors) = tile(1, name);
        assert!(rows == 1 && vectors > 2, "{name}: {rows} {vectors}");
    }
    // Where each row takes an address of its own, one after the other.
    assert_eq!(tile(19, "cortex-m55").0, 1);
}
