//! Whatever prints, parses; whatever does not parse is an error with a place.

use ir::{DType, Scalar};
use loops::{
    Access, Binary, Buffer, BufferId, Compare, Definition, Expr, Fold, LoopVar, Nest, Reg, Source, Stage,
    Stmt, Type, Unary, parse,
};
use proptest::prelude::*;

const EXAMPLE: &str = "\
nest conv_3 {
  read x: f32[1024]
  read w: f32[1024]
  write y: f32[256]
  scratch t: i8[7]
  for i0 in 0..16 step 4 parallel {
    let r0: f32x16 = broadcast<16>(0.0)
    for i1 in i0..min(i0 + 4, 64) {
      r0 = fma(broadcast<16>(x[i1]), w[i1 * 16; 16], r0)
    }
    if (i0 == 12) & (x[0] < 1e-5) {
      y[i0 * 16; 3] = max(broadcast<16>(0.0), r0)
    } else {
      y[i0 * 16; 16] = select(x[1] != -inf_f32, @vdiv(r0, x[0; 5 of 16]), nan_f32(0x7fc00000) - r0 * r0 - (r0 - r0))
    }
  }
  t[6] = bits<i8>(cast<u8>(3_i32)) << -2_i8
}
";

#[test]
fn the_example_prints_as_it_was_read() {
    let nest = parse(EXAMPLE).unwrap();
    assert_eq!(nest.to_string(), EXAMPLE);
    assert_eq!(nest.buffers.len(), 4);
}

#[test]
fn comments_and_spacing_are_free() {
    let nest = parse("nest a{// one\nwrite y:i64[2]y[0]=1+2*3 y[1]=(1+2)*3}// end").unwrap();
    assert_eq!(
        nest.to_string(),
        "nest a {\n  write y: i64[2]\n  y[0] = 1 + 2 * 3\n  y[1] = (1 + 2) * 3\n}\n"
    );
}

#[test]
fn errors_have_a_place() {
    let place = |text: &str| parse(text).unwrap_err().to_string();
    assert_eq!(place("nest a {\n  read x: f33[4]\n}"), "line 2, column 14: no element type is called `f33`");
    assert_eq!(place("nest a {\n  y[0] = 1.0\n}"), "line 2, column 5: no buffer is called `y`");
    assert_eq!(
        place("nest a {\n  let r0: f32 = fma(r1, r2)\n}"),
        "line 2, column 28: expected 3 operands, found 2"
    );
    assert_eq!(place("nest a {\n  let r0: i8 = 128_i8\n}"), "line 2, column 22: `128` is no i8");
    assert_eq!(place("nest a {"), "line 1, column 9: expected a name");
    assert_eq!(place(""), "line 1, column 1: expected `nest`");
}

#[test]
fn depth_is_bounded() {
    let deep = format!("nest a {{ r0 = {}1{} }}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(parse(&deep).unwrap_err().message.contains("levels of nesting"));
    let long = format!("nest a {{ r0 = 1{} }}", " + 1".repeat(100_000));
    assert!(parse(&long).unwrap_err().message.contains("levels of nesting"));
    let loops = format!("nest a {{ {}", "for i0 in 0..1 { ".repeat(100_000));
    assert!(parse(&loops).unwrap_err().message.contains("levels of nesting"));
}

#[test]
fn definitions_print() {
    let read = |k, index: Vec<Expr>| Expr::read(Source::Operand(k), index);
    let inside = (Expr::Axis(1) - Expr::int(1)).within(8);
    let padded =
        Expr::select(inside, read(0, vec![Expr::Axis(0), Expr::Axis(1) - Expr::int(1)]), Expr::f32(0.0));
    let pad = Stage::map(DType::F32, [4, 10], padded);
    let sum = Expr::read(Source::Stage(0), [Expr::Axis(2), Expr::Axis(1)])
        * read(1, vec![Expr::Axis(2), Expr::Axis(0)]);
    let contract = Stage::reduce(DType::F32, [5, 10], Fold::Sum, [4], sum)
        .finished(DType::F32, &Expr::Folded.max(Expr::f32(0.0)));
    insta::assert_snapshot!(Definition::of(vec![pad, contract]), @r"
    definition {
      stage0: f32[4,10] = select((a1 - 1 >= 0) & (a1 - 1 < 8), operand0[a0, a1 - 1], 0.0)
      stage1: f32[5,10] = sum over [4] of stage0[a2, a1] * operand1[a2, a0] then max(folded, 0.0)
      result stage1
    }
    ");
}

fn scalar() -> impl Strategy<Value = Scalar> {
    let special = prop_oneof![Just(0), Just(u64::MAX), Just(0x7fc0_0000), Just(0x8000_0000), any::<u64>()];
    (proptest::sample::select(DType::ALL.as_slice()), special).prop_map(|(dtype, bits)| match dtype {
        DType::Bool => Scalar::bool(bits % 2 == 1),
        dtype => Scalar::from_le_bytes(dtype, &bits.to_le_bytes()),
    })
}

const BUFFERS: u32 = 4;

fn leaf() -> impl Strategy<Value = Expr> {
    prop_oneof![
        4 => scalar().prop_map(Expr::Const),
        1 => (0..9usize).prop_map(Expr::Axis),
        1 => Just(Expr::Folded),
        2 => any::<u32>().prop_map(|k| Expr::Loop(LoopVar(k))),
        2 => any::<u32>().prop_map(|k| Expr::Reg(Reg(k))),
    ]
}

fn source() -> impl Strategy<Value = Source> {
    (0..3, 0..100usize).prop_map(|(kind, k)| match kind {
        0 => Source::Operand(k),
        1 => Source::Stage(k),
        _ => Source::Table(k),
    })
}

fn unary() -> impl Strategy<Value = Unary> {
    proptest::sample::select(vec![
        Unary::Neg,
        Unary::Not,
        Unary::Exp,
        Unary::IsNan,
        Unary::IsInf,
        Unary::Round,
    ])
}

fn binary() -> impl Strategy<Value = Binary> {
    use Binary::*;
    proptest::sample::select(vec![
        Add, Sub, Mul, Div, Mod, Rem, Pow, Min, Max, And, Or, Xor, ShiftLeft, ShiftRight,
    ])
}

fn compare() -> impl Strategy<Value = Compare> {
    use Compare::*;
    proptest::sample::select(vec![Eq, Ne, Lt, Le, Gt, Ge])
}

fn expr() -> impl Strategy<Value = Expr> {
    let dtype = || proptest::sample::select(DType::ALL.as_slice());
    let fold = proptest::sample::select(vec![Fold::Sum, Fold::Product, Fold::Min, Fold::Max]);
    leaf().prop_recursive(5, 40, 3, move |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        let many = || proptest::collection::vec(inner.clone(), 0..3);
        prop_oneof![
            4 => (binary(), inner.clone(), inner.clone()).prop_map(|(op, a, b)| Expr::binary(op, a, b)),
            2 => (compare(), inner.clone(), inner.clone()).prop_map(|(op, a, b)| Expr::compare(op, a, b)),
            1 => (unary(), inner.clone()).prop_map(|(op, a)| Expr::unary(op, a)),
            1 => (source(), many()).prop_map(|(source, index)| Expr::Read { source, index }),
            2 => (0..BUFFERS, boxed(), 1..99usize, 1..99usize).prop_map(|(buffer, index, lanes, valid)| {
                Expr::Load { buffer: BufferId(buffer), index, lanes, valid }
            }),
            1 => (0..BUFFERS, boxed(), any::<usize>(), 1..99usize, 1..99usize).prop_map(
                |(buffer, index, stride, rows, lanes)| {
                    Expr::Rows { buffer: BufferId(buffer), index, stride, rows, lanes }
                }
            ),
            1 => many().prop_map(Expr::Concat),
            1 => (boxed(), any::<usize>()).prop_map(|(value, lanes)| Expr::Broadcast { value, lanes }),
            1 => (fold.clone(), boxed()).prop_map(|(fold, value)| Expr::Horizontal { fold, value }),
            1 => (boxed(), any::<usize>()).prop_map(|(value, lane)| Expr::Lane { value, lane }),
            1 => (boxed(), boxed(), proptest::collection::vec(prop_oneof![0..4usize, any::<usize>()], 1..6))
                .prop_map(|(a, b, lanes)| Expr::Shuffle { a, b, lanes }),
            1 => (boxed(), boxed(), boxed()).prop_map(|(a, b, c)| Expr::MulAdd(a, b, c)),
            1 => (inner.clone(), inner.clone(), inner.clone()).prop_map(|(c, a, b)| Expr::select(c, a, b)),
            1 => (dtype(), boxed()).prop_map(|(dtype, a)| Expr::Cast(dtype, a)),
            1 => (dtype(), boxed()).prop_map(|(dtype, a)| Expr::Bits(dtype, a)),
            1 => ("[a-z.]{1,5}", many()).prop_map(|(name, args)| Expr::Instruction { name, args }),
        ]
    })
}

fn stmt() -> impl Strategy<Value = Stmt> {
    let ty = (proptest::sample::select(DType::ALL.as_slice()), 1..99usize);
    let ty = ty.prop_map(|(dtype, lanes)| Type { dtype, lanes });
    let simple = prop_oneof![
        (any::<u32>(), ty, expr()).prop_map(|(reg, ty, value)| Stmt::Let { reg: Reg(reg), ty, value }),
        (any::<u32>(), expr()).prop_map(|(reg, value)| Stmt::Set { reg: Reg(reg), value }),
        (0..BUFFERS, expr(), expr(), 1..99usize).prop_map(|(buffer, index, value, valid)| {
            Stmt::Store { buffer: BufferId(buffer), index, value, valid }
        }),
    ];
    simple.prop_recursive(3, 12, 3, |inner| {
        let block = || proptest::collection::vec(inner.clone(), 0..3);
        prop_oneof![
            (any::<u32>(), expr(), expr(), 1..i64::MAX, any::<bool>(), block()).prop_map(
                |(var, from, to, step, parallel, body)| {
                    Stmt::For { var: LoopVar(var), from, to, step, parallel, body }
                }
            ),
            (expr(), block(), block()).prop_map(|(condition, then, otherwise)| Stmt::If {
                condition,
                then,
                otherwise
            }),
        ]
    })
}

fn nest() -> impl Strategy<Value = Nest> {
    let name = || {
        let words =
            ["for", "read", "true", "inf_x", "operand0", "r0", "i1", "of", "a0", "min", "fma", "folded"];
        prop_oneof![
            "[a-z_][a-z0-9_]{0,4}",
            "\\PC{1,5}",
            ".{0,3}",
            proptest::sample::select(words.to_vec()).prop_map(String::from)
        ]
    };
    let names = proptest::collection::hash_set(name(), BUFFERS as usize);
    let access = proptest::sample::select(vec![Access::Read, Access::Write, Access::Scratch]);
    let properties = (proptest::sample::select(DType::ALL.as_slice()), any::<usize>(), access);
    let properties = proptest::collection::vec(properties, BUFFERS as usize);
    (name(), names, properties, proptest::collection::vec(stmt(), 0..4)).prop_map(
        |(name, names, properties, body)| {
            let buffers = names.into_iter().zip(properties);
            let buffers =
                buffers.map(|(name, (dtype, len, access))| Buffer { name, dtype, len, access }).collect();
            Nest { name, buffers, body }
        },
    )
}

proptest! {
    #[test]
    fn whatever_prints_parses(nest in nest()) {
        let text = nest.to_string();
        prop_assert_eq!(parse(&text), Ok(nest), "{}", text);
    }

    #[test]
    fn no_text_makes_it_panic(text in ".*") {
        let _ = parse(&text);
    }

    /// Texts that are nearly right get further into the parser.
    #[test]
    fn no_damage_makes_it_panic(at in 0..EXAMPLE.len(), drop in 0..9usize, new in "\\PC{0,3}") {
        let end = (at + drop).min(EXAMPLE.len());
        let _ = parse(&format!("{}{new}{}", &EXAMPLE[..at], &EXAMPLE[end..]));
    }
}
