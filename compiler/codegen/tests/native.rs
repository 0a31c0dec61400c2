//! Small nests, one for each feature: compiled for this machine, run, and compared with plain Rust.

mod support;

use ir::DType::{F32, I32};
use std::ffi::c_void;

use loops::{Expr, LoopVar, Stmt};
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

/// The hook as an application without threads would write it: two calls, the later half first.
unsafe extern "C" fn in_halves(pool: *mut c_void, body: native::Body, context: *mut c_void, count: i32) {
    // SAFETY: the test passes a counter; `body` and `context` come from the compiled code.
    unsafe {
        *pool.cast::<i32>() += count;
        body(context, count / 2, count);
        body(context, 0, count / 2);
    }
}

#[test]
fn parallel_loops_run_serially_or_through_the_hook() {
    let parallel = Stmt::For {
        var: LoopVar(0),
        from: Expr::int(2),
        to: Expr::int(17),
        step: 4,
        parallel: true,
        body: vec![for_(1, 4, 1, vec![store(1, var(0) + var(1), load(0, var(0) + var(1)) + var(0).cast(F32), 1)])],
    };
    let first = store(1, Expr::int(0), Expr::f32(-1.0), 1);
    let nest = nest("p", [read("x", F32, 18), write("y", F32, 18)], vec![first, parallel]);
    let target = host();
    let library = native::Library::load(&codegen::emit(&module(&nest, &target)).unwrap().bytes).unwrap();
    let x: Vec<f32> = (0..18).map(|i| i as f32).collect();
    let mut expected = vec![0.0; 18];
    expected[0] = -1.0;
    (2..18).for_each(|i| expected[i] = x[i] + (2 + (i - 2) / 4 * 4) as f32);

    let inputs = [x.as_ptr().cast()];
    let (mut serial, mut halves, mut iterations) = (vec![0f32; 18], vec![0f32; 18], 0i32);
    let threads = native::Threads { parallel_for: in_halves, pool: (&raw mut iterations).cast() };
    // SAFETY: compiled for this machine; buffers of the nest's sizes.
    unsafe {
        let arena = std::ptr::null_mut();
        assert_eq!(library.run("t", &inputs, &[serial.as_mut_ptr().cast()], arena), Ok(0));
        assert_eq!(library.run_threads("t", &inputs, &[halves.as_mut_ptr().cast()], arena, &threads), Ok(0));
    }
    assert_eq!((serial, halves, iterations), (expected.clone(), expected, 4));
}
