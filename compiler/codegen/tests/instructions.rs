//! Every instruction of the table, used in a loop, appears in the machine code of a target that has it; on this machine
//! it also computes what its meaning says.

mod support;

use ir::DType;
use loops::{BufferId, Expr, Nest, Type};
use support::*;
use targets::Target;
use targets::instructions::{INSTRUCTIONS, Instruction, Meaning};

/// `y = instruction(buffers...)` for `rounds` rounds over neighbouring data; a dot product accumulates.
fn nest_of(instruction: &Instruction, rounds: usize) -> Nest {
    let Type { dtype, lanes } = instruction.result;
    let accumulates =
        matches!(instruction.meaning, Meaning::Dot { .. } | Meaning::DotAll | Meaning::Block { .. });
    let skipped = usize::from(accumulates);
    let data: Vec<Type> = instruction.arguments[skipped..].to_vec();
    let mut buffers: Vec<_> =
        data.iter().enumerate().map(|(k, ty)| read(&format!("x{k}"), ty.dtype, ty.lanes * rounds)).collect();
    let out = buffers.len() as u32;
    buffers.push(write("y", dtype, if accumulates { lanes } else { lanes * rounds }));
    let mut args: Vec<Expr> = data
        .iter()
        .enumerate()
        .map(|(k, ty)| vload(k as u32, var(0) * Expr::int(ty.lanes as i64), ty.lanes, ty.lanes))
        .collect();
    if accumulates {
        args.insert(0, reg(0));
    }
    let value = Expr::Instruction { name: instruction.name.into(), args };
    let zero = broadcast(Expr::Const(ir::Scalar::from_i64(dtype, 0)), lanes);
    let body = match accumulates {
        true => vec![
            let_(0, dtype, lanes, zero),
            for_(0, rounds as i64, 1, vec![set(0, value)]),
            store(out, Expr::int(0), reg(0), lanes),
        ],
        false => {
            vec![for_(0, rounds as i64, 1, vec![store(out, var(0) * Expr::int(lanes as i64), value, lanes)])]
        }
    };
    nest("n", buffers, body)
}

fn machine_with(name: &str) -> Target {
    let all = Target::list().unwrap();
    all.into_iter()
        .find(|t| t.instructions.iter().any(|i| i == name))
        .unwrap_or_else(|| panic!("nobody has {name}"))
}

/// `y = sum of x0 · x1` in matrix registers, for `rounds` rounds over neighbouring matrices.
fn matrix_nest(instruction: &Instruction, rounds: usize) -> Nest {
    let [sum, a, b] = [0, 1, 2].map(|k| instruction.arguments[k]);
    let Meaning::Matrix { columns, group } = instruction.meaning else { panic!("{instruction:?}") };
    let rows = sum.lanes / columns;
    let matrix = |k: u32, ty: Type, lanes: usize| Expr::Rows {
        buffer: BufferId(k),
        index: Box::new(var(0) * Expr::int(ty.lanes as i64)),
        stride: lanes,
        rows: ty.lanes / lanes,
        lanes,
    };
    let product = Expr::Instruction { name: instruction.name.into(), args: vec![reg(0), reg(1), reg(2)] };
    let buffers = vec![
        read("x0", a.dtype, a.lanes * rounds),
        read("x1", b.dtype, b.lanes * rounds),
        write("y", sum.dtype, sum.lanes),
    ];
    let body = vec![
        let_(0, sum.dtype, sum.lanes, broadcast(Expr::constant(sum.dtype, 0.0), sum.lanes)),
        for_(
            0,
            rounds as i64,
            1,
            vec![
                let_(1, a.dtype, a.lanes, matrix(0, a, a.lanes / rows)),
                let_(2, b.dtype, b.lanes, matrix(1, b, columns * group)),
                set(0, product),
            ],
        ),
        store(2, Expr::int(0), reg(0), sum.lanes),
    ];
    nest("n", buffers, body)
}

#[test]
fn each_instruction_reaches_the_machine_code() {
    for instruction in INSTRUCTIONS {
        let target = machine_with(instruction.name);
        let nest = match instruction.meaning {
            Meaning::Matrix { .. } => matrix_nest(instruction, 8),
            _ => nest_of(instruction, 8),
        };
        let assembly = codegen::assembly(&module(&nest, &target)).unwrap();
        let mnemonic = match instruction.name {
            "sxtb16_ror8" => "ror #8",
            "vpdpbusd256" => "vpdpbusd",
            // The assembler's name of `vmladava` without exchange.
            "vmladava" => "vmlava",
            name => name,
        };
        assert!(assembly.contains(mnemonic), "{} on {}:\n{assembly}", instruction.name, target.name);
        codegen::emit(&module(&nest, &target)).unwrap();
    }
}

#[test]
fn a_target_without_it_says_so() {
    let nest = nest_of(targets::instructions::find("sdot").unwrap(), 1);
    let error = codegen::emit(&module(&nest, &host())).unwrap_err().to_string();
    assert!(error.contains("no instruction `sdot`"), "{error}");
}

#[test]
fn vdpbf16ps_is_a_dot_product_of_pairs() {
    if !std::arch::is_x86_feature_detected!("avx512bf16") {
        return;
    }
    let instruction = targets::instructions::find("vdpbf16ps").unwrap();
    let (rounds, lanes) = (9, instruction.result.lanes);
    let mut target = host();
    (target.features, target.instructions) = ("+avx512bf16,+avx512vl".into(), vec!["vdpbf16ps".into()]);
    // Integers below 256 are bfloat16's own, their products and sums exact.
    let small = |i: usize, by: usize| ((i * by) % 31) as f32 - 15.0;
    let narrow = |by: usize| -> Vec<u16> {
        (0..rounds * lanes * 2).map(|i| (small(i, by).to_bits() >> 16) as u16).collect()
    };
    let y: Vec<f32> = run(&nest_of(instruction, rounds), &target, &[bytes(&narrow(7)), bytes(&narrow(11))]);
    for (lane, y) in y.into_iter().enumerate() {
        let products = (0..rounds).flat_map(|r| (0..2).map(move |k| (r * lanes + lane) * 2 + k));
        assert_eq!(y, products.map(|i| small(i, 7) * small(i, 11)).sum::<f32>());
    }
}

#[test]
fn vpdpbusd_is_a_dot_product_of_unsigned_and_signed_bytes() {
    if !std::arch::is_x86_feature_detected!("avx512vnni") {
        return;
    }
    for name in ["vpdpbusd", "vpdpbusd256"] {
        let instruction = targets::instructions::find(name).unwrap();
        let (rounds, lanes) = (9, instruction.result.lanes);
        let mut target = host();
        (target.features, target.instructions) = ("+avx512vnni,+avx512vl".into(), vec![name.into()]);
        let a: Vec<u8> = (0..rounds * lanes * 4).map(|i| (i * 37) as u8).collect();
        let b: Vec<i8> = (0..rounds * lanes * 4).map(|i| (i * 91) as u8 as i8).collect();
        let y: Vec<i32> = run(&nest_of(instruction, rounds), &target, &[bytes(&a), bytes(&b)]);
        for (lane, y) in y.into_iter().enumerate() {
            let products = (0..rounds).flat_map(|r| (0..4).map(move |k| (r * lanes + lane) * 4 + k));
            assert_eq!(y, products.map(|i| i32::from(a[i]) * i32::from(b[i])).sum::<i32>());
        }
        assert_eq!(instruction.result.dtype, DType::I32);
    }
}
