//! The walk over the nodes of a graph, a branch or a function.

use std::collections::{HashMap, HashSet};

use ir::{NodeKind, OpError, Tensor, Value};
use ops::{Attribute, Graph, Import, Onnx, OpKind};

use crate::attribute::{self, Attributes};
use crate::external::External;
use crate::order::{order, read_names};
use crate::problem::{Kind, Operator, Problem, Problems, code};
use crate::proto::{FunctionProto, GraphProto, NodeProto, TensorProto};
use crate::tensor;

/// What a name stands for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Binding {
    Value(Value),
    /// An optional input that the call of a function left out.
    Absent,
    /// It comes of something that failed, which was reported there.
    Poisoned,
}

/// The names of one body, inside those of the bodies around it.
pub(crate) struct Scope<'m, 's> {
    names: HashMap<&'m str, Binding>,
    outer: Option<&'s Scope<'m, 's>>,
}

impl<'m, 's> Scope<'m, 's> {
    pub fn new(outer: Option<&'s Scope<'m, 's>>) -> Scope<'m, 's> {
        Scope { names: HashMap::new(), outer }
    }

    pub fn bind(&mut self, name: &'m str, binding: Binding) {
        self.names.insert(name, binding);
    }

    fn poison(&mut self, names: &'m [String]) {
        names.iter().for_each(|name| self.bind(name, Binding::Poisoned));
    }

    pub fn find(&self, name: &str) -> Option<Binding> {
        let mut scope = Some(self);
        while let Some(here) = scope {
            if let Some(binding) = here.names.get(name) {
                return Some(*binding);
            }
            scope = here.outer;
        }
        None
    }

    fn holds(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }
}

/// Where a body stands.
pub(crate) struct Place<'m, 's> {
    /// The version of each domain; `""` is the standard one.
    pub opsets: HashMap<&'m str, i64>,
    /// The call whose function's body this is in.
    call: Option<Call<'m, 's>>,
    /// Before the names of the nodes.
    prefix: String,
    depth: usize,
}

struct Call<'m, 's> {
    function: &'m FunctionProto,
    attributes: Attributes<'m>,
    from: &'s Place<'m, 's>,
}

impl<'m, 's> Place<'m, 's> {
    pub fn top(opsets: HashMap<&'m str, i64>) -> Place<'m, 's> {
        Place { opsets, call: None, prefix: String::new(), depth: 0 }
    }

    fn attributes(&self) -> Option<&Attributes<'m>> {
        self.call.as_ref().map(|call| &call.attributes)
    }

    /// Whether this is inside a call of `function`.
    fn is_in(&self, function: &FunctionProto) -> bool {
        self.call
            .as_ref()
            .is_some_and(|call| std::ptr::eq(call.function, function) || call.from.is_in(function))
    }
}

/// `""` for the standard domain's long name, too.
pub(crate) fn short_domain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

/// Functions and branches inside each other at most.
const DEEPEST: usize = 64;
/// Nodes at most, with functions inlined.
const MOST_NODES: usize = 1 << 20;
/// Operands of one node at most; some operators' meanings nest as deep as they have operands.
const MOST_OPERANDS: usize = 1 << 10;

/// What folding may produce in any model.
const FREE_FOLDING_BYTES: usize = 1 << 30;
/// What folding may produce for each byte of a tensor in the model: weights are transposed, cast, reordered.
const FOLDING_PER_BYTE: usize = 4;

pub(crate) struct Importer<'m> {
    pub graph: Graph,
    pub problems: Problems,
    pub external: External,
    functions: HashMap<(&'m str, &'m str, &'m str), &'m FunctionProto>,
    operators: HashMap<(&'static str, &'static str), Vec<&'static Onnx>>,
    nodes_left: usize,
    /// Folding may still produce so many bytes of constants.
    folding_left: usize,
}

/// Why a node gives nothing.
enum Failure {
    Problem(Problem),
    /// What it depends on failed.
    Poisoned,
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Failure {
        Failure::Problem(problem)
    }
}

impl<'m> Importer<'m> {
    pub fn new(name: &str, functions: &'m [FunctionProto], external: External) -> Importer<'m> {
        let mut importer = Importer {
            graph: Graph::new(name),
            problems: Problems::default(),
            external,
            functions: HashMap::new(),
            operators: operators(),
            nodes_left: MOST_NODES,
            folding_left: FREE_FOLDING_BYTES,
        };
        for function in functions {
            let key = (short_domain(&function.domain), function.name.as_str(), function.overload.as_str());
            if importer.functions.insert(key, function).is_some() {
                let message = format!("function `{}` is defined twice", function.name);
                importer.problems.report(Problem::invalid(code::GRAPH, message));
            }
        }
        importer
    }

    /// Binds those of a graph's initializers that somebody reads.
    pub fn initializers(&mut self, graph: &'m GraphProto, read: &HashSet<&str>, scope: &mut Scope<'m, '_>) {
        let mut seen: HashSet<&str> = HashSet::new();
        for proto in &graph.initializer {
            if !seen.insert(&proto.name) {
                let problem = Problem::invalid(code::GRAPH, "two initializers have the same name");
                self.problems.report(problem.at(&proto.name));
            } else if read.contains(proto.name.as_str()) && !scope.holds(&proto.name) {
                let binding = self.initializer(proto);
                scope.bind(&proto.name, binding);
            }
        }
        for name in graph
            .sparse_initializer
            .iter()
            .filter_map(|sparse| sparse.values.as_ref())
            .map(|v| v.name.as_str())
        {
            self.problems
                .report(Problem::unsupported(code::TYPE, "sparse initializers are not supported").at(name));
            scope.bind(name, Binding::Poisoned);
        }
    }

    fn initializer(&mut self, proto: &'m TensorProto) -> Binding {
        match tensor::decode(proto, &mut self.external) {
            Ok(tensor) => {
                self.allow_folding(&tensor);
                Binding::Value(self.graph.constant(&proto.name, tensor))
            }
            Err(problem) => {
                self.problems.report(problem.at(&proto.name));
                Binding::Poisoned
            }
        }
    }

    /// Imports `nodes` into `scope`. `results` are the names that are wanted of them.
    pub fn body(
        &mut self,
        nodes: &'m [NodeProto],
        results: &[&'m str],
        scope: &mut Scope<'m, '_>,
        place: &Place<'m, '_>,
    ) {
        let read = read_names(nodes, results);
        let order = order(nodes);
        for node in &order.cyclic {
            let problem = Problem::invalid(code::GRAPH, "nodes wait for each other in a cycle");
            self.problems.report(problem.at(node_name(node, &place.prefix)));
            scope.poison(&node.output);
        }
        for node in order.nodes {
            if self.nodes_left == 0 {
                let message = format!("more than {MOST_NODES} nodes, with functions inlined");
                self.problems.report(Problem::unsupported(code::LIMIT, message));
                scope.poison(&node.output);
                continue;
            }
            self.nodes_left -= 1;
            self.node(node, &read, scope, place);
        }
    }

    /// Imports one node and binds its outputs.
    fn node(
        &mut self,
        node: &'m NodeProto,
        read: &HashSet<&str>,
        scope: &mut Scope<'m, '_>,
        place: &Place<'m, '_>,
    ) {
        let name = node_name(node, &place.prefix);
        let outputs = self.outputs(node, &name, read, scope, place).unwrap_or_else(|failure| {
            if let Failure::Problem(problem) = failure {
                self.problems.report(problem.at(&name));
            }
            vec![Binding::Poisoned; node.output.len()]
        });
        for (k, output) in node.output.iter().enumerate().filter(|(_, output)| !output.is_empty()) {
            if scope.holds(output) {
                let problem = Problem::invalid(code::GRAPH, format!("the value `{output}` is given twice"));
                self.problems.report(problem.at(&name));
                continue;
            }
            match outputs.get(k) {
                Some(binding) => scope.bind(output, *binding),
                None => {
                    scope.bind(output, Binding::Poisoned);
                    if read.contains(output.as_str()) {
                        let problem = Problem::unsupported(code::USE, format!("output {k} is not supported"));
                        self.problems.report(problem.of(operator_of(node, place)).at(&name));
                    }
                }
            }
        }
    }

    fn outputs(
        &mut self,
        node: &'m NodeProto,
        name: &str,
        read: &HashSet<&str>,
        scope: &Scope<'m, '_>,
        place: &Place<'m, '_>,
    ) -> Result<Vec<Binding>, Failure> {
        let of = |problem: Problem| problem.of(operator_of(node, place));
        let attributes = attribute::resolve(node, place.attributes()).map_err(of)?;
        let domain = short_domain(&node.domain);
        if let Some(&function) = self.functions.get(&(domain, node.op_type.as_str(), node.overload.as_str()))
        {
            let inputs = inputs(node, scope)?;
            return self
                .call(function, &inputs, attributes, name, place)
                .map_err(|problem| of(problem).into());
        }
        if domain.is_empty() && node.op_type == "If" {
            return self.decided(node, &attributes, name, scope, place);
        }
        let onnx = self.operator(node, place).map_err(of)?;
        let bindings = inputs(node, scope)?;
        if bindings.iter().any(|input| matches!(input, Binding::Poisoned)) {
            return Err(Failure::Poisoned);
        }
        let value = |binding| if let Binding::Value(value) = binding { Some(value) } else { None };
        let inputs = bindings.into_iter().map(value).collect();
        let opset = place.opsets.get(domain).copied().unwrap_or_default();
        let attributes = attribute::values(&attributes, &mut self.external).map_err(of)?;
        for attribute in attributes.values() {
            if let Attribute::Tensor(tensor) = attribute {
                self.allow_folding(tensor);
            }
        }
        let first_new = self.graph.node_count();
        let mut import = Import {
            graph: &mut self.graph,
            name: name.to_owned(),
            opset,
            inputs,
            attributes,
            outputs: node.output.iter().map(|output| read.contains(output.as_str())).collect(),
        };
        let values = (onnx.import)(&mut import).map_err(|error| of(refused(error)))?;
        self.pay_for_folding(first_new).map_err(of)?;
        Ok(values.into_iter().map(Binding::Value).collect())
    }

    /// The operator that reads `node`, at the opset that holds here.
    fn operator(&self, node: &NodeProto, place: &Place) -> Result<&'static Onnx, Problem> {
        let domain = short_domain(&node.domain);
        let Some(&opset) = place.opsets.get(domain) else {
            return Err(Problem::invalid(code::VERSION, "the model does not import the operator's domain"));
        };
        let unknown = || match node.op_type.as_str() {
            "Loop" | "Scan" => Problem::unsupported(code::CONTROL, "loops are not supported"),
            _ => Problem::unsupported(code::OPERATOR, "the operator is not supported"),
        };
        let forms = self.operators.get(&(domain, node.op_type.as_str())).ok_or_else(unknown)?;
        let newest = forms.iter().filter(|onnx| onnx.since <= opset).max_by_key(|onnx| onnx.since);
        newest.copied().ok_or_else(|| {
            let since = forms.iter().map(|onnx| onnx.since).min().unwrap_or_default();
            Problem::unsupported(code::OPERATOR, format!("the operator is supported from opset {since}"))
                .hint(format!("convert the model to opset {since} or newer"))
        })
    }

    fn allow_folding(&mut self, tensor: &Tensor) {
        self.folding_left =
            self.folding_left.saturating_add(tensor.data.len().saturating_mul(FOLDING_PER_BYTE));
    }

    /// Takes the constants among the nodes from `first` on out of what folding may produce.
    fn pay_for_folding(&mut self, first: usize) -> Result<(), Problem> {
        for node in first..self.graph.node_count() {
            if let NodeKind::Constant(tensor) = &self.graph.node(ir::NodeId::new(node)).kind {
                self.folding_left = self.folding_left.checked_sub(tensor.data.len()).ok_or_else(|| {
                    let message = "folding this model's constants takes too much memory";
                    Problem::unsupported(code::LIMIT, message)
                })?;
            }
        }
        Ok(())
    }

    /// Imports the body of `function` in place of the node `name` that calls it.
    fn call(
        &mut self,
        function: &'m FunctionProto,
        inputs: &[Binding],
        attributes: Attributes<'m>,
        name: &str,
        from: &Place<'m, '_>,
    ) -> Result<Vec<Binding>, Problem> {
        if from.is_in(function) {
            return Err(Problem::invalid(code::GRAPH, format!("function `{}` calls itself", function.name)));
        }
        if inputs.len() > function.input.len() {
            let message = format!("function `{}` takes {} inputs", function.name, function.input.len());
            return Err(Problem::invalid(code::GRAPH, format!("{message}, got {}", inputs.len())));
        }
        let mut opsets = from.opsets.clone();
        opsets.extend(function.opset_import.iter().map(|set| (short_domain(&set.domain), set.version)));
        let attributes = attribute::with_defaults(attributes, function);
        let call = Some(Call { function, attributes, from });
        let place = Place { opsets, call, prefix: format!("{name}/"), depth: deeper(from)? };

        let mut scope = Scope::new(None);
        for (k, formal) in function.input.iter().enumerate() {
            scope.bind(formal, inputs.get(k).copied().unwrap_or(Binding::Absent));
        }
        let results: Vec<&str> = function.output.iter().map(String::as_str).collect();
        self.body(&function.node, &results, &mut scope, &place);
        Ok(self.results(&results, &scope, &format!("function `{}`", function.name)))
    }

    /// An `If` becomes the branch that its condition chooses.
    fn decided(
        &mut self,
        node: &'m NodeProto,
        attributes: &Attributes<'m>,
        name: &str,
        scope: &Scope<'m, '_>,
        place: &Place<'m, '_>,
    ) -> Result<Vec<Binding>, Failure> {
        let of = |problem: Problem| problem.of(operator_of(node, place));
        let condition = match inputs(node, scope)?.first() {
            Some(Binding::Value(value)) => *value,
            Some(Binding::Poisoned) => return Err(Failure::Poisoned),
            _ => return Err(of(Problem::invalid(code::GRAPH, "the condition is missing")).into()),
        };
        let Some(tensor) = self.graph.constant_value(condition) else {
            let problem = Problem::unsupported(code::CONTROL, "the condition is not known at compile time");
            return Err(of(
                problem.hint("pin the input that decides it with --set, or the shapes it depends on")
            )
            .into());
        };
        if tensor.ty.dtype != ir::DType::Bool || tensor.ty.elements() != 1 {
            let message = format!("the condition is of type {}, not one bool", tensor.ty);
            return Err(of(Problem::invalid(code::GRAPH, message)).into());
        }
        let branch = if tensor.get(0).is_zero() { "else_branch" } else { "then_branch" };
        let Some(graph) = attributes.get(branch).and_then(|attribute| attribute.g.as_deref()) else {
            return Err(of(Problem::invalid(code::GRAPH, format!("there is no {branch}"))).into());
        };
        if graph.output.len() != node.output.len() || !graph.input.is_empty() {
            let message =
                format!("the {branch} has {} inputs and {} outputs", graph.input.len(), graph.output.len());
            return Err(of(Problem::invalid(code::GRAPH, message)).into());
        }
        self.branch(graph, name, scope, place).map_err(|problem| of(problem).into())
    }

    fn branch(
        &mut self,
        graph: &'m GraphProto,
        name: &str,
        outer: &Scope<'m, '_>,
        place: &Place<'m, '_>,
    ) -> Result<Vec<Binding>, Problem> {
        let call = place.call.as_ref().map(|call| Call { attributes: call.attributes.clone(), ..*call });
        let place =
            Place { opsets: place.opsets.clone(), call, prefix: format!("{name}/"), depth: deeper(place)? };
        let results: Vec<&str> = graph.output.iter().map(|info| info.name.as_str()).collect();
        let mut scope = Scope::new(Some(outer));
        self.initializers(graph, &read_names(&graph.node, &results), &mut scope);
        self.body(&graph.node, &results, &mut scope, &place);
        Ok(self.results(&results, &scope, &format!("branch `{}`", graph.name)))
    }

    /// What the names `results` stand for at the end of a body.
    pub fn results(&mut self, results: &[&str], scope: &Scope<'m, '_>, body: &str) -> Vec<Binding> {
        let result = |name: &&str| {
            scope.find(name).unwrap_or_else(|| {
                let message = format!("nothing in the {body} gives its output");
                self.problems.report(Problem::invalid(code::GRAPH, message).at(*name));
                Binding::Poisoned
            })
        };
        results.iter().map(result).collect()
    }
}

/// All operators' ONNX forms, by domain and type.
pub(crate) fn operators() -> HashMap<(&'static str, &'static str), Vec<&'static Onnx>> {
    let mut operators: HashMap<_, Vec<&Onnx>> = HashMap::new();
    for onnx in OpKind::ALL.iter().flat_map(|kind| kind.onnx()) {
        operators.entry((onnx.domain, onnx.op_type)).or_default().push(onnx);
    }
    operators
}

/// A node without a name goes by its first output. `prefix` says in which branch or function it is.
pub(crate) fn node_name(node: &NodeProto, prefix: &str) -> String {
    let name = if node.name.is_empty() {
        node.output.iter().find(|name| !name.is_empty())
    } else {
        Some(&node.name)
    };
    format!("{prefix}{}", name.map_or(node.op_type.as_str(), String::as_str))
}

fn operator_of(node: &NodeProto, place: &Place) -> Operator {
    let domain = short_domain(&node.domain);
    Operator {
        domain: if domain.is_empty() { "ai.onnx".into() } else { domain.into() },
        op_type: node.op_type.clone(),
        opset: place.opsets.get(domain).copied().unwrap_or_default(),
    }
}

fn inputs(node: &NodeProto, scope: &Scope) -> Result<Vec<Binding>, Problem> {
    if node.input.len() > MOST_OPERANDS {
        let message = format!("a node of {} inputs; up to {MOST_OPERANDS} are supported", node.input.len());
        return Err(Problem::unsupported(code::LIMIT, message));
    }
    let input = |name: &String| match name.as_str() {
        "" => Ok(Binding::Absent),
        name => scope.find(name).ok_or_else(|| {
            Problem::invalid(code::GRAPH, format!("no input, initializer or node gives the value `{name}`"))
        }),
    };
    node.input.iter().map(input).collect()
}

fn deeper(place: &Place) -> Result<usize, Problem> {
    match place.depth < DEEPEST {
        true => Ok(place.depth + 1),
        false => {
            let message = format!("functions and branches more than {DEEPEST} deep inside each other");
            Err(Problem::unsupported(code::LIMIT, message))
        }
    }
}

/// An operator's refusal as a problem.
fn refused(error: OpError) -> Problem {
    let kind = if error.invalid { Kind::Invalid } else { Kind::Unsupported };
    Problem { hint: error.hint, ..Problem::new(code::USE, kind, error.message) }
}
