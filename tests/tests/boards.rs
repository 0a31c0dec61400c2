//! Libraries on their machines: the right answers, and nothing in them that firmware would trip over.
//!
//! The models are those of tests/models, small enough for every run; `ONNXC_TEST_ALL=1` takes every target, and the
//! models of ../shared/models where they are.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use ir::{DType, Tensor, TensorType};
use machines::{Library, Linker, check_link};
use object::read::archive::ArchiveFile;
use object::{Object, ObjectSection, ObjectSymbol};
use onnxc::{Artifact, Options, Watch};
use targets::{Runner, Target};
use tempfile::TempDir;

const MODELS: [&str; 2] = ["cnn", "mlp"];

/// One of each family: float units, vectors, none of both; Linux and bare metal.
const FAMILIES: [&str; 8] = [
    "cortex-m0plus",
    "cortex-m4f",
    "cortex-m55",
    "cortex-a53",
    "cortex-a7",
    "rv32imc",
    "rv32imafc",
    "rv64gcv",
];

fn everything() -> bool {
    std::env::var_os("ONNXC_TEST_ALL").is_some()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The targets whose code an emulator runs here.
fn emulated() -> Vec<Target> {
    let emulated = |target: &Target| match target.runner {
        Some(Runner::QemuUser { .. } | Runner::QemuSystem { .. }) => {
            everything() || FAMILIES.contains(&target.name.as_str())
        }
        Some(Runner::Native) | None => false,
    };
    Target::list().unwrap().into_iter().filter(emulated).collect()
}

fn compile(model: &Path, target: &Target, shapes: &[(String, Vec<usize>)]) -> Artifact {
    let pins = onnx::Options { shapes: shapes.to_vec(), ..onnx::Options::default() };
    let options = Options { pins, ..Options::default() };
    onnxc::compile(model, target, &options, &mut Watch::default())
        .unwrap_or_else(|error| panic!("{} for {}: {error:?}", model.display(), target.name))
}

fn small(model: &str, target: &Target) -> Artifact {
    compile(&root().join(format!("tests/models/{model}.onnx")), target, &[])
}

/// The arrays of an `.npz` file, all of floats.
fn arrays(path: &Path) -> BTreeMap<String, Tensor> {
    let mut archive = npyz::npz::NpzArchive::new(File::open(path).unwrap()).unwrap();
    let names: Vec<String> = archive.array_names().map(str::to_owned).collect();
    let mut read = |name: String| {
        let array = archive.by_name(&name).unwrap().unwrap();
        let shape: Vec<usize> = array.shape().iter().map(|&extent| extent as usize).collect();
        let values: Vec<f32> = array.into_vec().unwrap();
        (name, Tensor::from_slice(shape, &values))
    };
    names.into_iter().map(&mut read).collect()
}

/// What ONNX Runtime was given and what it gave, in the order of the library's inputs and outputs.
fn golden(path: &Path, artifact: &Artifact) -> (Vec<Tensor>, Vec<Tensor>) {
    let arrays = arrays(path);
    let inputs = artifact.metadata.inputs.iter().map(|port| arrays[&format!("in_{}", port.name)].clone());
    let outputs = (0..artifact.metadata.outputs.len()).map(|k| arrays[&format!("out_{k}")].clone());
    (inputs.collect(), outputs.collect())
}

/// The largest difference, in parts of the expected values' range.
fn error(actual: &Tensor, expected: &Tensor) -> f64 {
    let floats = |tensor: &Tensor| -> Vec<f64> {
        assert_eq!(tensor.ty.dtype, DType::F32);
        tensor.data.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect()
    };
    assert_eq!(actual.ty, expected.ty);
    let (actual, expected) = (floats(actual), floats(expected));
    let range =
        expected.iter().copied().fold(f64::MIN, f64::max) - expected.iter().copied().fold(f64::MAX, f64::min);
    let worst = actual.iter().zip(&expected).map(|(a, e)| (a - e).abs());
    // A NaN must not pass for a small difference.
    worst.fold(0.0, |worst, error| if error <= worst { worst } else { error }) / range
}

const TOLERANCE: f64 = 1e-4;
/// Where what is multiplied is rounded to bfloat16.
const NARROW_TOLERANCE: f64 = 3e-2;

/// Runs `artifact` and holds it to ONNX Runtime's answers and to its own description; gives the instructions.
fn agrees(artifact: &Artifact, target: &Target, data: &Path) -> u64 {
    let metadata = &artifact.metadata;
    let named = format!("{} on {}", metadata.name, target.name);
    let (inputs, expected) = golden(data, artifact);
    let ran = onnxc::as_program(&artifact.archive, metadata, target, &inputs)
        .unwrap_or_else(|error| panic!("{named}: {error:?}"));
    let worst = ran.outputs.iter().zip(&expected).map(|(a, e)| error(a, e)).fold(0.0, f64::max);
    // Painted in two colours, one per run, the arena was written up to its last byte, and not behind it.
    assert_eq!(ran.arena_used, Some(metadata.memory.arena_bytes), "{named}");
    let instructions = ran.instructions.unwrap();
    eprintln!(
        "{named:32} error {worst:.1e}, {instructions} instructions, arena {}, code {}, weights {}, stack {}",
        metadata.memory.arena_bytes,
        metadata.memory.code_bytes,
        metadata.memory.weights_bytes,
        ran.stack_used.unwrap(),
    );
    assert!(worst <= TOLERANCE, "{named}: {worst:e}");
    instructions
}

/// Needs the emulators and the targets' compilers.
#[test]
fn small_models_answer_as_onnx_runtime_does() {
    for target in emulated() {
        for model in MODELS {
            agrees(&small(model, &target), &target, &root().join(format!("tests/models/{model}.npz")));
        }
    }
}

/// Trained models, where they are; `most` are the instructions of the best C generator measured on a Cortex-M7
/// (onnx2c or emx-onnx-cgen, compiled by GCC 12 with -O3 -ffast-math).
struct Trained {
    name: &'static str,
    shapes: &'static [(&'static str, &'static [usize])],
    most: Option<u64>,
}

const TRAINED: [Trained; 5] = [
    Trained { name: "tiny_ad_f32", shapes: &[], most: Some(1_962_016) },
    Trained { name: "tiny_kws_f32", shapes: &[], most: Some(15_764_584) },
    Trained { name: "tiny_vww_f32", shapes: &[], most: Some(48_287_662) },
    Trained { name: "tiny_ic_f32", shapes: &[], most: Some(74_467_171) },
    Trained { name: "ppocr_cls", shapes: &[("x", &[1, 3, 48, 192])], most: None },
];

/// Needs the emulators and ../shared/models; without `ONNXC_TEST_ALL`, runs two models on one board.
#[test]
fn trained_models_answer_as_onnx_runtime_does() {
    let folder = root().join("../shared/models");
    let few = |target: &Target| everything() || target.name == "cortex-m7";
    for target in Target::list().unwrap().into_iter().filter(few) {
        if matches!(target.runner, Some(Runner::Native) | None) {
            continue;
        }
        let models = if everything() { &TRAINED[..] } else { &TRAINED[..2] };
        for Trained { name, shapes, most } in models {
            let model = folder.join(format!("real/{name}.onnx"));
            if !model.exists() {
                continue;
            }
            let shapes: Vec<_> =
                shapes.iter().map(|(input, shape)| (input.to_string(), shape.to_vec())).collect();
            let artifact = compile(&model, &target, &shapes);
            let instructions = agrees(&artifact, &target, &folder.join(format!("golden/{name}.npz")));
            if let (Some(most), "cortex-m7") = (most, target.name.as_str()) {
                assert!(
                    instructions < *most,
                    "{name}: {instructions} instructions; {most} are enough for others"
                );
            }
        }
    }
}

/// Needs nothing but GNU `size`.
#[test]
fn libraries_hold_what_their_description_says_and_nothing_else() {
    let abi = fs::read_to_string(root().join("docs/abi.md")).unwrap();
    for target in Target::list().unwrap() {
        for model in MODELS {
            let artifact = small(model, &target);
            let named = format!("{model} for {}", target.name);
            let [flash, data, bss] = size(&artifact);
            let json = artifact.files().into_iter().find(|(name, _)| name.ends_with(".json")).unwrap().1;
            let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
            let bytes = |field: &str| json["memory"][field].as_u64().unwrap();
            assert_eq!((bytes("code_bytes") + bytes("weights_bytes"), data, bss), (flash, 0, 0), "{named}");

            let file = object::File::parse(&*artifact.object).unwrap();
            let weights = file.symbols().find(|s| s.name() == Ok(&format!("{model}_weights"))).unwrap();
            let section = file.section_by_name(&format!(".rodata.{model}_weights")).unwrap();
            assert_eq!(
                (weights.size(), section.size()),
                (bytes("weights_bytes"), bytes("weights_bytes")),
                "{named}"
            );
            let constructors = [".init", ".fini", ".ctors", ".dtors", ".preinit"];
            for section in file.sections() {
                let name = section.name().unwrap();
                assert!(!constructors.iter().any(|kind| name.starts_with(kind)), "{named}: {name}");
            }

            let undefined: Vec<&str> =
                file.symbols().filter(|s| s.is_undefined()).flat_map(|s| s.name()).collect();
            let undefined: Vec<&str> = undefined.into_iter().filter(|name| !name.is_empty()).collect();
            let documented = |name: &&str| target.float.bits == 0 && abi.contains(&format!("`{name}`"));
            assert!(undefined.iter().all(documented), "{named}: {undefined:?}");
            assert_eq!(json["undefined_symbols"].as_array().unwrap().len(), undefined.len(), "{named}");
            let exported: Vec<&str> = file
                .symbols()
                .filter(|s| s.is_global() && !s.is_undefined())
                .flat_map(|s| s.name())
                .collect();
            assert!(
                exported.iter().all(|name| name.starts_with(&format!("{model}_"))),
                "{named}: {exported:?}"
            );
            let archive = ArchiveFile::parse(&*artifact.archive).unwrap();
            assert_eq!(archive.members().count(), 1, "{named}");
        }
    }
}

/// What GNU `size` says of the object: bytes of read-only memory, of initialised and of cleared data.
fn size(artifact: &Artifact) -> [u64; 3] {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("library.o");
    fs::write(&path, &artifact.object).unwrap();
    let printed = succeed(Command::new("size").arg(path));
    let figures: Vec<u64> = printed
        .lines()
        .nth(1)
        .unwrap()
        .split_whitespace()
        .take(3)
        .map(|word| word.parse().unwrap())
        .collect();
    figures.try_into().unwrap()
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The artifact's files in a folder of their own.
fn written(artifacts: &[&Artifact]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for artifact in artifacts {
        for (name, bytes) in artifact.files() {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        fs::write(folder.path().join(format!("{}.o", artifact.metadata.name)), &artifact.object).unwrap();
    }
    folder
}

/// The GCC that links for the target, with its flags.
fn gcc(target: &Target) -> Command {
    let (compiler, flags): (&str, &[String]) = match &target.runner {
        Some(Runner::QemuUser { compiler, flags, .. } | Runner::QemuSystem { compiler, flags, .. }) => {
            (compiler, flags)
        }
        Some(Runner::Native) | None => ("gcc", &[]),
    };
    let mut command = Command::new(compiler);
    command.args(flags);
    command
}

/// Needs the targets' compilers.
#[test]
fn headers_and_examples_are_clean_c99_and_cpp17() {
    let strict = ["-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only"];
    for target in Target::list().unwrap() {
        let folder = written(&[&small("cnn", &target), &small("mlp", &target)]);
        fs::write(
            folder.path().join("both.c"),
            "#include \"cnn.h\"\n#include \"mlp.h\"\n#include \"cnn.h\"\n",
        )
        .unwrap();
        let check = |language: &[&str], file: &str| {
            succeed(gcc(&target).args(language).args(strict).arg(file).current_dir(folder.path()));
        };
        for file in ["both.c", "example.c"] {
            check(&["-std=c99", "-ffreestanding"], file);
        }
        // Debian's cross compilers for Linux come without C++.
        if !matches!(target.runner, Some(Runner::QemuUser { .. })) {
            check(&["-x", "c++", "-std=c++17", "-ffreestanding"], "both.c");
        }
    }
}

/// Needs the targets' compilers and lld.
#[test]
fn every_preset_links_with_both_linkers_without_a_warning() {
    for target in Target::list().unwrap() {
        let artifact = small("mlp", &target);
        let folder = written(&[&artifact]);
        let metadata = &artifact.metadata;
        let (inputs, outputs) = (named(metadata.inputs.iter()), named(metadata.outputs.iter()));
        let library = Library {
            archive: &folder.path().join("libmlp.a"),
            name: "mlp",
            inputs: &inputs,
            outputs: &outputs,
            arena_bytes: metadata.memory.arena_bytes,
            arena_align: metadata.memory.arena_align,
        };
        for linker in [Linker::Gnu, Linker::Lld] {
            check_link(&target, &library, linker)
                .unwrap_or_else(|error| panic!("{} with {linker:?}: {error}", target.name));
        }
    }
}

fn named<'a>(ports: impl Iterator<Item = &'a onnxc::Port>) -> Vec<(String, TensorType)> {
    ports.map(|port| (port.name.clone(), port.ty.clone())).collect()
}

/// Calls both models with one arena, as an application would.
const PAIR: &str = r#"
#include "cnn.h"
#include "mlp.h"
int32_t pair_run(const void *const *in, void *const *out, void *arena) {
    const cnn_inputs cnn_in = {in[0]};
    const cnn_outputs cnn_out = {out[0]};
    const mlp_inputs mlp_in = {in[1]};
    const mlp_outputs mlp_out = {out[1]};
    const int32_t status = cnn_run(&cnn_in, &cnn_out, arena);
    return status ? status : mlp_run(&mlp_in, &mlp_out, arena);
}
"#;

/// Needs the emulators and the targets' compilers.
#[test]
fn two_models_link_into_one_program_and_share_an_arena() {
    for target in emulated() {
        let artifacts = MODELS.map(|model| small(model, &target));
        let folder = written(&artifacts.each_ref());
        fs::write(folder.path().join("pair.c"), PAIR).unwrap();
        let compile = ["-std=c99", "-O1", "-ffreestanding", "-Wall", "-Werror", "-c", "pair.c"];
        succeed(gcc(&target).args(compile).current_dir(folder.path()));
        let members = ["rc", "libpair.a", "pair.o", "cnn.o", "mlp.o"];
        succeed(Command::new("ar").args(members).current_dir(folder.path()));

        let data = MODELS.map(|model| root().join(format!("tests/models/{model}.npz")));
        let golden = [0, 1].map(|k| golden(&data[k], &artifacts[k]));
        let memory = artifacts.each_ref().map(|artifact| artifact.metadata.memory);
        let library = Library {
            archive: &folder.path().join("libpair.a"),
            name: "pair",
            inputs: &named(artifacts.iter().flat_map(|artifact| &artifact.metadata.inputs)),
            outputs: &named(artifacts.iter().flat_map(|artifact| &artifact.metadata.outputs)),
            arena_bytes: memory[0].arena_bytes.max(memory[1].arena_bytes),
            arena_align: memory[0].arena_align.max(memory[1].arena_align),
        };
        let inputs: Vec<Tensor> = golden.iter().flat_map(|(inputs, _)| inputs.clone()).collect();
        let ran = machines::run(&target, &library, &inputs)
            .unwrap_or_else(|error| panic!("{}: {error}", target.name));
        for (actual, expected) in ran.outputs.iter().zip(golden.iter().flat_map(|(_, outputs)| outputs)) {
            assert!(error(actual, expected) <= TOLERANCE, "{}", target.name);
        }
    }
}

#[test]
fn operands_in_bfloat16_take_half_the_memory_and_keep_the_answers() {
    let rewriting = rewrite::Options { precision: rewrite::Precision::Bf16, ..rewrite::Options::default() };
    let options = Options { rewriting, ..Options::default() };
    for (name, model) in
        [("cortex-m7", "cnn"), ("cortex-a53", "cnn"), ("rv64gcv", "cnn"), ("cortex-a53", "mlp")]
    {
        // Without caches memory counts more than time: narrow wherever that can be.
        let target = Target { caches: vec![], ..Target::preset(name).unwrap() };
        let path = root().join(format!("tests/models/{model}.onnx"));
        let artifact = onnxc::compile(&path, &target, &options, &mut Watch::default()).unwrap();
        let (inputs, expected) = golden(&path.with_extension("npz"), &artifact);
        let ran = onnxc::as_program(&artifact.archive, &artifact.metadata, &target, &inputs).unwrap();
        let worst = ran.outputs.iter().zip(&expected).map(|(a, e)| error(a, e)).fold(0.0, f64::max);
        eprintln!("{model} on {name}: error {worst:.1e}");
        assert!(worst <= NARROW_TOLERANCE, "{model} on {name}: {worst:e}");
        let weights = |artifact: &Artifact| artifact.metadata.memory.weights_bytes as f64;
        let ratio = weights(&artifact) / weights(&small(model, &target));
        assert!(ratio < 0.6, "{model} on {name}: {ratio} of the weights");
    }
}
