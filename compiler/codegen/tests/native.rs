//! Small nests, one for each feature: compiled for this machine, run, and compared with plain Rust.

mod support;

use codegen::Place;
use ir::DType::{F32, I32};
use std::ffi::c_void;

use loops::{Expr, LoopVar, Stmt};
use support::*;
use targets::{InstructionOrder, Target};

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
        body: vec![for_(
            1,
            4,
            1,
            vec![store(1, var(0) + var(1), load(0, var(0) + var(1)) + var(0).cast(F32), 1)],
        )],
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

#[test]
fn calls_reach_weights_arena_inputs_and_outputs_at_their_offsets() {
    let target = host();
    let add = nest(
        "add",
        [read("a", F32, 4), read("b", F32, 4), write("y", F32, 4)],
        vec![store(2, Expr::int(0), vload(0, Expr::int(0), 4, 4) + vload(1, Expr::int(0), 4, 4), 4)],
    );
    let call = |a, b, y| codegen::Call { kernel: 0, arguments: vec![a, b, y] };
    let weights: Vec<f32> = (0..40).map(|i| i as f32).collect();
    let module = codegen::Module {
        name: "net".into(),
        target: &target,
        kernels: vec![add],
        without_matrices: Default::default(),
        calls: vec![
            call(
                Place::Input { index: 1, offset: 4 },
                Place::Weights { offset: 64 },
                Place::Arena { offset: 128 },
            ),
            call(
                Place::Arena { offset: 128 },
                Place::Weights { offset: 0 },
                Place::Output { index: 0, offset: 8 },
            ),
        ],
        inputs: 2,
        outputs: 1,
        weights: bytes(&weights),
    };
    let object = codegen::emit(&module).unwrap();
    assert_eq!(object.weights_bytes, 160);
    assert!(object.code_bytes > 0 && object.code_bytes < 1000);
    assert_eq!(object.bytes, codegen::emit(&module).unwrap().bytes, "the same input gives the same bytes");
    let library = native::Library::load(&object.bytes).unwrap();
    assert_eq!(library.symbol("net_weights").unwrap().align_offset(codegen::ALIGN), 0);
    let x = [100f32, 200.0, 300.0, 400.0, 500.0];
    let mut y = [0f32; 6];
    let mut arena = [0f32; 40];
    // SAFETY: compiled for this machine; the buffers hold what the calls touch.
    let code = unsafe {
        let inputs = [std::ptr::null(), x.as_ptr().cast()];
        library.run("net", &inputs, &[y.as_mut_ptr().cast()], arena.as_mut_ptr().cast())
    };
    assert_eq!(code, Ok(0));
    assert_eq!(y, [0.0, 0.0, 216.0, 318.0, 420.0, 522.0]);
    assert_eq!(arena[32..36], [216.0, 317.0, 418.0, 519.0]);

    let library = native::Library::load(&codegen::emit_with_steps(&module).unwrap().bytes).unwrap();
    let step = |name: &str| {
        let (mut y, mut arena) = ([0f32; 6], [0f32; 40]);
        let (inputs, outputs) = ([std::ptr::null(), x.as_ptr().cast()], [y.as_mut_ptr().cast()]);
        // SAFETY: as before.
        let code = unsafe {
            library.function(name).unwrap()(inputs.as_ptr(), outputs.as_ptr(), arena.as_mut_ptr().cast())
        };
        assert_eq!(code, 0);
        (y, arena[32])
    };
    assert_eq!(step("net_step0"), ([0.0; 6], 216.0), "the first call alone");
    assert_eq!(step("net_step1"), ([0.0, 0.0, 0.0, 1.0, 2.0, 3.0], 0.0), "the second alone");
    assert_eq!(step("net_run"), (y, 216.0));
    assert!(library.symbol("net_step2").is_err());
}

#[test]
fn wrong_modules_are_refused_by_name() {
    let target = host();
    let nest = nest("n", [write("y", F32, 1)], vec![store(0, Expr::int(0), Expr::f32(1.0), 1)]);
    let message = |change: &dyn Fn(&mut codegen::Module)| {
        let mut module = module(&nest, &target);
        change(&mut module);
        codegen::emit(&module).unwrap_err().to_string()
    };
    assert!(message(&|m| m.name = "2x".into()).contains("`2x` is not a C identifier"));
    assert!(message(&|m| m.calls[0].kernel = 3).contains("no kernel 3"));
    assert!(message(&|m| m.outputs = 0).contains("no output 0"));
    assert!(message(&|m| m.calls[0].arguments.clear()).contains("takes 1 buffers, not 0"));
    assert!(
        message(&|m| m.calls[0].arguments[0] = Place::Weights { offset: 0 }).contains("beyond the weights")
    );
    assert!(
        message(&|m| m.kernels[0].body.push(set(7, Expr::f32(0.0)))).contains("register r7 is not declared")
    );
    let mut unknown = host();
    unknown.triple = "pdp11-unknown-none".into();
    assert!(codegen::emit(&module(&nest, &unknown)).unwrap_err().to_string().contains("target `"));
}

/// A network without layers.
#[test]
fn an_empty_module_runs() {
    let target = host();
    let module = codegen::Module {
        name: "none".into(),
        target: &target,
        kernels: vec![],
        without_matrices: Default::default(),
        calls: vec![],
        inputs: 0,
        outputs: 0,
        weights: vec![],
    };
    let library = native::Library::load(&codegen::emit(&module).unwrap().bytes).unwrap();
    // SAFETY: it touches nothing.
    assert_eq!(unsafe { library.run("none", &[], &[], std::ptr::null_mut()) }, Ok(0));
}

/// Kernels are compiled on as many cores as there are: how many leaves no trace.
#[test]
fn one_thread_and_several_write_the_same_bytes() {
    let target = host();
    let scaled = |k: i64| {
        let value = load(0, var(0)) * Expr::f32(k as f32);
        nest(
            &format!("k{k}"),
            [read("x", F32, 7), write("y", F32, 7)],
            vec![for_(0, 7, 1, vec![store(1, var(0), value, 1)])],
        )
    };
    let mut module = module(&scaled(0), &target);
    module.kernels.extend((1..9).map(scaled));
    module.calls = (0..9).map(|kernel| codegen::Call { kernel, ..module.calls[0].clone() }).collect();
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| codegen::emit(&module)).unwrap().bytes
    };
    assert!(on(1) == on(4));
}

#[test]
fn the_order_of_instructions_is_the_targets_whatever_was_compiled_before() {
    // The rows of a small matrix product.
    let rows = || 0..14u32;
    let sums = rows().map(|row| let_(row, F32, 1, Expr::f32(0.0)));
    let element = |row: u32| load(0, var(0) + Expr::int(i64::from(row) * 9)) * load(0, var(0));
    let products = rows().map(|row| set(row, reg(row) + element(row))).collect();
    let stores = rows().map(|row| store(1, Expr::int(row.into()), reg(row), 1));
    let body = sums.chain([for_(0, 9, 1, products)]).chain(stores).collect();
    let nest = nest("p", [read("x", F32, 126), write("y", F32, 14)], body);
    let compiled = |instruction_order| {
        let target = Target { instruction_order, ..host() };
        codegen::emit(&module(&nest, &target)).unwrap().bytes
    };
    use InstructionOrder::{AsWritten, BottomUp, TopDown};
    let orders = [AsWritten, TopDown, BottomUp];
    let first = orders.map(compiled);
    assert_eq!(first, orders.map(compiled), "an order that was set before leaves nothing behind");
    assert!(first[0] != first[1] || first[0] != first[2], "LLVM takes the orders");
    // Side by side they wait for each other.
    let together = std::thread::scope(|scope| {
        orders.map(|order| scope.spawn(move || compiled(order))).map(|thread| thread.join().unwrap())
    });
    assert_eq!(first, together);
}
