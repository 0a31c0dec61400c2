//! Small nests, one for each feature: compiled for this machine, run, and compared with plain Rust.

mod support;

use ir::DType::{F32, I32};
use loops::{Expr, Stmt};
use support::*;

#[test]
fn scalar_loop() {
    let nest = nest(
        "scale",
        [read("x", F32, 7), write("y", F32, 7)],
        vec![for_(0, 7, 1, vec![store(1, var(0), load(0, var(0)) * Expr::f32(2.0), 1)])],
    );
    let x: Vec<f32> = (0..7).map(|i| i as f32).collect();
    let y: Vec<f32> = run(&nest, &host(), &[bytes(&x)]);
    assert_eq!(y, x.iter().map(|x| x * 2.0).collect::<Vec<_>>());
}

#[test]
fn registers_carried_through_nested_loops() {
    let sum = vec![
        let_(0, I32, 1, Expr::Const(ir::Scalar::from_i64(I32, 0))),
        for_(0, 3, 1, vec![for_(1, 4, 1, vec![set(0, reg(0) + load(0, var(0) * Expr::int(4) + var(1)))])]),
        store(1, Expr::int(0), reg(0), 1),
    ];
    let nest = nest("sum", [read("x", I32, 12), write("y", I32, 1)], sum);
    let x: Vec<i32> = (0..12).map(|i| i * i - 5).collect();
    assert_eq!(run::<i32>(&nest, &host(), &[bytes(&x)]), [x.iter().sum::<i32>()]);
}

#[test]
fn vector_loop_with_masked_and_pieced_tails() {
    for masked in [true, false] {
        let body = |at: Expr, valid: usize| {
            let x = vload(0, at.clone(), 8, valid);
            Stmt::Store { buffer: loops::BufferId(1), index: at, value: x.clone() * x, valid }
        };
        let nest = nest(
            "square",
            [read("x", F32, 21), write("y", F32, 21)],
            vec![for_(0, 16, 8, vec![body(var(0), 8)]), body(Expr::int(16), 5)],
        );
        let mut target = host();
        target.vector.masked = masked;
        let x: Vec<f32> = (0..21).map(|i| i as f32 * 0.5).collect();
        let y: Vec<f32> = run(&nest, &target, &[bytes(&x)]);
        assert_eq!(y, x.iter().map(|x| x * x).collect::<Vec<_>>());
    }
}
