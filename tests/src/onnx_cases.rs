//! ONNX's own backend tests: an independent statement of what each operator means.
//!
//! The cases come with the `onnx` Python package; `ONNX_NODE_TESTS` names its folder `backend/test/data/node` where
//! Python does not find it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use ir::Tensor;
use onnx::{Imported, Options, Problem};

/// The folders of cases beside `node`, and `node` itself.
const SUITES: [&str; 4] = ["node", "pytorch-converted", "pytorch-operator", "simple"];

/// A model, and inputs and outputs for it.
#[derive(Debug, Clone)]
pub struct Case {
    pub name: String,
    folder: PathBuf,
}

/// A case's model as it was imported.
pub struct Prepared {
    pub imported: Imported,
    /// In the order of the graph's inputs.
    pub inputs: Vec<Tensor>,
}

/// All cases, by name; `None` where the package is not to be found.
pub fn cases() -> Option<Vec<Case>> {
    let node = match std::env::var_os("ONNX_NODE_TESTS") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let script = "import onnx, os; print(os.path.dirname(onnx.__file__))";
            let output = Command::new("python3").args(["-c", script]).output().ok()?;
            Path::new(String::from_utf8(output.stdout).ok()?.trim()).join("backend/test/data/node")
        }
    };
    let suites = SUITES.iter().filter_map(|suite| fs::read_dir(node.parent()?.join(suite)).ok());
    let folders = suites.flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let mut cases: Vec<Case> = folders
        .filter(|folder| folder.join("model.onnx").is_file())
        .map(|folder| Case {
            name: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            folder,
        })
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    (!cases.is_empty()).then_some(cases)
}

impl Case {
    pub fn model(&self) -> Result<Vec<u8>, String> {
        fs::read(self.folder.join("model.onnx")).map_err(|err| format!("{}: {err}", self.folder.display()))
    }

    fn data(&self) -> PathBuf {
        self.folder.join("test_data_set_0")
    }

    /// Imports the model with its inputs left open; where operators ask for more to be known, with all but the first
    /// input given, or with all of them. The outer error is one of the case, the inner the importer's answer.
    pub fn import(&self) -> Result<Result<Prepared, Vec<Problem>>, String> {
        let model = self.model()?;
        let given = tensors(&self.data(), "input_");
        let import = |known: &[(String, Tensor)]| {
            let initializers: Vec<u8> =
                known.iter().flat_map(|(name, tensor)| initializer(name, tensor)).collect();
            onnx::import_bytes(&[&model[..], &initializers].concat(), Some(&self.data()), &Options::default())
        };
        let mut imported = import(&[]);
        for known in [given.get(1..).unwrap_or_default(), &given] {
            if asks_for_values(&imported) {
                imported = import(known);
            }
        }
        let imported = match imported {
            Ok(imported) => imported,
            Err(problems) => return Ok(Err(problems)),
        };
        let inputs = imported.graph.inputs().iter().map(|&id| {
            let name = &imported.graph.node(id).name;
            self.tensor(name).ok_or_else(|| format!("no data for input `{name}`"))
        });
        let inputs = inputs.collect::<Result<_, _>>()?;
        Ok(Ok(Prepared { imported, inputs }))
    }

    fn tensor(&self, name: &str) -> Option<Tensor> {
        let all = tensors(&self.data(), "input_").into_iter().chain(tensors(&self.data(), "output_"));
        all.into_iter().find(|(given, _)| given == name).map(|(_, tensor)| tensor)
    }

    /// Holds the outputs of `graph` to the case's.
    pub fn check(&self, graph: &ops::Graph, outputs: &[Tensor]) -> Result<(), String> {
        graph.outputs().iter().zip(outputs).try_for_each(|((name, _), given)| {
            let wanted = self.tensor(name).ok_or_else(|| format!("no data for output `{name}`"))?;
            compare(given, &wanted).map_err(|difference| format!("output `{name}`: {difference}"))
        })
    }
}

fn asks_for_values(imported: &Result<Imported, Vec<Problem>>) -> bool {
    let mut texts = imported.as_ref().err().into_iter().flatten().map(|problem| &problem.message);
    texts.any(|text| text.contains("not known at compile time") || text.contains("not static"))
}

/// The first problem in a line.
pub fn reason(problems: &[Problem]) -> String {
    let Some(first) = problems.first() else { return "no reason".to_owned() };
    match &first.operator {
        Some(operator) => format!("{} {}: {}", first.code, operator.op_type, first.message),
        None => format!("{} {}", first.code, first.message),
    }
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

/// Whether committed lists are to be rewritten.
pub fn updating() -> bool {
    std::env::var_os("UPDATE").is_some()
}

/// A committed list of the cases that are not supported, each with its reason; `UPDATE=1` rewrites it.
pub struct Declined {
    path: PathBuf,
    listed: BTreeMap<String, String>,
    found: Mutex<BTreeMap<String, String>>,
}

impl Declined {
    /// The list in `tests/tests/<file>`.
    pub fn read(file: &str) -> Declined {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file);
        let text = fs::read_to_string(&path).unwrap_or_default();
        let entries = text.lines().filter_map(|line| line.split_once(": "));
        let listed = entries.map(|(name, reason)| (name.to_owned(), reason.to_owned())).collect();
        Declined { path, listed, found: Mutex::default() }
    }

    /// That `case` is not supported must be on the list.
    pub fn declines(&self, case: &Case, reason: &str) -> Result<(), String> {
        let known = self.listed.get(&case.name).is_some_and(|listed| listed == reason);
        self.found().insert(case.name.clone(), reason.to_owned());
        match known || updating() {
            true => Ok(()),
            false => Err(format!("{reason}\nis not listed in {}; UPDATE=1 rewrites it", self.path.display())),
        }
    }

    /// That `case` is supported must not be denied by the list.
    pub fn accepts(&self, case: &Case) -> Result<(), String> {
        match self.listed.contains_key(&case.name) && !updating() {
            true => {
                Err(format!("is supported, although {} lists it; UPDATE=1 rewrites it", self.path.display()))
            }
            false => Ok(()),
        }
    }

    /// After all cases were run: rewrites the list, if that is asked for.
    pub fn finish(&self) {
        if updating() {
            let lines: String =
                self.found().iter().map(|(name, reason)| format!("{name}: {reason}\n")).collect();
            fs::write(&self.path, lines).unwrap_or_else(|err| panic!("{}: {err}", self.path.display()));
        }
    }

    fn found(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.found.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
