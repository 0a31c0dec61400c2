//! One definition of an integer contraction on every instruction that fits, against the definition.

use ir::{DType, Tensor, TensorType};
use loops::{Access, Definition, Expr, Fold, Source, Stage, evaluate, interpret};
use schedule::{Argument, Arranged, tensorize};
use targets::Target;
use targets::instructions::{Table, find};

/// `y[m, n] = Σ i32(x[m, k]) · i32(w[n, k])`.
fn matrix_product(m: usize, n: usize, k: usize) -> (Definition, [TensorType; 2]) {
    let axis = Expr::Axis;
    let x = Expr::read(Source::Operand(0), [axis(0), axis(2)]).cast(DType::I32);
    let w = Expr::read(Source::Operand(1), [axis(1), axis(2)]).cast(DType::I32);
    let stage = Stage::reduce(DType::I32, [m, n], Fold::Sum, [k], x * w);
    (Definition::single(stage), [TensorType::new(DType::I8, [m, k]), TensorType::new(DType::I8, [n, k])])
}

/// A 3×3 convolution with stride 2 over an 11×9 image of `channels`, weights as `[channels, kernel, outputs]`.
fn convolution(channels: usize, outputs: usize) -> (Definition, [TensorType; 2]) {
    let axis = Expr::Axis;
    let along = |out, kernel| axis(out) * Expr::int(2) + axis(kernel);
    let x = Expr::read(Source::Operand(0), [along(0, 3), along(1, 4), axis(5)]).cast(DType::I32);
    let w = Expr::read(Source::Operand(1), [axis(5), axis(3), axis(4), axis(2)]).cast(DType::I32);
    let stage = Stage::reduce(DType::I32, [5, 4, outputs], Fold::Sum, [3, 3, channels], x * w);
    let types = [
        TensorType::new(DType::I8, [11, 9, channels]),
        TensorType::new(DType::I8, [channels, 3, 3, outputs]),
    ];
    (Definition::single(stage), types)
}

/// Bytes of all values; the extremes among them.
fn bytes(ty: &TensorType, seed: u32) -> Tensor {
    let mut state = seed;
    let values: Vec<i8> = (0..ty.elements())
        .map(|k| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if k % 7 == 0 { i8::MIN } else { (state >> 24) as i8 }
        })
        .collect();
    Tensor::from_slice(ty.shape.clone(), &values)
}

fn target(name: &str) -> Target {
    Target::preset(name).unwrap()
}

/// The buffers of a kernel on these operands; what it writes is filled with a value that it must overwrite.
fn buffers(kernel: &Arranged, operands: &[Tensor; 2]) -> Vec<Tensor> {
    let filled = |dtype: DType, len: usize| {
        Tensor::new(TensorType::new(dtype, [len]), vec![0x55; len * dtype.bytes()])
    };
    kernel
        .nest
        .buffers
        .iter()
        .enumerate()
        .map(|(k, buffer)| match &kernel.arguments[k] {
            Argument::Source(Source::Operand(k)) => operands[*k].clone(),
            Argument::Packed { source: Source::Operand(k), packing } => {
                let flat = operands[*k].reshaped([operands[*k].ty.elements()]);
                evaluate(packing, &[&flat]).remove(0)
            }
            Argument::Result => filled(buffer.dtype, buffer.len),
            Argument::Scratch(_) if buffer.access == Access::Scratch => filled(buffer.dtype, buffer.len),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn check((definition, types): (Definition, [TensorType; 2]), instruction: &str, on: &str) {
    let operands = [bytes(&types[0], 1), bytes(&types[1], 2)];
    let expected = evaluate(&definition, &[&operands[0], &operands[1]]).remove(0);
    let kernel =
        tensorize("k", &definition, [&types[0], &types[1]], find(instruction).unwrap(), &target(on)).unwrap();
    let mut buffers = buffers(&kernel, &operands);
    interpret(&kernel.nest, &mut buffers, &Table).unwrap_or_else(|error| panic!("{error}\n{}", kernel.nest));
    assert_eq!(buffers[2].to_i64s(), expected.to_i64s(), "{}", kernel.nest);
    // What is printed is what was run.
    assert_eq!(loops::parse(&kernel.nest.to_string()), Ok(kernel.nest));
}

const INSTRUCTIONS: [(&str, &str); 5] = [
    ("vpdpbusd", "sapphirerapids"),
    ("vpdpbusd256", "sapphirerapids"),
    ("sdot", "neoverse-n1"),
    ("smlad", "cortex-m4f"),
    ("vmladava", "cortex-m55"),
];

#[test]
fn even_extents() {
    for (instruction, on) in INSTRUCTIONS {
        check(matrix_product(8, 64, 32), instruction, on);
    }
}

#[test]
fn ragged_extents() {
    for (instruction, on) in INSTRUCTIONS {
        check(matrix_product(7, 37, 19), instruction, on);
        check(matrix_product(1, 1, 1), instruction, on);
    }
}

#[test]
fn convolutions() {
    for (instruction, on) in INSTRUCTIONS {
        check(convolution(6, 10), instruction, on);
    }
}

#[test]
fn what_does_not_fit_is_said() {
    let (definition, types) = matrix_product(2, 2, 2);
    let on = |definition: &Definition, types: [&TensorType; 2], instruction, machine| {
        tensorize("k", definition, types, find(instruction).unwrap(), &target(machine))
            .unwrap_err()
            .to_string()
    };
    let [x, w] = &types;
    assert_eq!(on(&definition, [x, w], "sxtb16", "cortex-m4f"), "sxtb16 is no dot product");
    assert_eq!(
        on(&definition, [x, w], "smlad", "neoverse-n1"),
        "target neoverse-n1 does not widen what smlad takes"
    );
    let unsigned = TensorType::new(DType::U8, [2, 2]);
    assert_eq!(on(&definition, [&unsigned, w], "sdot", "neoverse-n1"), "sdot takes i8, not u8");
    let map = Definition::single(Stage::map(DType::I32, [2], Expr::constant(DType::I32, 1.0)));
    assert_eq!(
        on(&map, [x, w], "sdot", "neoverse-n1"),
        "the definition is no integer contraction: it is not a plain sum in i32"
    );
}
