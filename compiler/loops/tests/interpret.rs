//! The verifier and the interpreter on nests written as text.

use ir::{DType, Scalar, Tensor, TensorType};
use loops::{Instructions, Type, Value, interpret, parse, verify};

/// One instruction, `dot2`: `acc + a0·b0 + a1·b1` in `i32` on pairs of `i16`.
struct Dot2;

impl Instructions for Dot2 {
    fn signature(&self, name: &str, _: &[Type]) -> Option<(Vec<Type>, Type)> {
        let (sum, pair) = (Type::scalar(DType::I32), Type::vector(DType::I16, 2));
        (name == "dot2").then(|| (vec![sum, pair, pair], sum))
    }

    fn run(&self, _: &str, args: &[Value]) -> Option<Value> {
        let [acc, a, b] = args else { return None };
        let dot: i64 = (0..2).map(|lane| a.int(lane) * b.int(lane)).sum();
        Some(Value::ints(DType::I32, [acc.int(0) + dot]))
    }
}

fn run(text: &str, mut buffers: Vec<Tensor>) -> Result<Vec<Tensor>, String> {
    let nest = parse(text).map_err(|error| error.to_string())?;
    interpret(&nest, &mut buffers, &Dot2).map_err(|error| error.to_string())?;
    Ok(buffers)
}

/// The verifier's answer to a body over a read buffer `x: f32[8]`, a written `y: f32[8]` and a written `n: i32[8]`.
fn judged(body: &str) -> String {
    let text = format!("nest k {{ read x: f32[8] write y: f32[8] write n: i32[8] {body} }}");
    verify(&parse(&text).unwrap(), &Dot2).map_or_else(|error| error.to_string(), |()| "ok".to_string())
}

#[test]
fn rows_come_one_after_the_other() {
    let text = "nest rows { read x: f32[12] write y: f32[8]
        y[0; 4] = x[1; 2 x 2 every 5]
        y[4; 4] = concat(x[10; 2], x[0; 2]) }";
    let x: Vec<f32> = (0..12).map(|k| k as f32).collect();
    let buffers = || vec![Tensor::from_slice([12], &x), Tensor::from_slice([8], &[0f32; 8])];
    let y = run(text, buffers()).unwrap()[1].to_f64s();
    assert_eq!(y, [1.0, 2.0, 6.0, 7.0, 10.0, 11.0, 0.0, 1.0]);
    // The last row lies outside.
    let text = "nest rows { read x: f32[12] write y: f32[8] y[0; 6] = x[1; 3 x 2 every 5] }";
    let error = run(text, buffers()).unwrap_err();
    assert!(error.contains("11") && error.contains("`x`"), "{error}");
}

#[test]
fn a_vectorized_sum() {
    let text = "nest sum { read x: f32[10] write y: f32[1]
        let r0: f32x4 = broadcast<4>(0.0)
        for i0 in 0..8 step 4 { r0 = r0 + x[i0; 4] }
        r0 = r0 + x[8; 2 of 4]
        y[0] = horizontal<sum>(r0) }";
    let x: Vec<f32> = (0..10).map(|k| k as f32).collect();
    let buffers = run(text, vec![Tensor::from_slice([10], &x), Tensor::from_slice([1], &[0f32])]).unwrap();
    assert_eq!(buffers[1].to_vec::<f32>().unwrap(), [45.0]);
}

#[test]
fn floats_are_rounded_at_every_operation() {
    // 1 + 2⁻²⁴ rounds to 1, and its square's last bit is lost unless the multiplication is fused.
    let text = "nest r { write y: f32[3]
        y[0] = (1.0 + 5.9604645e-8) - 1.0
        let r0: f32 = 1.0000001
        y[1] = r0 * r0 - 1.0000002
        y[2] = fma(r0, r0, -1.0000002) }";
    let y = run(text, vec![Tensor::from_slice([3], &[9f32; 3])]).unwrap()[0].to_vec::<f32>().unwrap();
    assert_eq!(y, [0.0, 0.0, 1.421_085_5e-14]);
}

#[test]
fn integers_wrap_and_casts_saturate() {
    let text = "nest w { write y: i8[3]
        y[0] = 127_i8 + 1_i8
        y[1] = cast<i8>(1e9)
        y[2] = cast<i8>(300) }";
    let y = run(text, vec![Tensor::from_slice([3], &[9i8; 3])]).unwrap()[0].to_vec::<i8>().unwrap();
    assert_eq!(y, [-128, 127, 44]);
}

#[test]
fn instructions_run() {
    let text = "nest d { read x: i16[4] write y: i32[1]
        let r0: i32 = 0_i32
        for i0 in 0..4 step 2 { r0 = @dot2(r0, x[i0; 2], x[i0; 2]) }
        y[0] = r0 }";
    let buffers = vec![Tensor::from_slice([4], &[1i16, 2, -3, 4]), Tensor::from_slice([1], &[0i32])];
    assert_eq!(run(text, buffers).unwrap()[1].to_vec::<i32>().unwrap(), [30]);
}

#[test]
fn a_condition_guards_a_read() {
    let text = "nest g { read x: f32[2] write y: f32[4]
        for i0 in 0..4 { y[i0] = select(i0 < 2, x[i0], -1.0) } }";
    let buffers = vec![Tensor::from_slice([2], &[1f32, 2.0]), Tensor::from_slice([4], &[0f32; 4])];
    assert_eq!(run(text, buffers).unwrap()[1].to_vec::<f32>().unwrap(), [1.0, 2.0, -1.0, -1.0]);
}

#[test]
fn accesses_outside_a_buffer_are_named() {
    let buffers =
        || vec![Tensor::from_slice([4], &[0f32; 4]), Tensor::zeros(TensorType::new(DType::F32, [4]))];
    let text =
        |body: &str| format!("nest k {{ read x: f32[4] write y: f32[4] for i0 in 0..4 {{ {body} }} }}");
    let error = |body| run(&text(body), buffers()).unwrap_err();
    assert_eq!(error("y[i0] = x[i0 + 1]"), "nest k: a load of 1 elements from 4 on, but `x` has 4 elements");
    assert_eq!(
        error("y[i0 - 1] = x[i0]"),
        "nest k: a store of 1 elements from -1 on, but `y` has 4 elements"
    );
    assert_eq!(
        error("y[i0; 2] = x[0; 2 of 4]"),
        "nest k: a store of 2 elements from 3 on, but `y` has 4 elements"
    );
    let error = run(&text(""), vec![Tensor::scalar(Scalar::f32(1.0))]).unwrap_err();
    assert_eq!(error, "nest k takes f32[4] f32[4]; given are f32[]");
}

#[test]
fn malformed_nests_are_refused() {
    assert_eq!(judged("y[0; 8] = x[0; 8] + broadcast<8>(1.0)"), "ok");
    assert_eq!(judged("r0 = 1.0"), "nest k: register r0 is used before it is declared");
    assert_eq!(
        judged("for i0 in 0..2 { let r0: f32 = 1.0 } y[0] = r0"),
        "nest k: register r0 is used before it is declared"
    );
    assert_eq!(judged("let r0: f32 = 1.0 let r0: f32 = 1.0"), "nest k: register r0 is declared twice");
    assert_eq!(judged("let r0: f32x4 = 1.0"), "nest k: register r0 is f32, expected f32x4");
    assert_eq!(judged("y[0; 8] = x[0; 8] + 1.0"), "nest k: Add of f32x8 and f32");
    assert_eq!(judged("y[0] = 1_i32"), "nest k: a store of i32 to `y`, which holds f32");
    assert_eq!(judged("y[0; 2] = 1.0"), "nest k: a store to `y` of 2 lanes of f32");
    assert_eq!(judged("x[0] = 1.0"), "nest k: a store to `x`, which is read only");
    assert_eq!(judged("y[1.0] = 1.0"), "nest k: the index of a store to `y` is f32, expected i64");
    assert_eq!(judged("y[0] = x[0; 9 of 8]"), "nest k: a load from `x` of 9 lanes of 8");
    assert_eq!(judged("y[i0] = 1.0"), "nest k: loop variable i0 is used outside its loop");
    assert_eq!(judged("for i0 in 0..2 step -1 { }"), "nest k: loop i0 has step -1; steps are positive");
    assert_eq!(
        judged("for i0 in 0..2 { for i1 in 0..2 parallel { } }"),
        "nest k: loop i1 is parallel; only outermost loops are"
    );
    assert_eq!(judged("y[0] = folded"), "nest k: axes, reads and folded values belong into definitions");
    assert_eq!(judged("if 1 { }"), "nest k: a condition is i64, expected bool");
    assert_eq!(judged("y[0] = x[0] & x[1]"), "nest k: And of f32");
    assert_eq!(judged("n[0] = exp(1_i32)"), "nest k: Exp of i32");
    assert_eq!(judged("y[0; 2] = shuffle<0, 7>(x[0; 4], x[4; 4])"), "ok");
    assert_eq!(judged("y[0; 4] = shuffle<1..4, 7>(x[0; 4], x[4; 4])"), "ok");
    let beyond = "y[0; 2] = shuffle<0, 8>(x[0; 4], x[4; 4])";
    assert_eq!(judged(beyond), "nest k: lanes [0, 8] of two f32x4");
    assert_eq!(judged("y[0; 2] = shuffle<0, 1>(x[0], x[1])"), "nest k: lanes [0, 1] of two f32");
    assert_eq!(judged("y[0; 2] = shuffle<0, 1>(x[0; 2], x[0; 4])"), "nest k: Shuffle of f32x2 and f32x4");
    assert_eq!(judged("y[0; 6] = x[0; 3 x 2 every 4]"), "ok");
    assert_eq!(judged("y[0] = x[0; 3 x 0 every 4]"), "nest k: a load from `x` of 3 rows of 0 lanes");
    assert_eq!(judged("y[0; 4] = concat(x[0; 2], x[4; 2])"), "ok");
    assert_eq!(judged("y[0; 4] = concat(x[0; 2], x[4; 3])"), "nest k: Concat of f32x2 and f32x3");
    assert_eq!(judged("y[0; 4] = concat()"), "nest k: Concat of nothing");
    // As many lanes as there are numbers.
    let most = usize::MAX;
    let text = format!("y[0; 2] = shuffle<0, 1>(broadcast<{most}>(x[0]), broadcast<{most}>(x[0]))");
    assert_eq!(judged(&text), "ok");
    assert_eq!(judged("n[0] = bits<i32>(x[0])"), "ok");
    assert_eq!(judged("let r0: i32 = bits<i32>(1)"), "nest k: register r0 is i32x2, expected i32");
    assert_eq!(judged("n[0] = bits<i32>(1_i16)"), "nest k: the bits of i16 as i32");
    assert_eq!(judged("n[0] = @dot2(1_i32)"), "nest k: `dot2` of i32; it takes i32, i16x2, i16x2");
    assert_eq!(judged("n[0] = @dot3(1)"), "nest k: no instruction is called `dot3`");
}

#[test]
fn the_lanes_fold_pairwise() {
    let lanes = Value::floats(DType::F32, [1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(lanes.horizontal(loops::Fold::Sum), Value::floats(DType::F32, [15.0]));
    assert_eq!(lanes.horizontal(loops::Fold::Max), Value::floats(DType::F32, [5.0]));
    // 2²⁴ + 1 rounds to 2²⁴; with its mirror added first nothing is lost.
    let large = Value::floats(DType::F32, [16_777_216.0, 1.0, -16_777_216.0, 1.0]);
    assert_eq!(large.horizontal(loops::Fold::Sum), Value::floats(DType::F32, [2.0]));
}
