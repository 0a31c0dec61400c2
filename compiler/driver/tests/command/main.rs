//! The command as its users meet it: exit codes, words, files.

mod bench;
mod model;
mod threads;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use model::{Dim, Model, dense};
use tempfile::TempDir;

/// A folder of one test, in which the command runs.
struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn with(name: &str, model: &Model) -> Folder {
        let folder = Folder::new();
        folder.write(name, &model.bytes());
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn onnxc(&self, arguments: &str) -> Ran {
        let command = env!("CARGO_BIN_EXE_onnxc");
        Ran::of(Command::new(command).args(arguments.split(' ')).current_dir(self.0.path()))
    }

    /// Runs a program that must succeed; gives what it printed.
    fn program(&self, line: &str) -> String {
        let mut words = line.split(' ');
        let ran = Ran::of(Command::new(words.next().unwrap()).args(words).current_dir(self.0.path()));
        assert_eq!(ran.code, 0, "{line}\n{}", ran.stderr);
        ran.stdout
    }
}

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn of(command: &mut Command) -> Ran {
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code: status.code().unwrap(), stdout: text(stdout), stderr: text(stderr) }
    }

    #[track_caller]
    fn ok(self) -> Ran {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// Files of a directory with their bytes, by name.
fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn check_tells_what_a_model_is() {
    let folder = Folder::with("dense.onnx", &dense(Dim::Known(1)));
    insta::assert_snapshot!(folder.onnxc("check dense.onnx --target cortex-m4f").ok().stdout, @r"
    dense.onnx: ai.onnx v17, IR version 8, by hand

              name  type   shape
      input   x     float  [1, 3]
      output  y     float  [1, 2]

      parameters  8
      MACs        6

         operator  domain   nodes
      ✓  Add       ai.onnx      1
      ✓  MatMul    ai.onnx      1
      ✓  Relu      ai.onnx      1

    it compiles for cortex-m4f
    ");
}

#[test]
fn check_asks_for_pins_and_takes_them() {
    let folder = Folder::with("dense.onnx", &dense(Dim::Named("batch")));
    let open = folder.onnxc("check dense.onnx --target cortex-m4f");
    assert_eq!(open.code, 4);
    insta::assert_snapshot!(open.stdout, @r"
    dense.onnx: ai.onnx v17, IR version 8, by hand

              name  type   shape
      input   x     float  [batch, 3]
      output  y     float  [batch, 2]

      parameters  8
      MACs        unknown

         operator  domain   nodes
      ✓  Add       ai.onnx      1
      ✓  MatMul    ai.onnx      1
      ✓  Relu      ai.onnx      1

    error[E0105]: the input's shape [batch, 3] is not static
      at: x
      hint: add --dim batch=1
    it does not compile for cortex-m4f
    ");
    let pinned = folder.onnxc("check dense.onnx --dim batch=2 --format json").ok().json();
    assert_eq!(pinned["inputs"][0]["pinned"], serde_json::json!([2, 3]));
    assert_eq!(pinned["macs"], 2 * 3 * 2);
    assert_eq!(pinned["compiles"], true);
    for spelling in ["x:5x3", "x[5,3]"] {
        let shaped = folder.onnxc(&format!("check dense.onnx --shape {spelling} --format json")).ok().json();
        assert_eq!(shaped["outputs"][0]["pinned"], serde_json::json!([5, 2]), "{spelling}");
    }
}

#[test]
fn everything_unsupported_is_said_at_once() {
    let model = Model::new()
        .input("x", &[Dim::Known(4)])
        .node("Frobnicate", "first", &["x"], "a")
        .node("Frobnicate", "second", &["a"], "b")
        .node("Sequester", "third", &["b"], "y")
        .output("y", &[Dim::Known(4)]);
    let folder = Folder::with("odd.onnx", &model);
    let compile = folder.onnxc("compile odd.onnx --target host -o out");
    assert_eq!(compile.code, 4);
    insta::assert_snapshot!(compile.stderr, @r"
    error[E0201]: 3 nodes of this model are not supported
      Frobnicate   ai.onnx v17   2 nodes   first, second
                                 the operator is not supported
      Sequester    ai.onnx v17   1 node    third
                                 the operator is not supported
    ");
    assert!(!folder.path("out").exists());
    let json = folder.onnxc("compile odd.onnx --target host -o out --format json");
    assert_eq!((json.code, json.stderr.as_str()), (4, ""));
    assert_eq!(json.json()["diagnostics"][0]["findings"][0]["nodes"], serde_json::json!(["first", "second"]));
}

#[test]
fn exit_codes_tell_whose_fault_it_is() {
    let folder = Folder::with("dense.onnx", &dense(Dim::Known(1)));
    folder.write("broken.onnx", &dense(Dim::Known(1)).bytes()[..40]);
    folder.write("words.onnx", b"no model at all");
    let dangling = Model::new()
        .input("x", &[Dim::Known(4)])
        .node("Relu", "r", &["nowhere"], "y")
        .output("y", &[Dim::Known(4)]);
    folder.write("dangling.onnx", &dangling.bytes());
    folder.write("mine.toml", b"name = 1");
    let cases = [
        ("check dense.onnx", 0),
        ("targets", 0),
        ("ops", 0),
        ("--version", 0),
        ("", 2),
        ("frobnicate", 2),
        ("compile dense.onnx", 2),
        ("compile dense.onnx --target cortex-m99 -o out", 2),
        ("compile dense.onnx --target mine.toml -o out", 2),
        ("compile dense.onnx --target host --target-triple x86_64-linux-gnu -o out", 2),
        ("compile dense.onnx --target-triple mips-linux-gnu -o out", 2),
        ("compile dense.onnx --target host -o out --name 9lives", 2),
        ("compile dense.onnx --target host -o dense.onnx", 2),
        ("check dense.onnx --dim batch=2", 2),
        ("check dense.onnx --shape x", 2),
        ("check nothing.onnx", 2),
        ("run dense.onnx", 2),
        ("run dense.onnx --inputs x=nothing.npy", 2),
        ("verify dense.onnx --target cortex-m4f --on host", 2),
        ("check broken.onnx", 3),
        ("check words.onnx", 3),
        ("check dangling.onnx", 3),
        ("compile dense.onnx --target host -o out --max-flash 16", 5),
    ];
    for (arguments, code) in cases {
        let ran = folder.onnxc(arguments);
        assert_eq!(ran.code, code, "onnxc {arguments}\n{}{}", ran.stdout, ran.stderr);
    }
    assert!(!folder.path("out").exists(), "a failed compilation leaves nothing");
}

#[test]
fn compile_writes_four_files_and_says_so() {
    let folder = Folder::with("dense-net.onnx", &dense(Dim::Known(1)));
    let ran = folder.onnxc("compile dense-net.onnx --target cortex-m4f -o build/net").ok();
    assert_eq!(
        names(&folder.path("build/net")),
        ["dense_net.h", "dense_net.json", "example.c", "libdense_net.a"]
    );
    assert_eq!(names(&folder.path("build")), ["net"], "nothing temporary is left");
    // Time, code size and modelled cycles are nobody's promise.
    let stable = |line: &&str| {
        !["MACs", "code", "libdense_net.a", "dense_net.json"].iter().any(|word| line.contains(word))
    };
    insta::assert_snapshot!(ran.stdout.lines().filter(stable).collect::<Vec<_>>().join("\n"), @r"

      arena      0  bytes of RAM, lent by the caller
      weights   32  bytes of read-only memory

      build/net/dense_net.h  1 395 bytes
      build/net/example.c  797 bytes

    next:  onnxc verify dense-net.onnx --target cortex-m4f
    ");
}

#[test]
fn the_description_counts_what_is_there() {
    let folder = Folder::with("dense.onnx", &dense(Dim::Named("rows")));
    folder.onnxc("compile dense.onnx --target cortex-m4f -o out --dim rows=1 --name net").ok();
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.path("out/net.json")).unwrap()).unwrap();
    assert_eq!(json["schema_version"], 1);
    assert_eq!(json["target"]["triple"], "thumbv7em-none-eabihf");
    assert_eq!(json["flags"]["dims"]["rows"], 1);
    assert_eq!(json["undefined_symbols"], serde_json::json!([]));
    assert_eq!(json["macs"], 6);
    let sum = folder.program("sha256sum dense.onnx");
    assert_eq!(json["model"]["sha256"], sum.split(' ').next().unwrap());
    // `size -A`: name, size, address.
    let sections = folder.program("arm-none-eabi-size -A out/libnet.a");
    let bytes = |wanted: &dyn Fn(&str) -> bool| -> u64 {
        let sizes = sections.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            let (name, size) = (words.next()?, words.next()?);
            wanted(name).then(|| size.parse::<u64>().ok())?
        });
        sizes.sum()
    };
    let is_weights = |name: &str| name.starts_with(".rodata") && name.contains("weights");
    assert_eq!(json["memory"]["weights_bytes"], bytes(&is_weights));
    let is_code = |name: &str| {
        [".text", ".rodata", ".ARM.exidx"].iter().any(|start| name.starts_with(start)) && !is_weights(name)
    };
    assert_eq!(json["memory"]["code_bytes"], bytes(&is_code));
    let nodes =
        json["kernels"].as_array().unwrap().iter().flat_map(|kernel| kernel["nodes"].as_array().unwrap());
    let mut nodes: Vec<&str> = nodes.map(|node| node.as_str().unwrap()).collect();
    nodes.sort();
    assert_eq!(nodes, ["activation", "bias", "product"]);
}

#[test]
fn two_compilations_give_the_same_bytes() {
    let folder = Folder::with("dense.onnx", &dense(Dim::Known(4)));
    for target in ["host", "cortex-m4f", "rv32imc"] {
        folder.onnxc(&format!("compile dense.onnx --target {target} -o first")).ok();
        folder.onnxc(&format!("compile dense.onnx --target {target} -o deep/er/second")).ok();
        let (first, second) = (contents(&folder.path("first")), contents(&folder.path("deep/er/second")));
        assert!(first == second, "{target}");
        let here = folder.0.path().to_str().unwrap().as_bytes();
        let told = first.iter().find(|(_, bytes)| bytes.windows(here.len()).any(|window| window == here));
        assert!(told.is_none(), "{:?} tells where it was made", told.map(|(name, _)| name));
    }
}

#[test]
fn an_output_is_replaced_by_a_complete_one_only() {
    let folder = Folder::with("dense.onnx", &dense(Dim::Known(1)));
    folder.onnxc("compile dense.onnx --target host -o out --name old").ok();
    let before = contents(&folder.path("out"));
    assert_eq!(folder.onnxc("compile dense.onnx --target host -o out --max-flash 1").code, 5);
    assert!(contents(&folder.path("out")) == before, "a failure leaves the old output");
    folder.write("out/notes.txt", b"mine");
    folder.onnxc("compile dense.onnx --target host -o out --name renewed").ok();
    assert_eq!(
        names(&folder.path("out")),
        ["example.c", "librenewed.a", "notes.txt", "renewed.h", "renewed.json"]
    );
    assert_eq!(fs::read(folder.path("out/notes.txt")).unwrap(), b"mine");
}

#[test]
fn what_onnxc_did_not_write_is_left_alone() {
    let folder = Folder::with("dense.onnx", &dense(Dim::Known(1)));
    fs::create_dir(folder.path("mine")).unwrap();
    folder.write("mine/thesis.txt", b"years");
    folder.write("mine/other.json", b"{\"name\": \"other\"}");
    let refused = folder.onnxc("compile dense.onnx --target host -o mine");
    assert_eq!(refused.code, 2);
    insta::assert_snapshot!(refused.stderr, @r"
    error[E0004]: `mine` holds files that onnxc did not write; it is left as it is
      hint: give -o a directory that does not exist yet, or one that an earlier `onnxc compile` wrote
    ");
    assert_eq!(names(&folder.path("mine")), ["other.json", "thesis.txt"]);
    for place in [".", "..", "/"] {
        assert_eq!(folder.onnxc(&format!("compile dense.onnx --target host -o {place}")).code, 2, "{place}");
    }
    fs::create_dir(folder.path("empty")).unwrap();
    folder.onnxc("compile dense.onnx --target host -o empty").ok();
}

/// Inputs and outputs with names that are anything but identifiers.
fn hard_names() -> Model {
    Model::new()
        .input("class", &[Dim::Known(2)])
        .input("a/b:0", &[Dim::Known(2)])
        .input("A.B.0", &[Dim::Known(2)])
        .input("1st */ \"x\" \\", &[Dim::Known(2)])
        .node("Sum", "sum", &["class", "a/b:0", "A.B.0", "1st */ \"x\" \\"], "int")
        .output("int", &[Dim::Known(2)])
}

#[test]
fn the_header_is_c99_and_cpp() {
    let folder = Folder::with("new.onnx", &hard_names());
    folder.onnxc("compile new.onnx --target host -o out").ok();
    let name = "new_model";
    let header = fs::read_to_string(folder.path("out/new_model.h")).unwrap();
    let stable = |line: &&str| !["SHA256", "read-only"].iter().any(|word| line.contains(word));
    insta::assert_snapshot!(header.lines().filter(stable).collect::<Vec<_>>().join("\n"), @r#"
    /*
     * libnew_model.a: a neural network compiled ahead of time by onnxc 0.1.0
     * for host (x86_64-unknown-linux-gnu).
     *
     * It calls nothing outside of itself, keeps no state, never allocates.
     */
    #ifndef NEW_MODEL_H
    #define NEW_MODEL_H

    #include <stdint.h>

    #ifdef __cplusplus
    extern "C" {
    #endif

    #define NEW_MODEL_ABI_VERSION 1
    #define NEW_MODEL_ARENA_BYTES 0u
    #define NEW_MODEL_ARENA_ALIGN 64u
    #define NEW_MODEL_INPUT_CLASS_TENSOR_ELEMENTS 2u
    #define NEW_MODEL_INPUT_A_B_0_ELEMENTS 2u
    #define NEW_MODEL_INPUT_A_B_0_2_ELEMENTS 2u
    #define NEW_MODEL_INPUT_TENSOR_1ST_X_ELEMENTS 2u
    #define NEW_MODEL_OUTPUT_INT_TENSOR_ELEMENTS 2u

    /* Tensors are dense and row-major: the last axis is contiguous. Each pointer is aligned to its element. */
    typedef struct new_model_inputs {
        const float *class_tensor; /* "class": f32[2] */
        const float *a_b_0; /* "a/b:0": f32[2] */
        const float *A_B_0_2; /* "A.B.0": f32[2] */
        const float *tensor_1st_x; /* "1st *? "x" ?": f32[2] */
    } new_model_inputs;

    typedef struct new_model_outputs {
        float *int_tensor; /* "int": f32[2] */
    } new_model_outputs;

    /*
     * Computes the outputs from the inputs; returns 0.
     *
     * `arena` is scratch memory of NEW_MODEL_ARENA_BYTES bytes, aligned to NEW_MODEL_ARENA_ALIGN; its contents do not
     * matter before and mean nothing after. Inputs, outputs and arena must not overlap. Calls with different arenas
     * and outputs may run at the same time.
     */
    int32_t new_model_run(const new_model_inputs *in, const new_model_outputs *out, void *arena);

    #ifdef __cplusplus
    }
    #endif

    #endif
    "#);
    folder.write(
        "twice.c",
        format!("#include \"{name}.h\"\n#include \"{name}.h\"\nint main(void) {{ return 0; }}\n").as_bytes(),
    );
    fs::copy(folder.path("twice.c"), folder.path("twice.cpp")).unwrap();
    folder.program("cc -std=c99 -Wall -Wextra -pedantic -Werror -Iout -c twice.c -o c.o");
    folder.program("c++ -std=c++17 -Wall -Wextra -pedantic -Werror -Iout -c twice.cpp -o cpp.o");
}

#[test]
fn the_example_builds_and_two_models_link_together() {
    let folder = Folder::with("dense.onnx", &dense(Dim::Known(1)));
    folder.onnxc("compile dense.onnx --target host -o one").ok();
    folder.onnxc("compile dense.onnx --target host -o two --name other").ok();
    let flags = "-std=c99 -Wall -Wextra -pedantic -Werror -O2";
    folder.program(&format!("cc {flags} one/example.c one/libdense.a -o example"));
    // relu(0 · w + b)
    assert_eq!(folder.program("./example"), "y[0] = 0.25\ny[1] = 0\n");
    folder.program(&format!("cc {flags} -ffreestanding -c one/example.c -o bare.o"));
    assert_eq!(folder.program("nm -u bare.o").split_whitespace().collect::<Vec<_>>(), ["U", "dense_run"]);
    let both = "#include \"dense.h\"\n#include \"other.h\"\n\
        static uint8_t arena[(DENSE_ARENA_BYTES > OTHER_ARENA_BYTES ? DENSE_ARENA_BYTES : OTHER_ARENA_BYTES) + 64];\n\
        int main(void) {\n    float x[3] = {1, 1, 1}, y[2], z[2];\n    dense_inputs a = {x};\n    dense_outputs b = {y};\n\
        other_inputs c = {x};\n    other_outputs d = {z};\n    void *m = arena + (64 - (uintptr_t)arena % 64) % 64;\n\
        return dense_run(&a, &b, m) || other_run(&c, &d, m) || y[0] != z[0] || y[1] != 3.0f || z[1] != 3.0f;\n}\n";
    folder.write("both.c", both.as_bytes());
    folder.program(&format!("cc {flags} -Ione -Itwo both.c one/libdense.a two/libother.a -o both"));
    folder.program("./both");
    assert_eq!(folder.program("nm -u one/libdense.a").replace("dense.o:", "").trim(), "");
}

#[test]
fn run_takes_models_and_libraries_and_every_kind_of_file() {
    let folder = Folder::with("dense.onnx", &dense(Dim::Known(1)));
    // x = [1, 2, 3] as NumPy would write it.
    let mut npy =
        b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }".to_vec();
    npy.resize(127, b' ');
    npy.push(b'\n');
    npy.extend([1.0f32, 2.0, 3.0].iter().flat_map(|value| value.to_le_bytes()));
    folder.write("in.npy", &npy);
    fs::create_dir(folder.path("inputs")).unwrap();
    folder.write("inputs/x.npy", &npy);
    // [1, 2, 3] · w + b = [1 + 4 - 9 + 0.25, -1 + 1 + 12 - 0.5]
    let expected = "  output  type      values\n  y       f32[1,2]  0.0 11.5\n";
    assert_eq!(folder.onnxc("run dense.onnx --inputs x=in.npy").ok().stdout, expected);
    folder.onnxc("compile dense.onnx --target host -o out").ok();
    assert_eq!(folder.onnxc("run out --inputs inputs").ok().stdout, expected);
    // What is written can be read, and is what verify expects.
    fs::create_dir(folder.path("set")).unwrap();
    folder.onnxc("run dense.onnx --inputs x=in.npy --outputs set --outputs-as pb").ok();
    fs::copy(folder.path("in.npy"), folder.path("set/input_0.npy")).unwrap();
    let verified = folder.onnxc("verify dense.onnx --data set").ok();
    assert!(verified.stdout.ends_with("PASS\n"), "{}", verified.stdout);
    folder.onnxc("run dense.onnx --inputs inputs --outputs out.npz").ok();
    folder.onnxc("run dense.onnx --inputs inputs --outputs results").ok();
    assert_eq!(names(&folder.path("results")), ["y.npy"]);
    let missing = folder.onnxc("run dense.onnx --inputs out.npz");
    assert_eq!(missing.code, 2);
    insta::assert_snapshot!(missing.stderr, @r"
    error[E0006]: no data for input `x` (f32[1,3]); given: `y`
      hint: `x`, `in_x` and `input_0` would be found
    ");
}

#[test]
fn verify_passes_what_is_right_and_fails_what_is_not() {
    let folder = Folder::with("dense.onnx", &dense(Dim::Known(8)));
    let pass = folder.onnxc("verify dense.onnx --seed 3 --format json").ok().json();
    assert_eq!(pass["pass"], true);
    assert_eq!(pass["cases"][0]["outputs"][0]["output"], "y");
    // Expected outputs of another model: weights of other signs.
    fs::create_dir(folder.path("set")).unwrap();
    let ones: Vec<u8> = [1.0f32; 24].iter().flat_map(|value| value.to_le_bytes()).collect();
    let npy = |shape: &str, data: &[u8]| {
        let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        bytes.extend(format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}").bytes());
        bytes.resize(127, b' ');
        bytes.push(b'\n');
        bytes.extend(data);
        bytes
    };
    folder.write("set/in_x.npy", &npy("(8, 3)", &ones));
    folder.write("set/out_0.npy", &npy("(8, 2)", &ones[..64]));
    let fail = folder.onnxc("verify dense.onnx --data set");
    assert_eq!(fail.code, 6);
    insta::assert_snapshot!(fail.stdout, @r"
    dense for host, run in this process, against the given outputs

    set
      output  type      max abs error  of range   max ULP       cosine
      y       f32[8,2]        2.000e0   2.000e0  16777216  0.763386285  differs, most at element 1

    tolerance: 1e-4 of an output's range, or 5e-7
    FAIL
    ");
}

#[test]
fn dumps_show_every_stage() {
    let folder = Folder::with("dense.onnx", &dense(Dim::Known(1)));
    let compile = "compile dense.onnx --target host -o out --format json";
    let ran = folder.onnxc(&format!("{compile} --dump import --dump rewrite --dump loops --dump mlir")).ok();
    let dumps = ran.json()["dumps"].as_array().unwrap().clone();
    let text = |stage: usize| dumps[stage]["text"].as_str().unwrap();
    assert_eq!(dumps.len(), 5);
    assert!(text(0).contains("relu"), "{}", text(0));
    assert!(text(1).contains("before: 3 operators") && text(1).contains("relu"), "{}", text(1));
    assert!(text(2).contains("after: 1 operators") && text(2).contains("fused"), "{}", text(2));
    assert!(text(3).contains("nest"), "{}", text(3));
    assert!(text(4).contains("func.func"), "{}", text(4));
}

/// `y = relu(p)` and `z = softmax(p)`, of one product; and a node that rewriting computes before the model runs.
fn shared_product() -> Model {
    Model::new()
        .input("x", &[Dim::Known(1), Dim::Known(3)])
        .weights("w", &[3, 2], &[1.0, -1.0, 2.0, 0.5, -3.0, 4.0])
        .node("Neg", "negated", &["w"], "n")
        .node("MatMul", "product", &["x", "n"], "p")
        .node("Relu", "activation", &["p"], "y")
        .node("Softmax", "scores", &["p"], "z")
        .output("y", &[Dim::Known(1), Dim::Known(2)])
        .output("z", &[Dim::Known(1), Dim::Known(2)])
}

#[test]
fn explain_tells_what_became_of_a_node() {
    let folder = Folder::with("shared.onnx", &shared_product());
    let alone = folder.onnxc("explain shared.onnx --target cortex-m4f activation").ok().stdout;
    for part in [
        "activation (Relu) in shared.onnx for cortex-m4f",
        "kernel    shared_k1_relu",
        "although it could be done at the end of product",
        "whose result is needed by scores as well",
        "rules: fuse-epilogue x1",
    ] {
        assert!(alone.contains(part), "{part}\n{alone}");
    }
    let gone = folder.onnxc("explain shared.onnx --target cortex-m4f negated").ok().stdout;
    assert!(
        gone.contains("depends on constants alone") || gone.contains("while the model was read"),
        "{gone}"
    );
    let unknown = folder.onnxc("explain shared.onnx activatoin");
    assert_eq!(unknown.code, 2);
    assert!(unknown.stderr.contains("there is activation"), "{}", unknown.stderr);
}

#[test]
fn explain_lists_kernels_and_draws_them() {
    let folder = Folder::with("shared.onnx", &shared_product());
    for (file, start) in [("graph.svg", "<svg "), ("graph.html", "<!DOCTYPE html>")] {
        let explain = format!("explain shared.onnx --target cortex-m4f --picture {file} --format json");
        let explained = folder.onnxc(&explain).ok().json();
        let nodes: Vec<&str> = explained["kernels"]
            .as_array()
            .unwrap()
            .iter()
            .map(|kernel| kernel["nodes"][0].as_str().unwrap())
            .collect();
        assert_eq!(nodes, ["product", "activation", "scores"]);
        assert_eq!(explained["picture"], file);
        let drawn = fs::read_to_string(folder.path(file)).unwrap();
        assert!(drawn.starts_with(start) && nodes.iter().all(|name| drawn.contains(name)), "{drawn}");
    }
    assert_eq!(folder.onnxc("explain shared.onnx --picture graph.png").code, 2);
}
