//! Matrix registers (AMX): what is generated for them runs here, on machines without them under an emulator that takes
//! the traps of their instructions; and where the process is refused their use, vectors do the same.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::path::{Path, PathBuf};
use std::process::Command;

use ir::{Scalar, Tensor, TensorType};
use onnxc::{Model, Options, Watch};
use ops::AnyOp;
use ops::ops::conv::Conv;
use ops::ops::matmul::Matmul;
use ops::ops::neg::Neg;
use ops::shape::{Layout, Window};
use rewrite::{Precision, Strategy};
use targets::Target;

/// The emulator as a library to be loaded before all others.
fn emulator() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (source, library) =
        (concat!(env!("CARGO_MANIFEST_DIR"), "/amx_emulator.c"), folder.join("libamx_emulator.so"));
    let mut cc = Command::new("cc");
    let built = cc.args(["-O2", "-shared", "-fPIC", source, "-o"]).arg(&library).status().unwrap();
    assert!(built.success(), "cc does not build {source}");
    library
}

/// The numbers of the emulator's report, summed over the processes that wrote one: products, loads, requests.
fn reported(file: &Path) -> [usize; 3] {
    let text = std::fs::read_to_string(file).unwrap();
    let number = |line: &str, of: &str| -> usize {
        let (_, after) = line.split_once(of).unwrap();
        after.split_whitespace().next().unwrap().parse().unwrap()
    };
    ["products=", "loads=", "requests="].map(|of| text.lines().map(|line| number(line, of)).sum())
}

#[test]
fn results_are_exact_with_the_permission_and_without() {
    let has_amx = std::fs::read_to_string("/proc/cpuinfo").unwrap().contains("amx_bf16");
    if has_amx || !std::arch::is_x86_feature_detected!("avx2") {
        // The test beside this one runs on the registers themselves, or nothing here runs at all.
        return;
    }
    let library = emulator();
    for refuse in ["", "yes"] {
        let report = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("amx_report_{refuse}"));
        let _ = std::fs::remove_file(&report);
        let ran = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "products_are_exact", "--nocapture"])
            .env("LD_PRELOAD", &library)
            .env("AMX_EMULATOR_REPORT", &report)
            .env("AMX_EMULATOR_REFUSE", refuse)
            .output()
            .unwrap();
        let said = [ran.stdout, ran.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(ran.status.success() && said.contains("1 passed"), "{said}");
        let [products, loads, requests] = reported(&report);
        match refuse {
            "" => assert!(products > 1000 && loads > 1000 && requests > 0, "{products} {loads} {requests}"),
            _ => assert!(products == 0 && loads == 0 && requests > 0, "{products} {loads} {requests}"),
        }
    }
}

/// Convolutions and products whose rows, columns and depths fill matrix registers, or do not. Where no permission is to
/// be had, this holds vectors to the reference.
#[test]
fn products_are_exact() {
    if !std::arch::is_x86_feature_detected!("avx2") {
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("amx_on_avx2.toml");
    let target = Target::from_toml_file(&path).unwrap();
    let f32s = |shape: &[usize]| TensorType::new(ir::DType::F32, shape);
    let mut on_matrices = 0;
    let mut check = |op: AnyOp, types: &[TensorType]| on_matrices += usize::from(exact(&op, types, &target));
    for (rows, depth, columns) in [(128, 64, 96), (49, 32, 40), (37, 160, 33), (16, 24, 16), (5, 320, 7)] {
        check(Matmul.into(), &[f32s(&[rows, depth]), f32s(&[depth, columns])]);
    }
    let layout = Layout::ChannelsLast;
    for (extent, kernel, stride, pad) in [(14, 3, 1, 1), (28, 3, 2, 1), (7, 1, 1, 0), (30, 5, 1, 2)] {
        for (channels, out) in [(32, 48), (24, 40), (16, 20)] {
            let window =
                Window { strides: vec![stride; 2], dilations: vec![1; 2], pads: vec![(pad, pad); 2] };
            let types = [
                f32s(&layout.join(1, channels, &[extent, extent])),
                f32s(&[out, channels, kernel, kernel]),
                f32s(&[out]),
            ];
            check(Conv { window, group: 1, layout }.into(), &types);
        }
    }
    assert!(on_matrices >= 14, "{on_matrices} kernels use matrix registers");
}

/// Small integers: bfloat16 holds them, and sums are exact in every order.
fn small(ty: &TensorType, seed: u32) -> Tensor {
    let mut state = seed;
    let element = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Scalar::from_f64(ty.dtype, f64::from(state >> 24) % 9.0 - 4.0).to_le_bytes()
    };
    Tensor::new(ty.clone(), (0..ty.elements()).flat_map(element).collect::<Vec<u8>>())
}

/// Holds `op`, its first operand computed and all others constants, in bfloat16, to the reference; whether it uses matrix
/// registers.
fn exact(op: &AnyOp, types: &[TensorType], target: &Target) -> bool {
    let mut graph = ops::Graph::new("products");
    let input = graph.input("x", types[0].clone());
    let mut operands = graph.apply("before", Neg.into(), &[input]).unwrap();
    for (k, ty) in types.iter().enumerate().skip(1) {
        operands.push(graph.constant(format!("w{k}"), small(ty, k as u32)));
    }
    let result = graph.apply("op", op.clone(), &operands).unwrap()[0];
    let after = graph.apply("after", Neg.into(), &[result]).unwrap()[0];
    graph.output("y", after);
    let rewriting = rewrite::Options {
        precision: Precision::Bf16,
        strategy: Strategy::Off,
        ..rewrite::Options::default()
    };
    let options = Options { rewriting, ..Options::default() };
    let model = Model { sha256: String::new() };
    let artifact =
        onnxc::compile_graph(graph.clone(), model, "m", target, &options, &mut Watch::default()).unwrap();
    let inputs = [small(&types[0], 99)];
    let given = onnxc::in_process(&artifact.object, &artifact.metadata, &inputs).unwrap().outputs;
    let wanted = ops::evaluate(&graph, &inputs);
    assert_eq!(given[0].to_f64s(), wanted[0].to_f64s(), "{op:?} of {types:?}");
    let symbols = String::from_utf8_lossy(&artifact.object);
    symbols.contains("_without_matrices")
}
