//! ONNX's own node tests against the reference evaluator: an independent statement of what each operator means.
//!
//! The cases come with the `onnx` Python package, or stand in the folder that `ONNX_NODE_TESTS` names. What does not
//! import is listed, case by case, in `onnx_node_unsupported.txt`; `UPDATE=1` rewrites the list.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex};

use ir::Tensor;
use libtest_mimic::{Arguments, Failed, Trial};
use onnx::{Imported, Options, Problem};

/// Case name → the code of the problem and the operator that has it.
type Unsupported = BTreeMap<String, String>;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let Some(folder) = node_tests() else {
        let missing = "needs the Python package `onnx` or ONNX_NODE_TESTS";
        let trial = Trial::test(missing, || Ok(())).with_ignored_flag(true);
        return libtest_mimic::run(&arguments, vec![trial]).exit_code();
    };
    let listed = Arc::new(read_list());
    let found = Arc::new(Mutex::new(Unsupported::new()));
    let trials: Vec<Trial> = cases(&folder)
        .into_iter()
        .map(|case| {
            let (listed, found) = (Arc::clone(&listed), Arc::clone(&found));
            let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Trial::test(name.clone(), move || check_case(&case, &name, &listed, &found))
        })
        .collect();
    let everything = arguments.filter.is_none() && arguments.skip.is_empty();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if updating() && everything {
        write_list(&found.lock().unwrap());
    }
    conclusion.exit_code()
}

fn updating() -> bool {
    std::env::var_os("UPDATE").is_some()
}

/// The folder with one folder per case.
fn node_tests() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("ONNX_NODE_TESTS") {
        return Some(folder.into());
    }
    let script = "import onnx, os; print(os.path.dirname(onnx.__file__))";
    let output = Command::new("python3").args(["-c", script]).output().ok()?;
    let package = String::from_utf8(output.stdout).ok()?;
    let folder = Path::new(package.trim()).join("backend/test/data/node");
    folder.is_dir().then_some(folder)
}

fn cases(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|err| panic!("{}: {err}", folder.display()));
    let mut cases: Vec<PathBuf> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    cases.sort();
    cases
}

fn check_case(
    case: &Path,
    name: &str,
    listed: &Unsupported,
    found: &Mutex<Unsupported>,
) -> Result<(), Failed> {
    let data = case.join("test_data_set_0");
    let model = fs::read(case.join("model.onnx"))?;
    let imported = match import(&model, &data) {
        Ok(imported) => imported,
        Err(problems) => {
            let reasons: Vec<String> = problems.iter().map(Problem::to_string).collect();
            let known = listed.contains_key(name);
            found.lock().unwrap().insert(name.into(), reason(&problems));
            return if known || updating() { Ok(()) } else { Err(reasons.join("\n").into()) };
        }
    };
    if listed.contains_key(name) && !updating() {
        return Err("imports, although listed as unsupported; UPDATE=1 rewrites the list".into());
    }
    let inputs: Vec<Tensor> = imported
        .graph
        .inputs()
        .iter()
        .map(|&id| {
            let name = &imported.graph.node(id).name;
            named(&data, name).ok_or_else(|| Failed::from(format!("no data for input `{name}`")))
        })
        .collect::<Result<_, _>>()?;
    let outputs = ops::evaluate(&imported.graph, &inputs);
    for ((name, _), given) in imported.graph.outputs().iter().zip(&outputs) {
        let wanted = named(&data, name).ok_or_else(|| format!("no data for output `{name}`"))?;
        compare(given, &wanted).map_err(|difference| format!("output `{name}`: {difference}"))?;
    }
    Ok(())
}

fn reason(problems: &[Problem]) -> String {
    let Some(first) = problems.first() else { return String::new() };
    match &first.operator {
        Some(operator) => format!("{} {}", first.code, operator.op_type),
        None => first.code.to_owned(),
    }
}

/// The model with its inputs left open; where operators ask for more to be known, with all but the first input
/// given, or with all of them.
fn import(model: &[u8], data: &Path) -> Result<Imported, Vec<Problem>> {
    let import = |bytes: &[u8]| onnx::import_bytes(bytes, Some(data), &Options::default());
    let inputs = tensors(data, "input_");
    let known = |skipped: usize| {
        let given: Vec<u8> =
            inputs.iter().skip(skipped).flat_map(|(name, tensor)| initializer(name, tensor)).collect();
        [model, &given].concat()
    };
    let open = import(model);
    let asks = |result: &Result<Imported, Vec<Problem>>| {
        let texts = result.as_ref().err().into_iter().flatten().map(|problem| &problem.message);
        texts
            .into_iter()
            .any(|text| text.contains("not known at compile time") || text.contains("not static"))
    };
    if !asks(&open) {
        return open;
    }
    let rest = import(&known(1));
    if asks(&rest) { import(&known(0)) } else { rest }
}

/// A `ModelProto` with nothing but this initializer. Protobuf messages written one after the other merge.
fn initializer(name: &str, tensor: &Tensor) -> Vec<u8> {
    const MODEL_GRAPH: u8 = 7 << 3 | 2;
    const GRAPH_INITIALIZER: u8 = 5 << 3 | 2;
    field(MODEL_GRAPH, &field(GRAPH_INITIALIZER, &onnx::write_tensor_pb(name, tensor)))
}

/// A length-delimited protobuf field.
fn field(tag: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    let mut length = payload.len();
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(payload);
    bytes
}

/// The tensors `<prefix>0.pb`, `<prefix>1.pb`, ... with their names; those that are no plain tensors are left out.
fn tensors(data: &Path, prefix: &str) -> Vec<(String, Tensor)> {
    let files = (0..).map(|k| data.join(format!("{prefix}{k}.pb")));
    let contents = files.map_while(|file| fs::read(file).ok());
    contents.filter_map(|bytes| onnx::read_tensor_pb(&bytes).ok()).collect()
}

fn named(data: &Path, name: &str) -> Option<Tensor> {
    let all = tensors(data, "input_").into_iter().chain(tensors(data, "output_"));
    all.into_iter().find(|(given, _)| given == name).map(|(_, tensor)| tensor)
}

/// ONNX's own tolerances; integers and bools must be the same.
fn compare(given: &Tensor, wanted: &Tensor) -> Result<(), String> {
    const RELATIVE: f64 = 1e-3;
    const ABSOLUTE: f64 = 1e-7;
    if given.ty != wanted.ty {
        return Err(format!("is {}, should be {}", given.ty, wanted.ty));
    }
    for (element, (a, b)) in given.scalars().zip(wanted.scalars()).enumerate() {
        let (x, y) = (a.as_f64(), b.as_f64());
        let close = x == y || x.is_nan() && y.is_nan() || (x - y).abs() <= ABSOLUTE + RELATIVE * y.abs();
        if a != b && !(given.ty.dtype.is_float() && close) {
            return Err(format!("element {element} is {a}, should be {b}"));
        }
    }
    Ok(())
}

fn list_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx_node_unsupported.txt")
}

fn read_list() -> Unsupported {
    let text = fs::read_to_string(list_path()).unwrap_or_default();
    let entries = text.lines().filter_map(|line| line.split_once(' '));
    entries.map(|(name, reason)| (name.to_owned(), reason.to_owned())).collect()
}

fn write_list(unsupported: &Unsupported) {
    let lines: String = unsupported.iter().map(|(name, reason)| format!("{name} {reason}\n")).collect();
    fs::write(list_path(), lines).unwrap();
}
