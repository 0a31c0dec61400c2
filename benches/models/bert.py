#!/usr/bin/env python3
"""Writes a BERT encoder of random weights as PyTorch's exporter spells it: layer norms, GELU and attention in
primitive operators, every scalar a Constant node, reshapes static. The default is the size of BERT-base.

    python3 benches/models/bert.py /tmp/bert_base.onnx [--layers 12] [--width 768] [--heads 12] [--sequence 128]
"""

import argparse

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Writer:
    """The nodes and weights so far; each node's output has the name of its place."""

    def __init__(self, seed):
        self.nodes, self.weights = [], []
        self.random = np.random.default_rng(seed)

    def node(self, op, *inputs, **attributes):
        name = f"/{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [f"{name}_output"], name, **attributes))
        return f"{name}_output"

    def constant(self, value, dtype=np.float32):
        return self.node("Constant", value=numpy_helper.from_array(np.asarray(value, dtype)))

    def weight(self, *shape, around=0.0):
        name = f"weight_{len(self.weights)}"
        values = self.random.standard_normal(shape, np.float32) * np.float32(0.02) + np.float32(around)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def linear(self, x, inputs, outputs):
        return self.node("Add", self.weight(outputs), self.node("MatMul", x, self.weight(inputs, outputs)))

    def reshape(self, x, *shape):
        return self.node("Reshape", x, self.constant(shape, np.int64))

    def layer_norm(self, x, width):
        centred = self.node("Sub", x, self.node("ReduceMean", x, axes=[-1]))
        square = self.node("Pow", centred, self.constant(2.0))
        variance = self.node("ReduceMean", square, axes=[-1])
        deviation = self.node("Sqrt", self.node("Add", variance, self.constant(1e-12)))
        normal = self.node("Div", centred, deviation)
        return self.node("Add", self.node("Mul", normal, self.weight(width, around=1.0)), self.weight(width))

    def gelu(self, x):
        erf = self.node("Erf", self.node("Div", x, self.constant(np.sqrt(2.0))))
        return self.node("Mul", self.node("Mul", x, self.node("Add", erf, self.constant(1.0))), self.constant(0.5))

    def attention(self, x, mask, width, heads, sequence):
        def heads_of(y, *permutation):
            split = self.reshape(y, 1, sequence, heads, width // heads)
            return self.node("Transpose", split, perm=permutation)

        query = heads_of(self.linear(x, width, width), 0, 2, 1, 3)
        key = heads_of(self.linear(x, width, width), 0, 2, 3, 1)
        value = heads_of(self.linear(x, width, width), 0, 2, 1, 3)
        scores = self.node("Div", self.node("MatMul", query, key), self.constant(np.sqrt(width // heads)))
        weights = self.node("Softmax", self.node("Add", scores, mask), axis=-1)
        context = self.node("Transpose", self.node("MatMul", weights, value), perm=[0, 2, 1, 3])
        return self.linear(self.reshape(context, 1, sequence, width), width, width)

    def layer(self, x, mask, width, heads, sequence):
        attended = self.node("Add", self.attention(x, mask, width, heads, sequence), x)
        x = self.layer_norm(attended, width)
        wide = self.gelu(self.linear(x, width, 4 * width))
        return self.layer_norm(self.node("Add", self.linear(wide, 4 * width, width), x), width)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--sequence", type=int, default=128)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    writer = Writer(options.seed)
    # The mask is 1 where there is a token; what is added to the scores is 0 there and very low elsewhere.
    mask = writer.node("Unsqueeze", "attention_mask", writer.constant([1, 2], np.int64))
    mask = writer.node("Sub", writer.constant(1.0), writer.node("Cast", mask, to=TensorProto.FLOAT))
    mask = writer.node("Mul", mask, writer.constant(np.finfo(np.float32).min))
    x = writer.layer_norm("embeddings", options.width)
    for _ in range(options.layers):
        x = writer.layer(x, mask, options.width, options.heads, options.sequence)
    writer.nodes[-1].output[0] = "last_hidden_state"

    hidden = [1, options.sequence, options.width]
    graph = helper.make_graph(
        writer.nodes,
        "bert",
        [
            helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, hidden),
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, [1, options.sequence]),
        ],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, hidden)],
        writer.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.save(model, options.output)
    print(f"{options.output}: {len(writer.nodes)} nodes")


if __name__ == "__main__":
    main()
