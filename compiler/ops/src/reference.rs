use std::collections::HashMap;

use ir::{NodeId, NodeKind, Tensor, TensorType, Value};

use crate::Graph;

/// The reference evaluator of a graph: its outputs for `inputs`, in order.
///
/// A value is dropped after its last use, so that memory follows the live values and not the model.
///
/// # Panics
/// If the inputs' types are not the graph's; readers of files check before they call.
pub fn evaluate(graph: &Graph, inputs: &[Tensor]) -> Vec<Tensor> {
    let wanted: Vec<&TensorType> = graph.inputs().iter().map(|&id| &graph.node(id).types[0]).collect();
    let given: Vec<&TensorType> = inputs.iter().map(|tensor| &tensor.ty).collect();
    assert_eq!(given, wanted, "inputs of graph `{}`", graph.name);

    let order = graph.order();
    let mut uses = uses(graph, &order);
    let mut values: HashMap<Value, Tensor> = HashMap::new();
    for (&node, tensor) in graph.inputs().iter().zip(inputs) {
        values.insert(Value { node, result: 0 }, tensor.clone());
    }
    for id in order {
        let results = match &graph.node(id).kind {
            NodeKind::Input => continue,
            NodeKind::Constant(tensor) => vec![tensor.clone()],
            NodeKind::Apply(op) => {
                let operands = graph.operands(id);
                let tensors: Vec<&Tensor> = operands.iter().map(|value| &values[value]).collect();
                let results = op.eval(&tensors);
                for operand in operands {
                    drop_after_last_use(operand, &mut uses, &mut values);
                }
                results
            }
        };
        for (result, tensor) in results.into_iter().enumerate() {
            let value = Value { node: id, result };
            if uses.contains_key(&value) {
                values.insert(value, tensor);
            }
        }
    }
    graph.outputs().iter().map(|(_, value)| values[value].clone()).collect()
}

/// How often each value is read, by operators and as an output.
fn uses(graph: &Graph, order: &[NodeId]) -> HashMap<Value, usize> {
    let operands = order.iter().flat_map(|&id| graph.operands(id));
    let outputs = graph.outputs().iter().map(|(_, value)| *value);
    operands.chain(outputs).fold(HashMap::new(), |mut uses, value| {
        *uses.entry(value).or_insert(0) += 1;
        uses
    })
}

fn drop_after_last_use(value: Value, uses: &mut HashMap<Value, usize>, values: &mut HashMap<Value, Tensor>) {
    if let Some(left) = uses.get_mut(&value) {
        *left -= 1;
        if *left == 0 {
            values.remove(&value);
        }
    }
}
