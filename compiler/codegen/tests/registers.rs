//! The form of contraction that wide machines like: an outer product in registers. The inner loop must be the loads of
//! the weights and one fused multiply-add per accumulator, nothing else.

mod support;

use ir::DType::F32;
use loops::{Expr, Nest, Stmt};
use support::*;

const ROWS: usize = 12;
const VECTORS: usize = 2;
const DEPTH: usize = 64;
/// Outer rounds of the reduction, as the taps of a convolution are: the accumulators pass through both loops.
const TAPS: usize = 3;

/// `y[r, :] = sum over t, k of x[t, r, k] * w[t, k, :]`, weights packed as `[t][k][vector][lane]`.
fn outer_product(lanes: usize) -> Nest {
    let width = VECTORS * lanes;
    let accumulator = |r: usize, v: usize| (r * VECTORS + v) as u32;
    let weight = |v: usize| (ROWS * VECTORS + v) as u32;
    let tiles = || (0..ROWS).flat_map(|r| (0..VECTORS).map(move |v| (r, v)));
    let mut body: Vec<Stmt> =
        tiles().map(|(r, v)| let_(accumulator(r, v), F32, lanes, broadcast(Expr::f32(0.0), lanes))).collect();
    let mut inner: Vec<Stmt> = (0..VECTORS)
        .map(|v| {
            let k = var(1) * Expr::int(DEPTH as i64) + var(0);
            let at = k * Expr::int(width as i64) + Expr::int((v * lanes) as i64);
            let_(weight(v), F32, lanes, vload(1, at, lanes, lanes))
        })
        .collect();
    inner.extend(tiles().map(|(r, v)| {
        let x = load(
            0,
            (var(1) * Expr::int(ROWS as i64) + Expr::int(r as i64)) * Expr::int(DEPTH as i64) + var(0),
        );
        let sum = Expr::MulAdd(
            Box::new(broadcast(x, lanes)),
            Box::new(reg(weight(v))),
            Box::new(reg(accumulator(r, v))),
        );
        set(accumulator(r, v), sum)
    }));
    body.push(for_(1, TAPS as i64, 1, vec![for_(0, DEPTH as i64, 1, inner)]));
    body.extend(
        tiles()
            .map(|(r, v)| store(2, Expr::int((r * width + v * lanes) as i64), reg(accumulator(r, v)), lanes)),
    );
    nest(
        "outer",
        [
            read("x", F32, TAPS * ROWS * DEPTH),
            read("w", F32, TAPS * DEPTH * width),
            write("y", F32, ROWS * width),
        ],
        body,
    )
}

/// The instructions between the label of the loop's head and its backward branch.
fn inner_loop(assembly: &str) -> Vec<String> {
    let lines: Vec<&str> = assembly.lines().map(str::trim).collect();
    let end = lines.iter().position(|l| l.starts_with("jne") || l.starts_with("jb")).expect("a loop");
    let label = format!("{}:", lines[end].split_whitespace().last().expect("its target"));
    let start = lines.iter().position(|l| l.starts_with(&label)).expect("the loop's head");
    lines[start + 1..end].iter().filter(|l| !l.starts_with(['#', '.'])).map(|l| l.to_string()).collect()
}

#[test]
fn accumulators_stay_in_registers_and_broadcasts_are_operands() {
    for cpu in ["znver4", "x86-64-v4", "sapphirerapids"] {
        let mut target = host();
        (target.cpu, target.vector.bits) = (cpu.into(), 512);
        let nest = outer_product(16);
        let loop_body = inner_loop(&codegen::assembly(&module(&nest, &target)).unwrap());
        let count = |what: &str| loop_body.iter().filter(|l| l.contains(what)).count();
        assert_eq!(count("vfmadd"), ROWS * VECTORS, "{cpu}: {loop_body:#?}");
        assert_eq!(count("zmm"), loop_body.len() - 2, "{cpu}: 512-bit vectors\n{loop_body:#?}");
        assert_eq!(count("(%rsp)"), 0, "{cpu} spills");
        assert!(count("{1to16}") + count("vbroadcastss") >= ROWS, "{cpu}: {loop_body:#?}");
        // Beyond the multiply-adds: loads of weights and of rows, and the loop's own two or three.
        assert!(loop_body.len() <= ROWS * VECTORS + VECTORS + ROWS + 3, "{cpu}: {loop_body:#?}");
    }
}

#[test]
fn the_outer_product_is_right() {
    let target = host();
    let lanes = target.vector.bits as usize / 32;
    let width = VECTORS * lanes;
    let x: Vec<f32> = (0..TAPS * ROWS * DEPTH).map(|i| (i % 13) as f32 - 6.0).collect();
    let w: Vec<f32> = (0..TAPS * DEPTH * width).map(|i| (i % 7) as f32 - 3.0).collect();
    let y: Vec<f32> = run(&outer_product(lanes), &target, &[bytes(&x), bytes(&w)]);
    for r in 0..ROWS {
        for c in 0..width {
            let exact: f32 = {
                let products = (0..TAPS * DEPTH)
                    .map(|k| x[(k / DEPTH * ROWS + r) * DEPTH + k % DEPTH] * w[k * width + c]);
                products.sum()
            };
            assert_eq!(y[r * width + c], exact);
        }
    }
}
