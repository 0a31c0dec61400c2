//! The expanded elementary functions against `f64`: special values exactly, everything else in ULP over a sweep of all
//! floats. `UPDATE=1` writes the table in docs/numerics.md anew.

use std::collections::HashMap;

use ir::{DType, Scalar};
use loops::{Binary, Expr, Reg, Type, Unary, Value, interpret_expr};
use schedule::math;
use targets::{Costs, FloatUnit, Target, Vector};

const LANES: usize = 4096;
/// Every so manieth float is tried; a prime.
const STRIDE: usize = 4001;

fn target(fma: bool, round: bool) -> Target {
    Target {
        name: "test".into(),
        description: String::new(),
        triple: String::new(),
        cpu: String::new(),
        features: String::new(),
        scheduling_model: String::new(),
        abi: String::new(),
        pointer_bits: 64,
        float: FloatUnit { bits: 32, fma, round, registers: 16 },
        vector: Vector::NONE,
        caches: vec![],
        costs: Costs::default(),
        instruction_order: targets::InstructionOrder::default(),
        instructions: vec![],
        runner: None,
        threads: 1,
        winograd: true,
    }
}

/// An expanded function: registers in order, and the value; the operands are the first registers.
struct Program {
    lets: Vec<(Reg, Expr)>,
    value: Expr,
    operands: u32,
}

impl Program {
    fn of(dtype: DType, operands: u32, build: impl FnOnce(&[Expr], Type, math::Bind) -> Expr) -> Program {
        let mut lets = Vec::new();
        let args: Vec<Expr> = (0..operands).map(|k| Expr::Reg(Reg(k))).collect();
        let mut bind = |_: Type, value: Expr| {
            let reg = Reg(operands + lets.len() as u32);
            lets.push((reg, value));
            Expr::Reg(reg)
        };
        let value = build(&args, Type { dtype, lanes: LANES }, &mut bind);
        Program { lets, value, operands }
    }

    fn unary(op: Unary, target: &Target) -> Program {
        Program::of(DType::F32, 1, |x, ty, bind| math::expand(op, x[0].clone(), ty, target, bind).unwrap())
    }

    fn binary(op: Binary, target: &Target) -> Program {
        Program::of(DType::F32, 2, |x, ty, bind| {
            math::expand_binary(op, x[0].clone(), x[1].clone(), ty, target, bind).unwrap()
        })
    }

    /// The function of each of the operands, which are padded to full vectors.
    fn run(&self, operands: &[&[f32]]) -> Vec<f32> {
        assert_eq!(operands.len(), self.operands as usize);
        let len = operands[0].len();
        (0..len.div_ceil(LANES)).flat_map(|block| self.block(operands, block * LANES)).take(len).collect()
    }

    fn block(&self, operands: &[&[f32]], from: usize) -> Vec<f32> {
        let lane = |x: &[f32], k: usize| f64::from(x[(from + k).min(x.len() - 1)]);
        let vector = |x: &&[f32]| Value::floats(DType::F32, (0..LANES).map(|k| lane(x, k)));
        let mut registers: HashMap<Reg, Value> =
            operands.iter().enumerate().map(|(k, x)| (Reg(k as u32), vector(x))).collect();
        for (reg, value) in &self.lets {
            let value = interpret_expr(value, &registers, &()).unwrap();
            registers.insert(*reg, value);
        }
        let value = interpret_expr(&self.value, &registers, &()).unwrap();
        (0..LANES).map(|k| value.float(k) as f32).collect()
    }
}

/// The distance between `exact` and `got` in units of the last place that `exact` has as an `f32`.
fn ulp(exact: f64, got: f32) -> f64 {
    let rounded = exact as f32;
    if rounded.is_nan() || rounded.is_infinite() || got.is_nan() || got.is_infinite() {
        return if rounded == got || rounded.is_nan() && got.is_nan() { 0.0 } else { f64::INFINITY };
    }
    let exponent = exact.abs().log2().floor().max(-126.0);
    (exact - f64::from(got)).abs() / (exponent - 23.0).exp2()
}

/// Both signs of every [`STRIDE`]-th float up to `limit`.
fn sweep(limit: f32) -> Vec<f32> {
    (0..=limit.to_bits())
        .step_by(STRIDE)
        .flat_map(|bits| [f32::from_bits(bits), -f32::from_bits(bits)])
        .collect()
}

/// The floats nearest to multiples of π/2, where reducing the angle cancels most.
fn near_half_pi_multiples(limit: f64) -> Vec<f32> {
    let half_pi = std::f64::consts::FRAC_PI_2;
    let count = (limit / half_pi) as i64;
    (1..=count).map(|n| (n as f64 * half_pi) as f32).collect()
}

struct Function {
    name: &'static str,
    op: Unary,
    exact: fn(f64) -> f64,
    /// Largest magnitude of the stated error's domain.
    limit: f32,
    domain: &'static str,
    /// What the figure must not exceed.
    goal: f64,
}

const ALL: f32 = f32::MAX;
const ANGLE: f32 = 1e5;

#[rustfmt::skip]
const FUNCTIONS: [Function; 15] = [
    Function { name: "exp", op: Unary::Exp, exact: f64::exp, limit: ALL, domain: "all", goal: 2.0 },
    Function { name: "log", op: Unary::Log, exact: f64::ln, limit: ALL, domain: "all", goal: 2.0 },
    Function { name: "sin", op: Unary::Sin, exact: f64::sin, limit: ANGLE, domain: "−10⁵ to 10⁵", goal: 2.0 },
    Function { name: "cos", op: Unary::Cos, exact: f64::cos, limit: ANGLE, domain: "−10⁵ to 10⁵", goal: 2.0 },
    Function { name: "tan", op: Unary::Tan, exact: f64::tan, limit: ANGLE, domain: "−10⁵ to 10⁵", goal: 4.0 },
    Function { name: "asin", op: Unary::Asin, exact: f64::asin, limit: ALL, domain: "all", goal: 4.0 },
    Function { name: "acos", op: Unary::Acos, exact: f64::acos, limit: ALL, domain: "all", goal: 4.0 },
    Function { name: "atan", op: Unary::Atan, exact: f64::atan, limit: ALL, domain: "all", goal: 4.0 },
    Function { name: "sinh", op: Unary::Sinh, exact: f64::sinh, limit: ALL, domain: "all", goal: 4.0 },
    Function { name: "cosh", op: Unary::Cosh, exact: f64::cosh, limit: ALL, domain: "all", goal: 4.0 },
    Function { name: "tanh", op: Unary::Tanh, exact: f64::tanh, limit: ALL, domain: "all", goal: 4.0 },
    Function { name: "asinh", op: Unary::Asinh, exact: libm::asinh, limit: ALL, domain: "all", goal: 4.0 },
    Function { name: "acosh", op: Unary::Acosh, exact: acosh, limit: ALL, domain: "all", goal: 4.0 },
    Function { name: "atanh", op: Unary::Atanh, exact: libm::atanh, limit: ALL, domain: "all", goal: 4.0 },
    Function { name: "erf", op: Unary::Erf, exact: libm::erf, limit: ALL, domain: "all", goal: 4.0 },
];

/// `libm` leaves the function undefined below 1.
fn acosh(x: f64) -> f64 {
    if x < 1.0 { f64::NAN } else { libm::acosh(x) }
}

/// The largest error and where it is.
fn worst(points: &[f32], got: &[f32], exact: impl Fn(usize) -> f64) -> (f64, f32) {
    let errors = (0..points.len()).map(|k| (ulp(exact(k), got[k]), points[k]));
    errors.fold((0.0, 0.0), |worst, new| if new.0 > worst.0 { new } else { worst })
}

/// A pair of errors, with and without a fused multiply-add, as a line of the table.
fn row(name: &str, domain: &str, goal: f64, error: impl Fn(&Target) -> (f64, f32)) -> String {
    let errors = [true, false].map(|fma| {
        let (error, at) = error(&target(fma, fma));
        assert!(error <= goal, "{name}({at:e}) is {error} ULP off, fma = {fma}; the goal is {goal}");
        error
    });
    // Rounded up: the table states bounds.
    let shown = errors.map(|error| (error * 100.0).ceil() / 100.0);
    format!("| {name} | {domain} | {:.2} | {:.2} |\n", shown[0], shown[1])
}

fn unary_row(function: &Function) -> String {
    let mut points = sweep(function.limit);
    if matches!(function.op, Unary::Sin | Unary::Cos | Unary::Tan) {
        points.extend(near_half_pi_multiples(f64::from(function.limit)));
    }
    row(function.name, function.domain, function.goal, |target| {
        let got = Program::unary(function.op, target).run(&[&points]);
        worst(&points, &got, |k| (function.exact)(f64::from(points[k])))
    })
}

/// Pairs in which neither operand is rare: a small generator with the seed given here.
fn pairs(count: usize, from: impl Fn(u64, u64) -> (f32, f32)) -> (Vec<f32>, Vec<f32>) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..count).map(|_| from(next(), next())).unzip()
}

fn uniform(random: u64, low: f32, high: f32) -> f32 {
    low + (high - low) * (random >> 40) as f32 / (1u64 << 24) as f32
}

fn pow_row() -> String {
    // Bases of all magnitudes and near 1, exponents that keep most results finite.
    let (bases, exponents) = pairs(1 << 20, |a, b| {
        let base = if a % 2 == 0 { f32::from_bits((a >> 33) as u32) } else { uniform(a, 0.5, 2.0) };
        let range = 90.0 / f64::from(base).abs().ln().abs().max(1e-3);
        let exponent = uniform(b, -1.0, 1.0) * range as f32;
        if b % 8 == 0 { (-base, exponent.round()) } else { (base, exponent) }
    });
    row("pow", "all", 6.0, |target| {
        let got = Program::binary(Binary::Pow, target).run(&[&bases, &exponents]);
        worst(&bases, &got, |k| f64::from(bases[k]).powf(f64::from(exponents[k])))
    })
}

fn remainder_rows() -> String {
    let (a, b) = pairs(1 << 18, |a, b| {
        (uniform(a, -1.0, 1.0) * 1e3, uniform(b, -1.0, 1.0) * 10f32.powi((b % 24) as i32 / 2 - 8))
    });
    let stated = a.into_iter().zip(b).filter(|(a, b)| (a / b).abs() < 2f32.powi(40));
    let (a, b): (Vec<f32>, Vec<f32>) = stated.unzip();
    let rem = row("rem", "quotient below 2⁴⁰", 0.0, |target| {
        let got = Program::binary(Binary::Rem, target).run(&[&a, &b]);
        worst(&a, &got, |k| f64::from(a[k]) % f64::from(b[k]))
    });
    let modulo = row("mod", "quotient below 2⁴⁰", 0.5, |target| {
        let got = Program::binary(Binary::Mod, target).run(&[&a, &b]);
        worst(&a, &got, |k| {
            let (a, b) = (f64::from(a[k]), f64::from(b[k]));
            let rest = a % b;
            if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }
        })
    });
    rem + &modulo
}

#[test]
fn documented_errors() {
    let rows: String = FUNCTIONS.iter().map(unary_row).collect::<String>() + &pow_row() + &remainder_rows();
    let table = format!("| function | domain | ULP, fused | ULP, unfused |\n|---|---|---|---|\n{rows}");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/numerics.md");
    let document = std::fs::read_to_string(path).unwrap();
    let (head, rest) = document.split_once("<!-- measured -->\n").unwrap();
    let (old, tail) = rest.split_once("<!-- end -->").unwrap();
    if std::env::var_os("UPDATE").is_some() {
        let new = format!("{head}<!-- measured -->\n{table}<!-- end -->{tail}");
        std::fs::write(path, new).unwrap();
    } else {
        assert_eq!(
            old, table,
            "docs/numerics.md is out of date: UPDATE=1 cargo test -p schedule --test numerics"
        );
    }
}

const SPECIAL: [f32; 22] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    1.5,
    -1.5,
    2.5,
    -2.5,
    8_388_607.5,
    -8_388_607.5,
    8_388_609.0,
    3e9,
    -3e9,
    1e-45,
    -1e-45,
    f32::MAX,
    f32::MIN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
];

fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

#[test]
fn rounding_is_exact() {
    type Rounding = (Unary, fn(f32) -> f32);
    let functions: [Rounding; 4] = [
        (Unary::Floor, f32::floor),
        (Unary::Ceil, f32::ceil),
        (Unary::Round, f32::round_ties_even),
        (Unary::Trunc, f32::trunc),
    ];
    let mut points = sweep(f32::INFINITY);
    points.extend(SPECIAL);
    for (op, exact) in functions {
        for (x, got) in points.iter().zip(Program::unary(op, &target(false, false)).run(&[&points])) {
            assert!(same(got, exact(*x)), "{op:?}({x:e}) is {got:e}, not {:e}", exact(*x));
        }
    }
}

#[test]
fn special_values() {
    for fma in [true, false] {
        for function in &FUNCTIONS {
            let got = Program::unary(function.op, &target(fma, fma)).run(&[&SPECIAL]);
            for (x, got) in SPECIAL.into_iter().zip(got) {
                let exact = (function.exact)(f64::from(x));
                if x.abs() > function.limit && x.is_finite() {
                    // No accuracy is promised, but no nonsense either.
                    assert!(!got.is_nan(), "{}({x:e}) is {got:e}", function.name);
                    assert!(
                        function.op == Unary::Tan || got.abs() <= 1.0,
                        "{}({x:e}) is {got:e}",
                        function.name
                    );
                    continue;
                }
                assert!(
                    ulp(exact, got) <= function.goal,
                    "{}({x:e}) is {got:e}, not {exact:e}",
                    function.name
                );
                let zero_sign = exact != 0.0 || exact.is_sign_negative() == got.is_sign_negative();
                assert!(zero_sign, "{}({x:e}) is {got:e}, not {exact:e}", function.name);
            }
        }
    }
}

#[test]
fn special_pairs() {
    let all = || SPECIAL.into_iter().chain([2.0, 3.0, -3.0, 0.25, 7.0, 1e30]);
    let (a, b): (Vec<f32>, Vec<f32>) = all().flat_map(|a| all().map(move |b| (a, b))).unzip();
    for fma in [true, false] {
        let got = Program::binary(Binary::Pow, &target(fma, fma)).run(&[&a, &b]);
        for k in 0..a.len() {
            let exact = f64::from(a[k]).powf(f64::from(b[k]));
            assert!(ulp(exact, got[k]) <= 6.0, "pow({:e}, {:e}) is {:e}, not {exact:e}", a[k], b[k], got[k]);
        }
        let got = Program::binary(Binary::Rem, &target(fma, fma)).run(&[&a, &b]);
        for k in 0..a.len() {
            if (a[k] / b[k]).abs() < 2f32.powi(40) || !a[k].is_finite() || b[k] == 0.0 || b[k].is_nan() {
                let exact = a[k] % b[k];
                assert!(same(got[k], exact), "rem({:e}, {:e}) is {:e}, not {exact:e}", a[k], b[k], got[k]);
            }
        }
    }
}

#[test]
fn powers_by_multiplication() {
    let points = [0.0f32, -0.0, 2.0, -3.0, 0.1, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    for exponent in [0.0f32, 1.0, 2.0, 3.0, -1.0, 0.5] {
        let program = Program::of(DType::F32, 1, |x, ty, bind| {
            let b = Expr::Broadcast { value: Box::new(Expr::f32(exponent)), lanes: ty.lanes };
            math::expand_binary(Binary::Pow, x[0].clone(), b, ty, &target(true, true), bind).unwrap()
        });
        for (x, got) in points.iter().zip(program.run(&[&points])) {
            let exact = f64::from(*x).powf(f64::from(exponent));
            assert!(ulp(exact, got) <= 1.0, "pow({x:e}, {exponent}) is {got:e}, not {exact:e}");
        }
    }
}

#[test]
fn sign_and_classes() {
    let points = [0.0f32, -0.0, 3.0, -1e-45, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    let run = |op| Program::unary(op, &target(true, true)).run(&[&points]);
    let sign = run(Unary::Sign);
    assert_eq!(&sign[..6], [0.0, -0.0, 1.0, -1.0, 1.0, -1.0]);
    assert!(sign[6].is_nan());
    assert_eq!(run(Unary::IsNan), [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    assert_eq!(run(Unary::IsInf), [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0]);
}

#[test]
fn halves_are_computed_in_f32() {
    let program = Program::of(DType::F16, 1, |x, ty, bind| {
        math::expand(Unary::Exp, x[0].clone(), ty, &target(true, true), bind).unwrap()
    });
    let got = {
        let x = Value::splat(Scalar::from_f64(DType::F16, 1.5), LANES);
        let mut registers = HashMap::from([(Reg(0), x)]);
        for (reg, value) in &program.lets {
            let value = interpret_expr(value, &registers, &()).unwrap();
            registers.insert(*reg, value);
        }
        interpret_expr(&program.value, &registers, &()).unwrap()
    };
    assert_eq!(got.get(0), Scalar::from_f64(DType::F16, 1.5f64.exp()));
}

#[test]
fn doubles_are_refused() {
    let ty = Type { dtype: DType::F64, lanes: 1 };
    let error =
        math::expand(Unary::Exp, Expr::Reg(Reg(0)), ty, &target(true, true), &mut |_, e| e).unwrap_err();
    assert_eq!(error.to_string(), "exp of f64 is not supported; f32, f16 and bf16 are");
}

/// Machines without a float unit have no instruction for it.
#[test]
fn the_square_root_in_software_is_within_an_ulp() {
    let mut soft = target(false, false);
    soft.float.bits = 0;
    let swept = (0..u32::MAX / STRIDE as u32).map(|k| k * STRIDE as u32);
    let bits: Vec<u32> = [1, 0x8000_0000, f32::INFINITY.to_bits()].into_iter().chain(swept).collect();
    for bits in bits.chunks_exact(LANES) {
        let xs: Vec<f32> = bits.iter().map(|&bits| f32::from_bits(bits)).collect();
        for (x, y) in xs.iter().zip(Program::unary(Unary::Sqrt, &soft).run(&[&xs])) {
            let exact = x.sqrt();
            let close = (exact.to_bits() as i32).abs_diff(y.to_bits() as i32) <= 1;
            assert!(close || exact.is_nan() && y.is_nan(), "sqrt({x:e}) is {y:e}, should be {exact:e}");
        }
    }
}
