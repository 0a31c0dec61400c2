use std::collections::{HashMap, HashSet};
use std::path::Path;

use ir::Tensor;
use ops::Graph;
use prost::Message;
use prost::bytes::Bytes;

use crate::Options;
use crate::body::{Binding, Importer, Place, Scope, short_domain};
use crate::external::External;
use crate::interface::{self, Pins, Port};
use crate::order::read_names;
use crate::problem::{Problem, code};
use crate::proto::{GraphProto, ModelProto, ValueInfoProto};

/// A model as the compiler works on it.
#[derive(Debug, Clone)]
pub struct Imported {
    pub graph: Graph,
    pub ir_version: i64,
    /// The exporter's name and version.
    pub producer: String,
    /// Version by domain; `ai.onnx` is the standard one.
    pub opsets: Vec<(String, i64)>,
    /// In the graph's order; without those that a pin made constant.
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
}

/// The newest IR version that is understood (`onnx` 1.22).
const NEWEST_IR: i64 = 13;
/// The oldest opset that is understood; before it elementwise operators broadcast in another way.
pub const OLDEST_OPSET: i64 = 7;

/// Reads the model in the file `path`. External data is looked up in the file's folder.
///
/// # Errors
/// Everything that is wrong with the model, not only the first of it.
pub fn import(path: &Path, options: &Options) -> Result<Imported, Vec<Problem>> {
    let bytes = std::fs::read(path).map_err(|err| {
        vec![Problem::invalid(code::FILE, format!("{} cannot be read: {err}", path.display()))]
    })?;
    let folder = path.parent().unwrap_or(Path::new("."));
    import_model(&decode(bytes.into()).map_err(|problem| vec![problem])?, External::beside(folder), options)
}

/// Reads a model from `bytes`; external data, if it has any, from the folder `external`.
///
/// # Errors
/// Everything that is wrong with the model, not only the first of it.
pub fn import_bytes(
    bytes: &[u8],
    external: Option<&Path>,
    options: &Options,
) -> Result<Imported, Vec<Problem>> {
    let model = decode(Bytes::copy_from_slice(bytes)).map_err(|problem| vec![problem])?;
    import_model(&model, external.map_or_else(External::nowhere, External::beside), options)
}

pub(crate) fn decode(bytes: Bytes) -> Result<ModelProto, Problem> {
    let bad = |why: String| Problem::invalid(code::PROTOBUF, format!("the file is not an ONNX model: {why}"));
    let model = ModelProto::decode(bytes).map_err(|err| bad(err.to_string()))?;
    if model.graph.is_none() {
        return Err(bad("it has no graph".into()));
    }
    Ok(model)
}

fn import_model(model: &ModelProto, external: External, options: &Options) -> Result<Imported, Vec<Problem>> {
    let (opsets, problems) = versions(model);
    if !problems.is_empty() {
        return Err(problems);
    }
    let Some(graph) = &model.graph else { return Err(vec![]) };
    let mut importer = Importer::new(&graph.name, &model.functions, external);

    let mut scope = Scope::new(None);
    let results: Vec<&str> = graph.output.iter().map(|info| info.name.as_str()).collect();
    let inputs = inputs(&mut importer, graph, options, &mut scope);
    importer.initializers(graph, &read_names(&graph.node, &results), &mut scope);
    importer.body(&graph.node, &results, &mut scope, &Place::top(opsets));
    let outputs = outputs(&mut importer, graph, &scope);

    let Importer { mut graph, problems, .. } = importer;
    graph.drop_dead();
    problems.or(Imported {
        graph,
        ir_version: model.ir_version,
        producer: format!("{} {}", model.producer_name, model.producer_version).trim().into(),
        opsets: named_opsets(model),
        inputs,
        outputs,
    })
}

/// Versions by domain with their full names.
pub(crate) fn named_opsets(model: &ModelProto) -> Vec<(String, i64)> {
    let name = |domain: &str| if domain.is_empty() { "ai.onnx".into() } else { domain.to_owned() };
    model.opset_import.iter().map(|set| (name(&set.domain), set.version)).collect()
}

/// The versions of the domains, and what is wrong with them.
fn versions(model: &ModelProto) -> (HashMap<&str, i64>, Vec<Problem>) {
    let mut problems = Vec::new();
    if model.ir_version > NEWEST_IR {
        let message = format!("IR version {}; up to {NEWEST_IR} are supported", model.ir_version);
        problems.push(Problem::unsupported(code::VERSION, message).hint("export with an older ONNX version"));
    }
    let sets =
        model.opset_import.iter().chain(model.functions.iter().flat_map(|function| &function.opset_import));
    let standard: Vec<i64> =
        sets.filter(|set| short_domain(&set.domain).is_empty()).map(|set| set.version).collect();
    // Files from before IR version 3 say nothing and mean opset 1.
    let unsaid = [1];
    let versions = if standard.is_empty() && model.opset_import.is_empty() { &unsaid[..] } else { &standard };
    let newest = ops::NEWEST_OPSET;
    let strange = versions.iter().find(|version| !(OLDEST_OPSET..=newest).contains(*version));
    if let Some(version) = strange {
        let message = format!("opset {version} of ai.onnx; {OLDEST_OPSET} to {newest} are supported");
        let hint = "export with, or convert to, an opset in this range (onnx.version_converter)";
        problems.push(Problem::unsupported(code::VERSION, message).hint(hint));
    }
    (model.opset_import.iter().map(|set| (short_domain(&set.domain), set.version)).collect(), problems)
}

/// Adds the model's inputs to the graph. An input that has an initializer (old IR versions list them all) is a
/// constant, and so is one that the user sets.
fn inputs<'m>(
    importer: &mut Importer<'m>,
    graph: &'m GraphProto,
    options: &Options,
    scope: &mut Scope<'m, '_>,
) -> Vec<Port> {
    let initialized: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let (pins, problems) = Pins::new(options, &graph.input);
    problems.into_iter().for_each(|problem| importer.problems.report(problem));
    let mut ports = Vec::new();
    let mut seen: HashSet<&str> = HashSet::new();
    for info in &graph.input {
        if !seen.insert(&info.name) {
            let problem = Problem::invalid(code::GRAPH, "two inputs have the same name");
            importer.problems.report(problem.at(&info.name));
            continue;
        }
        if initialized.contains(info.name.as_str()) && !pins.sets(&info.name) {
            continue;
        }
        let binding = match input(info, &pins) {
            Ok(Input::Port(port)) => {
                let value = importer.graph.input(&port.name, port.ty.clone());
                ports.push(port);
                Binding::Value(value)
            }
            Ok(Input::Constant(tensor)) => Binding::Value(importer.graph.constant(&info.name, tensor)),
            Err(problem) => {
                importer.problems.report(problem.at(&info.name));
                Binding::Poisoned
            }
        };
        scope.bind(&info.name, binding);
    }
    ports
}

enum Input {
    Port(Port),
    Constant(Tensor),
}

fn input(info: &ValueInfoProto, pins: &Pins) -> Result<Input, Problem> {
    let (dtype, declared) = interface::declared(info)?;
    if let Some(constant) = pins.constant(&info.name, dtype, declared.as_deref()) {
        return constant.map(Input::Constant);
    }
    let ty = pins.resolve(&info.name, dtype, declared.as_deref())?;
    Ok(Input::Port(Port { name: info.name.clone(), ty, declared }))
}

/// Makes the graph's outputs of what the model's stand for, whose element types must be as declared. Declared shapes
/// are not held to: exporters leave stale ones, and pins change them.
fn outputs<'m>(importer: &mut Importer<'m>, graph: &'m GraphProto, scope: &Scope<'m, '_>) -> Vec<Port> {
    if graph.output.is_empty() {
        importer.problems.report(Problem::invalid(code::GRAPH, "the graph has no outputs"));
    }
    let names: Vec<&str> = graph.output.iter().map(|info| info.name.as_str()).collect();
    let mut seen: HashSet<&str> = HashSet::new();
    let mut ports = Vec::new();
    for (info, binding) in graph.output.iter().zip(importer.results(&names, scope, "graph")) {
        let Binding::Value(value) = binding else { continue };
        let ty = importer.graph.ty(value).clone();
        let declared = match interface::declared(info) {
            Ok((dtype, _)) if dtype != ty.dtype => {
                let message = format!("the output is declared {dtype} but computed as {}", ty.dtype);
                Err(Problem::invalid(code::TYPE, message))
            }
            _ if !seen.insert(&info.name) => {
                Err(Problem::invalid(code::GRAPH, "two outputs have the same name"))
            }
            // The standard lets the type of an output be left out where it can be inferred.
            Err(_) if info.r#type.is_none() => Ok(None),
            other => other.map(|(_, dims)| dims),
        };
        match declared {
            Ok(declared) => {
                importer.graph.output(&info.name, value);
                ports.push(Port { name: info.name.clone(), ty, declared });
            }
            Err(problem) => importer.problems.report(problem.at(&info.name)),
        }
    }
    ports
}
