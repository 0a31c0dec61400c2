//! Operators and conversions at their odd values: compiled for this machine and compared with plain Rust.

mod support;

use half::{bf16, f16};
use ir::DType::{self, BF16, Bool, F16, F32, I8, I16, I32, I64, U8, U32};
use ir::Scalar;
use loops::{Binary, Compare, Expr, Fold, Stmt, Unary};
use support::*;

/// `y[i] = f(a[i], b[i])` in vectors of `lanes`.
fn map2(from: DType, to: DType, len: usize, lanes: usize, f: impl Fn(Expr, Expr) -> Expr) -> loops::Nest {
    let at = |buffer| vload(buffer, var(0), lanes, lanes);
    let value = f(at(0), at(1));
    let body = vec![store(2, var(0), value, lanes)];
    nest(
        "map",
        [read("a", from, len), read("b", from, len), write("y", to, len)],
        vec![for_(0, len as i64, lanes as i64, body)],
    )
}

fn map1(from: DType, to: DType, len: usize, lanes: usize, f: impl Fn(Expr) -> Expr) -> loops::Nest {
    let body = vec![store(1, var(0), f(vload(0, var(0), lanes, lanes)), lanes)];
    nest("map", [read("a", from, len), write("y", to, len)], vec![for_(0, len as i64, lanes as i64, body)])
}

/// All pairs of odd values, padded to a multiple of 8.
fn pairs<T: Copy>(odd: &[T]) -> (Vec<T>, Vec<T>) {
    let mut all: Vec<(T, T)> = odd.iter().flat_map(|&a| odd.iter().map(move |&b| (a, b))).collect();
    while !all.len().is_multiple_of(8) {
        all.push((odd[0], odd[0]));
    }
    all.into_iter().unzip()
}

#[test]
fn integer_division_and_shifts() {
    let odd = [0, 1, -1, 2, -3, 7, 31, 32, 33, 100, i32::MAX, i32::MIN, i32::MIN + 1];
    let (a, b) = pairs(&odd);
    let expected = |op: Binary, a: i32, b: i32| match op {
        Binary::Div => {
            if b == 0 {
                0
            } else {
                a.wrapping_div(b)
            }
        }
        Binary::Rem => {
            if b == 0 {
                0
            } else {
                a.wrapping_rem(b)
            }
        }
        Binary::Mod => {
            if b == 0 {
                0
            } else {
                (i64::from(a) - i64::from(b) * (f64::from(a) / f64::from(b)).floor() as i64) as i32
            }
        }
        Binary::ShiftLeft => {
            if (0..32).contains(&b) {
                a.wrapping_shl(b as u32)
            } else {
                0
            }
        }
        Binary::ShiftRight => {
            if (0..32).contains(&b) {
                a >> b
            } else {
                a >> 31
            }
        }
        _ => {
            if a < b {
                a
            } else {
                b
            }
        }
    };
    for op in [Binary::Div, Binary::Rem, Binary::Mod, Binary::ShiftLeft, Binary::ShiftRight, Binary::Min] {
        for lanes in [1, 8] {
            let nest = map2(I32, I32, a.len(), lanes, |a, b| Expr::binary(op, a, b));
            let y: Vec<i32> = run(&nest, &host(), &[bytes(&a), bytes(&b)]);
            for k in 0..a.len() {
                assert_eq!(y[k], expected(op, a[k], b[k]), "{op:?} {} {}", a[k], b[k]);
            }
        }
    }
}

#[test]
fn division_by_constants_and_unsigned() {
    let a = [0, 1, -1, 5, -5, 6, -7, i32::MAX, i32::MIN, 12, 13, -12, 2, 3, 4, -2];
    for divisor in [3, -3, 1, -1, 0, 8] {
        let constant = |lanes| broadcast(Expr::Const(Scalar::from_i64(I32, divisor)), lanes);
        let nest = map1(I32, I32, 16, 4, |a| Expr::binary(Binary::Mod, a, constant(4)));
        let y: Vec<i32> = run(&nest, &host(), &[bytes(&a)]);
        let expected = a.map(|a| match divisor {
            0 => 0,
            d if d > 0 => i64::from(a).rem_euclid(d) as i32,
            d => -((-i64::from(a)).rem_euclid(-d)) as i32,
        });
        assert_eq!(y, expected, "by {divisor}");
    }
    let a = [0u32, 1, 7, u32::MAX, u32::MAX - 1, 1 << 31, 100, 3];
    let nest = map2(U32, U32, 8, 1, |a, b| Expr::binary(Binary::Div, a, b));
    let b = [0u32, 3, 7, 2, u32::MAX, 3, 0, 5];
    let expected: Vec<u32> = a.iter().zip(b).map(|(&a, b)| a.checked_div(b).unwrap_or(0)).collect();
    assert_eq!(run::<u32>(&nest, &host(), &[bytes(&a), bytes(&b)]), expected);
}

#[test]
fn minimum_and_maximum_with_nan_take_the_second() {
    let odd = [0.0f32, -0.0, 1.0, -2.5, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    let (a, b) = pairs(&odd);
    for (op, relation) in [(Binary::Min, f32::lt as fn(&f32, &f32) -> bool), (Binary::Max, f32::gt)] {
        let nest = map2(F32, F32, a.len(), 8, |a, b| Expr::binary(op, a, b));
        let y: Vec<f32> = run(&nest, &host(), &[bytes(&a), bytes(&b)]);
        for k in 0..a.len() {
            let expected = if relation(&a[k], &b[k]) { a[k] } else { b[k] };
            assert_eq!(y[k].to_bits(), expected.to_bits(), "{op:?} {} {}", a[k], b[k]);
        }
    }
    let assembly = codegen::assembly(&module(&map2(F32, F32, 16, 16, |a, b| a.min(b)), &host())).unwrap();
    assert!(assembly.contains("vminps") && !assembly.contains("vcmp"), "{assembly}");
}

#[test]
fn floats_to_integers_saturate() {
    let odd = [
        0.0f32,
        -0.5,
        1.9,
        -1.9,
        127.0,
        128.0,
        -129.0,
        255.9,
        256.0,
        2147483647.0,
        -2147483648.0,
        3e9,
        -3e9,
        1e30,
        f32::NAN,
        f32::INFINITY,
    ];
    for lanes in [1, 16] {
        let y: Vec<i8> = run(&map1(F32, I8, 16, lanes, |a| a.cast(I8)), &host(), &[bytes(&odd)]);
        assert_eq!(y, odd.map(|x| x as i8));
        let y: Vec<u8> = run(&map1(F32, U8, 16, lanes, |a| a.cast(U8)), &host(), &[bytes(&odd)]);
        assert_eq!(y, odd.map(|x| x as u8));
        let y: Vec<i32> = run(&map1(F32, I32, 16, lanes, |a| a.cast(I32)), &host(), &[bytes(&odd)]);
        assert_eq!(y, odd.map(|x| x as i32));
        let y: Vec<i64> = run(&map1(F32, I64, 16, lanes, |a| a.cast(I64)), &host(), &[bytes(&odd)]);
        assert_eq!(y, odd.map(|x| x as i64));
        let y: Vec<u8> = run(&map1(F32, Bool, 16, lanes, |a| a.cast(Bool)), &host(), &[bytes(&odd)]);
        assert_eq!(y, odd.map(|x| u8::from(x != 0.0)));
    }
}

#[test]
fn integers_widen_by_their_sign_and_wrap() {
    let a = [0i8, 1, -1, 127, -128, 5, -7, 100];
    let y: Vec<i16> = run(&map1(I8, I16, 8, 8, |a| a.cast(I16)), &host(), &[bytes(&a)]);
    assert_eq!(y, a.map(i16::from));
    let y: Vec<f32> = run(&map1(U8, F32, 8, 8, |a| a.cast(F32)), &host(), &[bytes(&a)]);
    assert_eq!(y, a.map(|x| f32::from(x as u8)));
    let y: Vec<i8> =
        run(&map1(I32, I8, 8, 8, |a| a.cast(I8)), &host(), &[bytes(&[300, -300, 128, -129, 0, 1, -1, 255])]);
    assert_eq!(y, [300, -300, 128, -129, 0, 1, -1, 255].map(|x: i32| x as i8));
    // 64-bit products of 32-bit data, as requantization takes them.
    let product = |a: Expr, b: Expr| {
        Expr::binary(Binary::ShiftRight, a.cast(I64) * b.cast(I64), broadcast(Expr::int(31), 4)).cast(I32)
    };
    let (a, b) = ([i32::MAX, i32::MIN, 12345678, -7], [i32::MAX, i32::MAX, -87654321, 3]);
    let y: Vec<i32> = run(&map2(I32, I32, 4, 4, product), &host(), &[bytes(&a), bytes(&b)]);
    assert_eq!(y, [0, 1, 2, 3].map(|k: usize| ((i64::from(a[k]) * i64::from(b[k])) >> 31) as i32));
}

#[test]
fn every_half_float_converts_exactly_and_back() {
    let all: Vec<u16> = (0..=u16::MAX).collect();
    for (dtype, to_f32) in
        [(F16, (|x| f16::from_bits(x).to_f32()) as fn(u16) -> f32), (BF16, |x| bf16::from_bits(x).to_f32())]
    {
        for lanes in [1, 16] {
            let wide: Vec<f32> =
                run(&map1(dtype, F32, all.len(), lanes, |a| a.cast(F32)), &host(), &[bytes(&all)]);
            for (&code, &y) in all.iter().zip(&wide) {
                let x = to_f32(code);
                assert!(
                    x == y && x.is_sign_negative() == y.is_sign_negative() || x.is_nan() && y.is_nan(),
                    "{code:#x}"
                );
            }
            let back: Vec<u16> =
                run(&map1(F32, dtype, all.len(), lanes, |a| a.cast(dtype)), &host(), &[bytes(&wide)]);
            for (&code, &y) in all.iter().zip(&back) {
                assert!(y == code || to_f32(code).is_nan() && to_f32(y).is_nan(), "{code:#x} {y:#x}");
            }
        }
    }
}

#[test]
fn floats_round_to_half_at_the_ties_and_ends() {
    // Around every 16-bit value: the middle to the next, and one step of f32 on each side of it.
    let middles = |to_f32: fn(u16) -> f32| -> Vec<f32> {
        (0..0x7c00u16)
            .step_by(37)
            .flat_map(|code| {
                let middle = (to_f32(code) / 2.0) + (to_f32(code + 1) / 2.0);
                [middle.next_down(), middle, middle.next_up(), -middle, 65519.0, 65520.0, 1e30, 1e-9]
            })
            .collect()
    };
    let x = middles(|c| f16::from_bits(c).to_f32());
    let y: Vec<u16> = run(&map1(F32, F16, x.len(), 8, |a| a.cast(F16)), &host(), &[bytes(&x)]);
    x.iter().zip(y).for_each(|(&x, y)| assert_eq!(y, f16::from_f32(x).to_bits(), "{x}"));
    let x = middles(|c| bf16::from_bits(c).to_f32());
    let y: Vec<u16> = run(&map1(F32, BF16, x.len(), 8, |a| a.cast(BF16)), &host(), &[bytes(&x)]);
    x.iter().zip(y).for_each(|(&x, y)| assert_eq!(y, bf16::from_f32(x).to_bits(), "{x}"));
}

#[test]
fn unary_operators() {
    let odd = [0.0f32, -0.0, 1.5, -2.5, 0.5, 2.0, f32::INFINITY, -7.75];
    let check = |op: Unary, expected: fn(f32) -> f32| {
        let y: Vec<f32> = run(&map1(F32, F32, 8, 8, |a| Expr::unary(op, a)), &host(), &[bytes(&odd)]);
        for (x, y) in odd.iter().zip(y) {
            let e = expected(*x);
            assert!(e.to_bits() == y.to_bits() || e.is_nan() && y.is_nan(), "{op:?} {x}: {y}");
        }
    };
    check(Unary::Neg, |x| -x);
    check(Unary::Abs, f32::abs);
    check(Unary::Sqrt, f32::sqrt);
    check(Unary::Floor, f32::floor);
    check(Unary::Ceil, f32::ceil);
    check(Unary::Round, f32::round_ties_even);
    check(Unary::Trunc, f32::trunc);
    check(Unary::Sign, |x| {
        if x > 0.0 {
            1.0
        } else if x < 0.0 {
            -1.0
        } else {
            x
        }
    });
    let y: Vec<i32> = run(
        &map1(I32, I32, 8, 8, |a| Expr::unary(Unary::Not, a)),
        &host(),
        &[bytes(&[0, 1, -1, 2, 3, 4, 5, 6])],
    );
    assert_eq!(y, [0, 1, -1, 2, 3, 4, 5, 6].map(|x: i32| !x));
    let y: Vec<u8> = run(&map1(F32, Bool, 8, 8, |a| Expr::unary(Unary::IsInf, a)), &host(), &[bytes(&odd)]);
    assert_eq!(y, odd.map(|x| u8::from(x.is_infinite())));
}

#[test]
fn what_has_no_instruction_is_named() {
    let nest = map1(F32, F32, 8, 8, |a| Expr::unary(Unary::Exp, a));
    let error = codegen::emit(&module(&nest, &host())).unwrap_err().to_string();
    assert!(error.contains("kernel `map`") && error.contains("Exp on f32"), "{error}");
}

#[test]
fn lanes_fold_in_halves() {
    for lanes in [2, 5, 8, 16] {
        let x: Vec<f32> = (0..lanes).map(|i| 0.1 * (i * i) as f32 - 1.0).collect();
        for fold in [Fold::Sum, Fold::Max, Fold::Min, Fold::Product] {
            let value = Expr::Horizontal { fold, value: Box::new(vload(0, Expr::int(0), lanes, lanes)) };
            let nest = nest(
                "fold",
                [read("x", F32, lanes), write("y", F32, 1)],
                vec![store(1, Expr::int(0), value, 1)],
            );
            let y: Vec<f32> = run(&nest, &host(), &[bytes(&x)]);
            let exact: f64 = match fold {
                Fold::Sum => x.iter().map(|&x| f64::from(x)).sum(),
                Fold::Product => x.iter().map(|&x| f64::from(x)).product(),
                Fold::Max => x.iter().copied().fold(f32::MIN, f32::max).into(),
                Fold::Min => x.iter().copied().fold(f32::MAX, f32::min).into(),
            };
            assert!(
                (f64::from(y[0]) - exact).abs() <= exact.abs() * 1e-5 + 1e-6,
                "{fold:?} of {lanes}: {} {exact}",
                y[0]
            );
        }
    }
}

#[test]
fn branches_assign_registers_and_selects_guard_loads() {
    let odd = Expr::compare(Compare::Eq, Expr::binary(Binary::Rem, var(0), Expr::int(2)), Expr::int(1));
    let branch = Stmt::If {
        condition: odd,
        then: vec![set(0, reg(0) + load(0, var(0))), set(1, Expr::f32(1.0))],
        otherwise: vec![set(0, reg(0) - load(0, var(0)))],
    };
    // Reads one element before and behind the buffer unless guarded: those lie in unmapped memory for a small index.
    let far = Expr::int(1 << 40);
    let guarded = Expr::select(var(0).within(4), load(0, var(0)), load(0, Expr::int(0)));
    let wild = Expr::select(Expr::compare(Compare::Gt, var(0), Expr::int(100)), load(0, far), guarded);
    let body = vec![
        let_(0, F32, 1, Expr::f32(0.0)),
        let_(1, F32, 1, Expr::f32(0.0)),
        for_(0, 6, 1, vec![branch, store(1, var(0), wild + reg(1), 1)]),
        store(1, Expr::int(6), reg(0), 1),
    ];
    let nest = nest("branch", [read("x", F32, 6), write("y", F32, 7)], body);
    let y: Vec<f32> = run(&nest, &host(), &[bytes(&[1.0f32, 2.0, 4.0, 8.0, 16.0, 32.0])]);
    assert_eq!(y, [1.0, 3.0, 5.0, 9.0, 2.0, 2.0, -1.0 + 2.0 - 4.0 + 8.0 - 16.0 + 32.0]);
}

#[test]
fn empty_loops_and_lanes_do_nothing() {
    let body = vec![
        for_(0, 0, 4, vec![store(0, var(0), Expr::f32(1.0), 1)]),
        store(0, Expr::int(0), broadcast(Expr::f32(2.0), 4), 0),
    ];
    let nest = nest("empty", [write("y", F32, 2)], body);
    let y: Vec<u32> = run(&nest, &host(), &[]);
    assert_eq!(y, [0xa5a5_a5a5; 2]);
}
