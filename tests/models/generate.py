"""Writes the small models of tests/tests/boards.rs and what ONNX Runtime says of them.

    cnn.onnx  1x3x15x17 -> 1x10: convolutions (strided, depthwise, pointwise), normalisation, a residual, pooling,
              a dense layer, softmax; odd extents, so that every tile has an edge
    mlp.onnx  1x20 -> 1x20: four dense layers
    sparse.onnx  1x3x17x13 -> 1x7: as training with weight decay leaves networks, with channels that never get above
              zero because their weights are about 1e-30 and their bias is not positive, or that nobody reads
    *.npz     in_<input> and out_0

Needs numpy, onnx 1.22.0 and onnxruntime; the files it wrote are committed.
"""

import pathlib

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

FOLDER = pathlib.Path(__file__).parent


class Model:
    def __init__(self, name, seed):
        self.name, self.random = name, numpy.random.default_rng(seed)
        self.nodes, self.weights = [], []

    def weight(self, *shape, low=None, high=None):
        """A weight, uniform within `low` and `high`, or so that sums over all but its first axis stay near 1."""
        limit = (3 / max(1, numpy.prod(shape[1:]))) ** 0.5
        low, high = (-limit, limit) if low is None else (low, high)
        values = self.random.uniform(low, high, shape).astype(numpy.float32)
        self.weights.append(numpy_helper.from_array(values, f"w{len(self.weights)}"))
        return self.weights[-1].name

    def node(self, operator, *inputs, **attributes):
        output = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def save(self, x, result):
        shape = list(x.shape)
        self.nodes[-1].output[0] = "y"
        graph = helper.make_graph(
            self.nodes,
            self.name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, result)],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, FOLDER / f"{self.name}.onnx")
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        numpy.savez(FOLDER / f"{self.name}.npz", in_x=x, out_0=session.run(None, {"x": x})[0])


def cnn():
    model = Model("cnn", 1)
    x = model.random.standard_normal((1, 3, 15, 17)).astype(numpy.float32)
    first = model.node("Conv", "x", model.weight(12, 3, 3, 3), model.weight(12), strides=[2, 2], pads=[1, 1, 1, 1])
    scale, bias, mean, variance = [model.weight(12, low=low, high=1.5) for low in (0.5, -1.5, -1.5, 0.5)]
    first = model.node("Relu", model.node("BatchNormalization", first, scale, bias, mean, variance))
    deep = model.node("Conv", first, model.weight(12, 1, 3, 3), model.weight(12), group=12, pads=[1, 1, 1, 1])
    deep = model.node("HardSwish", deep)
    point = model.node("Conv", deep, model.weight(12, 12, 1, 1), model.weight(12))
    joined = model.node("Relu", model.node("Add", point, first))
    pooled = model.node("MaxPool", joined, kernel_shape=[2, 2], strides=[2, 2])
    last = model.node("Conv", pooled, model.weight(18, 12, 3, 3), model.weight(18))
    mean = model.node("Flatten", model.node("GlobalAveragePool", model.node("Sigmoid", last)))
    dense = model.node("Gemm", mean, model.weight(10, 18), model.weight(10), transB=1)
    model.node("Softmax", dense, axis=-1)
    model.save(x, [1, 10])


def sparse():
    model = Model("sparse", 3)
    x = model.random.standard_normal((1, 3, 17, 13)).astype(numpy.float32)

    def layer(value, inputs, outputs, kernel, group=1, dead=0, unread=0):
        """A convolution with a rectifier; the last `dead` outputs decayed, the first `unread` inputs weigh nothing."""
        weight, bias = model.weight(outputs, inputs // group, kernel, kernel), model.weight(outputs)
        weights, biases = [numpy_helper.to_array(tensor).copy() for tensor in model.weights[-2:]]
        weights[outputs - dead :] *= numpy.float32(1e-30)
        biases[outputs - dead :] = -abs(biases[outputs - dead :])
        weights[:, :unread] = 0
        model.weights[-2:] = [numpy_helper.from_array(weights, weight), numpy_helper.from_array(biases, bias)]
        pads = [kernel // 2] * 4
        return model.node("Relu", model.node("Conv", value, weight, bias, group=group, pads=pads))

    value = layer("x", 3, 12, 3, dead=3)
    value = layer(value, 12, 12, 3, group=12)
    shortcut = layer(value, 12, 20, 1, dead=8, unread=2)
    value = layer(shortcut, 20, 20, 3, group=20)
    value = layer(value, 20, 20, 1, dead=9)
    value = model.node("Add", value, shortcut)
    value = model.node("Concat", value, layer(value, 20, 10, 1, dead=4), axis=1)
    value = layer(value, 30, 24, 1, dead=10, unread=1)
    mean = model.node("Flatten", model.node("GlobalAveragePool", value))
    model.node("Gemm", mean, model.weight(7, 24), model.weight(7), transB=1)
    model.save(x, [1, 7])


def mlp():
    model = Model("mlp", 2)
    x = model.random.standard_normal((1, 20)).astype(numpy.float32)
    value = "x"
    for inputs, outputs in [(20, 33), (33, 8), (8, 33), (33, 20)]:
        value = model.node("Gemm", value, model.weight(outputs, inputs), model.weight(outputs), transB=1)
        if outputs != 20:
            value = model.node("Relu", value)
    model.save(x, [1, 20])


cnn()
sparse()
mlp()
