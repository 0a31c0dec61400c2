//! What later work builds on, each from one definition and run on its machine: an integer contraction on every dot
//! product instruction, a depthwise convolution inside its pointwise consumer, a loop that threads share.

use codegen::{ALIGN, Call, Module, Place};
use ir::{DType, Tensor, TensorType};
use loops::{Definition, Expr, Fold, Source, Stage, evaluate};
use machines::{Library, Run};
use schedule::{Argument, Arranged, Destination, Operand, Records, View, line_buffer, tensorize};
use targets::Target;
use targets::instructions::find;

/// `y[m, n] = Σ i32(x[m, k]) · i32(w[n, k])`.
fn matrix_product(m: usize, n: usize, k: usize) -> (Definition, [TensorType; 2]) {
    let axis = Expr::Axis;
    let x = Expr::read(Source::Operand(0), [axis(0), axis(2)]).cast(DType::I32);
    let w = Expr::read(Source::Operand(1), [axis(1), axis(2)]).cast(DType::I32);
    let stage = Stage::reduce(DType::I32, [m, n], Fold::Sum, [k], x * w);
    (Definition::single(stage), [TensorType::new(DType::I8, [m, k]), TensorType::new(DType::I8, [n, k])])
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

/// A library of one kernel whose first operand is the input and whose other operands are weights.
struct Built<'t> {
    module: Module<'t>,
    arena: usize,
}

fn build<'t>(kernel: Arranged, operands: &[Tensor], target: &'t Target) -> Built<'t> {
    let (mut weights, mut arena) = (Vec::new(), 0);
    let mut weight = |tensor: &Tensor| {
        let offset = usize::next_multiple_of(weights.len(), ALIGN);
        weights.resize(offset, 0);
        weights.extend_from_slice(&tensor.data);
        Place::Weights { offset }
    };
    let arguments =
        kernel.arguments.iter().zip(&kernel.nest.buffers).map(|(argument, buffer)| match argument {
            Argument::Source(Source::Operand(0)) => Place::Input { index: 0, offset: 0 },
            Argument::Source(Source::Operand(k)) => weight(&operands[*k]),
            Argument::Packed { source: Source::Operand(k), packing } => {
                weight(&evaluate(packing, &[&operands[*k].reshaped([operands[*k].ty.elements()])]).remove(0))
            }
            Argument::Result => Place::Output { index: 0, offset: 0 },
            Argument::Scratch(_) => {
                let offset = usize::next_multiple_of(arena, ALIGN);
                arena = offset + buffer.len * buffer.dtype.bytes();
                Place::Arena { offset }
            }
            other => panic!("{other:?}"),
        });
    let calls = vec![Call { kernel: 0, arguments: arguments.collect() }];
    let kernels = vec![kernel.nest];
    let module = Module {
        name: "proof".into(),
        target,
        kernels,
        without_matrices: Default::default(),
        calls,
        inputs: 1,
        outputs: 1,
        weights,
    };
    Built { module, arena }
}

/// Runs the library on its machine.
fn run(built: &Built, input: &Tensor, output: TensorType) -> Run {
    let object = codegen::emit(&built.module).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("libproof.a");
    std::fs::write(&archive, codegen::archive("proof", &object).unwrap()).unwrap();
    let (inputs, outputs) = ([("x".to_string(), input.ty.clone())], [("y".to_string(), output)]);
    let library = Library {
        archive: &archive,
        name: "proof",
        inputs: &inputs,
        outputs: &outputs,
        arena_bytes: built.arena,
        arena_align: ALIGN,
    };
    machines::run(built.module.target, &library, std::slice::from_ref(input)).unwrap()
}

/// The contraction on `instruction`, run; its result is held to the definition. Gives the instructions it took.
fn contract(extents: [usize; 3], instruction: &str, target: &Target) -> Option<u64> {
    let (definition, types) = matrix_product(extents[0], extents[1], extents[2]);
    let operands = [bytes(&types[0], 1), bytes(&types[1], 2)];
    let instruction = find(instruction).unwrap();
    let kernel = tensorize("contract", &definition, [&types[0], &types[1]], instruction, target).unwrap();
    let expected = evaluate(&definition, &[&operands[0], &operands[1]]).remove(0);
    let ran = run(&build(kernel, &operands, target), &operands[0], expected.ty.clone());
    assert_eq!(ran.outputs[0], expected, "{} on {}", instruction.name, target.name);
    ran.instructions
}

/// The assembly of the contraction's library.
fn assembly(extents: [usize; 3], instruction: &str, target: &Target) -> String {
    let (definition, types) = matrix_product(extents[0], extents[1], extents[2]);
    let operands = [bytes(&types[0], 1), bytes(&types[1], 2)];
    let instruction = find(instruction).unwrap();
    let kernel = tensorize("contract", &definition, [&types[0], &types[1]], instruction, target).unwrap();
    codegen::assembly(&build(kernel, &operands, target).module).unwrap()
}

/// Instructions per multiply-accumulate of what a longer reduction adds.
fn per_product(instruction: &str, target: &Target) -> f64 {
    let (m, n, short, long) = (8, 32, 64, 192);
    let count = |k| contract([m, n, k], instruction, target).unwrap() as f64;
    (count(long) - count(short)) / (m * n * (long - short)) as f64
}

const RAGGED: [usize; 3] = [7, 37, 19];

#[test]
fn vpdpbusd_on_this_machine() {
    let target = Target::host().unwrap();
    for instruction in ["vpdpbusd", "vpdpbusd256"] {
        if target.instructions.iter().any(|name| name == instruction) {
            contract([64, 64, 512], instruction, &target);
            contract(RAGGED, instruction, &target);
        } else {
            println!("this machine has no {instruction}");
        }
    }
}

/// Seconds of the fastest of many runs in this process.
fn fastest(module: &Module, input: &Tensor, output_bytes: usize) -> f64 {
    let library = native::Library::load(&codegen::emit(module).unwrap().bytes).unwrap();
    let mut output = vec![0u8; output_bytes];
    let mut once = || {
        let begin = std::time::Instant::now();
        // SAFETY: compiled for this machine; input and output are as large as the kernel's buffers.
        let code = unsafe {
            library.run("proof", &[input.data.as_ptr()], &[output.as_mut_ptr()], std::ptr::null_mut())
        };
        assert_eq!(code, Ok(0));
        begin.elapsed().as_secs_f64()
    };
    (0..2000).map(|_| once()).fold(f64::INFINITY, f64::min)
}

/// Sixteen independent sums on values that stay in registers: the machine's peak, in multiply-accumulates per second.
fn peak(target: &Target) -> f64 {
    let sums = 0..16;
    let starts: String = sums.clone().map(|k| format!("let r{k}: i32x16 = broadcast<16>(0_i32)\n")).collect();
    let steps: String =
        sums.clone().map(|k| format!("r{k} = @vpdpbusd(r{k}, bits<u8>(r16), r16)\n")).collect();
    let stores: String = sums.map(|k| format!("y[{}; 16] = r{k}\n", k * 16)).collect();
    let text = format!(
        "nest peak {{ read x: i8[64] write y: i32[256] let r16: i8x64 = x[0; 64]
         {starts} for i0 in 0..1000 {{ {steps} }} {stores} }}"
    );
    let arguments = vec![Argument::Source(Source::Operand(0)), Argument::Result];
    let kernel = Arranged { nest: loops::parse(&text).unwrap(), arguments };
    let input = bytes(&TensorType::new(DType::I8, [64]), 1);
    let seconds = fastest(&build(kernel, &[], target).module, &input, 256 * 4);
    1000.0 * 16.0 * 64.0 / seconds
}

/// A measurement: it needs a quiet machine.
#[test]
#[ignore = "times"]
fn vpdpbusd_reaches_most_of_the_peak() {
    let target = Target::host().unwrap();
    if !target.instructions.iter().any(|name| name == "vpdpbusd") {
        return println!("this machine has no vpdpbusd");
    }
    let [m, n, k] = [64, 64, 512];
    let (definition, types) = matrix_product(m, n, k);
    let operands = [bytes(&types[0], 1), bytes(&types[1], 2)];
    let instruction = find("vpdpbusd").unwrap();
    let kernel = tensorize("contract", &definition, [&types[0], &types[1]], instruction, &target).unwrap();
    let seconds = fastest(&build(kernel, &operands, &target).module, &operands[0], m * n * 4);
    let (rate, peak) = ((m * n * k) as f64 / seconds, peak(&target));
    println!("vpdpbusd: {:.0} of {:.0} GMAC/s, {:.0} %", rate / 1e9, peak / 1e9, 100.0 * rate / peak);
    assert!(rate >= 0.6 * peak);
}

#[test]
fn sdot_on_aarch64() {
    let target = Target::preset("neoverse-n1").unwrap();
    contract(RAGGED, "sdot", &target);
    let cost = per_product("sdot", &target);
    println!("sdot: {:.2} multiply-accumulates per instruction", 1.0 / cost);
    assert!(1.0 / cost >= 8.0);
    assert!(assembly(RAGGED, "sdot", &target).contains("sdot"));
}

#[test]
fn smlad_on_cortex_m4() {
    let target = Target::preset("cortex-m4f").unwrap();
    contract(RAGGED, "smlad", &target);
    let cost = per_product("smlad", &target);
    println!("smlad: {:.2} multiply-accumulates per instruction", 1.0 / cost);
    assert!(1.0 / cost >= 0.75);
}

#[test]
fn tail_predicated_loop_on_cortex_m55() {
    let target = Target::preset("cortex-m55").unwrap();
    contract(RAGGED, "vmladava", &target);
    let cost = per_product("vmladava", &target);
    println!("vmladava: {:.2} multiply-accumulates per instruction", 1.0 / cost);
    let assembly = assembly(RAGGED, "vmladava", &target);
    for word in ["dlstp.8", "letp", "vmlava.s8"] {
        assert!(assembly.contains(word), "no {word} in\n{assembly}");
    }
}

/// A 3×3 depthwise convolution with a rectifier and the 1×1 convolution that reads it, over a 12×10 image.
fn separable(channels: usize, outputs: usize) -> (Definition, Vec<TensorType>) {
    let (height, width) = (12, 10);
    let axis = Expr::Axis;
    let (y, x) = (axis(0) + axis(3) - Expr::int(1), axis(1) + axis(4) - Expr::int(1));
    let inside = y.clone().within(height).and(x.clone().within(width));
    let weight = Expr::read(Source::Operand(1), [axis(3), axis(4), axis(2)]);
    let product = Expr::read(Source::Operand(0), [y, x, axis(2)]) * weight;
    let padded = Expr::select(inside, product, Expr::f32(0.0));
    let depthwise = Stage::reduce(DType::F32, [height, width, channels], Fold::Sum, [3, 3], padded)
        .finished(DType::F32, &Expr::Folded.max(Expr::f32(0.0)));
    let weight = Expr::read(Source::Operand(2), [axis(3), axis(2)]);
    let product = Expr::read(Source::Stage(0), [axis(0), axis(1), axis(3)]) * weight;
    let pointwise = Stage::reduce(DType::F32, [height, width, outputs], Fold::Sum, [channels], product);
    let shapes = [vec![height, width, channels], vec![3, 3, channels], vec![channels, outputs]];
    let types = shapes.into_iter().map(|shape| TensorType::new(DType::F32, shape)).collect();
    (Definition::of(vec![depthwise, pointwise]), types)
}

#[test]
fn a_depthwise_convolution_inside_its_pointwise_consumer() {
    let (definition, types) = separable(16, 24);
    // Small integers: sums are exact in every order.
    let values = |ty: &TensorType| {
        let values: Vec<f32> = (0..ty.elements()).map(|k| (k * 37 % 9) as f32 - 4.0).collect();
        Tensor::from_slice(ty.shape.clone(), &values)
    };
    let operands: Vec<Tensor> = types.iter().map(values).collect();
    let expected = evaluate(&definition, &operands.iter().collect::<Vec<_>>()).remove(0);
    let described: Vec<Operand> = types
        .iter()
        .enumerate()
        .map(|(k, ty)| Operand {
            source: Source::Operand(k),
            dtype: ty.dtype,
            view: View::contiguous(&ty.shape),
            len: ty.elements(),
            constant: k > 0,
        })
        .collect();
    for target in [Target::host(), Target::preset("neoverse-n1"), Target::preset("cortex-m4f")] {
        let target = target.unwrap();
        let destination =
            Destination { view: View::contiguous(&expected.ty.shape), len: expected.ty.elements() };
        let kernel =
            line_buffer("separable", &definition, 0, &described, &destination, &target, &Records::NONE)
                .unwrap();
        let arranged = Arranged { nest: kernel.nest, arguments: kernel.arguments };
        let built = build(arranged, &operands, &target);
        assert!(built.arena <= 10 * 16 * 4, "one row of the intermediate image, no more");
        let ran = run(&built, &operands[0], expected.ty.clone());
        assert_eq!(ran.outputs[0], expected, "on {}", target.name);
    }
}
