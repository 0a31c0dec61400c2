"""XNNPACK alone, in float32: convolutional and fully connected networks, told to its library (as of November 2024, Debian
13's libxnnpack0.20241108) node by node.

Its images have their channels last. So have all values of four axes here but inputs that a model itself rearranges.
"""
import ctypes, math

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

LIBRARY = "libXNNPACK.so.0.20241108"
VERSION = "XNNPACK of 2024-11-08"

# Of xnnpack.h.
INVALID = 2**32 - 1
EXTERNAL_INPUT, EXTERNAL_OUTPUT = 1, 2
FLOAT32 = 1
CLAMP, ADD, MEAN = 1, 0, 1
KEEP_DIMS = 0x40
EXTRA_BYTES = 128


class External(ctypes.Structure):
    _fields_ = [("id", ctypes.c_uint32), ("data", ctypes.c_void_p)]


def sizes(values):
    return (ctypes.c_size_t * len(values))(*values)


def channels_last(shape):
    return [shape[0], shape[2], shape[3], shape[1]]


class Subgraph:
    def __init__(self, model):
        self.library = ctypes.CDLL(LIBRARY)
        self.kept = []  # What XNNPACK keeps pointers to.
        self.call("initialize", None)
        self.handle = ctypes.c_void_p()
        graph = model.graph
        self.outputs = [output.name for output in graph.output]
        self.constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.inputs = [value.name for value in graph.input if value.name not in self.constants]
        self.shapes = {}
        for value in [*graph.input, *graph.value_info, *graph.output]:
            self.shapes[value.name] = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        self.uses = {}
        for node in graph.node:
            for name in node.input:
                self.uses.setdefault(name, []).append(node)
        self.call("create_subgraph", ctypes.c_uint32(len(self.inputs) + len(self.outputs)), ctypes.c_uint32(0),
                  ctypes.byref(self.handle))
        self.ids, self.external = {}, {}
        for name in self.inputs:
            image = len(self.shapes[name]) == 4 and any(node.op_type == "Conv" for node in self.uses[name])
            shape = channels_last(self.shapes[name]) if image else self.shapes[name]
            self.ids[name] = self.tensor(shape, external=name, flags=EXTERNAL_INPUT)
        for node in graph.node:
            self.node(node)

    def call(self, name, *arguments):
        status = getattr(self.library, f"xnn_{name}")(*arguments)
        if status != 0:
            raise RuntimeError(f"xnn_{name} says {status}")

    def define(self, kind, *arguments):
        """A node; Python's integers are 32 bits wide there, and floats single."""
        typed = [ctypes.c_float(a) if isinstance(a, float) else ctypes.c_uint32(a) if isinstance(a, int) else a
                 for a in arguments]
        self.call(f"define_{kind}", self.handle, *typed, ctypes.c_uint32(0))

    def tensor(self, shape, data=None, external=None, flags=0):
        number = INVALID
        if external is not None:
            number = len(self.external)
            buffer = np.zeros(math.prod(shape) + EXTRA_BYTES // 4, np.float32)
            self.external[external] = (number, buffer, shape)
        if data is not None:
            self.kept.append(data := np.ascontiguousarray(data, np.float32))
            data = data.ctypes.data_as(ctypes.c_void_p)
        made = ctypes.c_uint32()
        self.call("define_tensor_value", self.handle, FLOAT32, ctypes.c_size_t(len(shape)), sizes(shape), data,
                  ctypes.c_uint32(number), ctypes.c_uint32(flags), ctypes.byref(made))
        return made.value

    def constant(self, data):
        return self.tensor(data.shape, data)

    def result(self, name):
        shape = self.shapes[name]
        shape = channels_last(shape) if len(shape) == 4 else shape
        output = dict(external=name, flags=EXTERNAL_OUTPUT) if name in self.outputs else {}
        self.ids[name] = self.tensor(shape, **output)
        return self.ids[name]

    def node(self, node):
        if node.output[0] in self.ids:
            return
        if all(name in self.constants for name in node.input):
            results = ReferenceEvaluator(node).run(None, {name: self.constants[name] for name in node.input})
            self.constants.update(zip(node.output, results))
            return
        lower = getattr(self, node.op_type.lower(), None)
        if lower is None:
            raise RuntimeError(f"{node.op_type} is not told to XNNPACK here")
        lower(node, **{attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute})

    def conv(self, node, kernel_shape=None, strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), group=1, **_):
        weights = self.constants[node.input[1]].transpose(0, 2, 3, 1)
        outputs, height, width, inputs = weights.shape
        bias = self.constant(self.constants[node.input[2]]) if len(node.input) > 2 else INVALID
        top, left, bottom, right = pads
        window = [top, right, bottom, left, height, width, *strides, *dilations]
        depthwise = inputs == 1 and group > 1
        if depthwise:
            kind, channels = "depthwise_convolution_2d", [outputs // group, ctypes.c_size_t(group)]
            weights = weights.transpose(3, 1, 2, 0)
        else:
            kind = "convolution_2d"
            channels = [group, ctypes.c_size_t(inputs), ctypes.c_size_t(outputs // group)]
        self.define(kind, *window, *channels, -math.inf, math.inf, self.ids[node.input[0]], self.constant(weights), bias,
                    self.result(node.output[0]))

    def fully_connected(self, node, weights, bias):
        self.define("fully_connected", -math.inf, math.inf, self.ids[node.input[0]], self.constant(weights), bias,
                    self.result(node.output[0]))

    def gemm(self, node, transA=0, transB=0, alpha=1.0, beta=1.0):
        if (transA, alpha, beta) != (0, 1.0, 1.0):
            raise RuntimeError("this Gemm is not told to XNNPACK here")
        weights = self.constants[node.input[1]]
        bias = self.constant(self.constants[node.input[2]].reshape(-1)) if len(node.input) > 2 else INVALID
        self.fully_connected(node, weights if transB else weights.T, bias)

    def matmul(self, node):
        """With the addition of a constant right after it as its bias."""
        weights, bias = self.constants[node.input[1]], INVALID
        uses = self.uses.get(node.output[0], [])
        if len(uses) == 1 and uses[0].op_type == "Add":
            added = [self.constants[name] for name in uses[0].input if name in self.constants]
            if added and added[0].size == weights.shape[1]:
                bias = self.constant(added[0].reshape(-1))
                node = onnx.helper.make_node("MatMul", node.input, uses[0].output)
        self.fully_connected(node, weights.T, bias)

    def clamp(self, node, low, high):
        limits = (ctypes.c_float * 2)(low, high)
        self.define("unary", CLAMP, limits, self.ids[node.input[0]], self.result(node.output[0]))

    def relu(self, node):
        self.clamp(node, 0.0, math.inf)

    def clip(self, node):
        low, high = (float(self.constants[name]) for name in node.input[1:])
        self.clamp(node, low, high)

    def add(self, node):
        self.define("binary", ADD, None, *(self.ids[name] for name in node.input), self.result(node.output[0]))

    def window(self, node, kernel_shape, strides, pads, ceil_mode):
        """Of a pool; where sizes are rounded up, with more of the padding that it leaves out anyhow."""
        top, left, bottom, right = pads
        if ceil_mode:
            height, width = self.shapes[node.input[0]][2:]
            bottom += -(height + top + bottom - kernel_shape[0]) % strides[0]
            right += -(width + left + right - kernel_shape[1]) % strides[1]
        return [top, right, bottom, left, *kernel_shape, *strides]

    def maxpool(self, node, kernel_shape, strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), ceil_mode=0, **_):
        window = self.window(node, kernel_shape, strides, pads, ceil_mode)
        self.define("max_pooling_2d", *window, *dilations, -math.inf, math.inf, self.ids[node.input[0]],
                    self.result(node.output[0]))

    def averagepool(self, node, kernel_shape, strides=(1, 1), pads=(0, 0, 0, 0), ceil_mode=0, **_):
        if list(kernel_shape) == self.shapes[node.input[0]][2:] and not any(pads):
            return self.globalaveragepool(node)
        window = self.window(node, kernel_shape, strides, pads, ceil_mode)
        self.define("average_pooling_2d", *window, -math.inf, math.inf, self.ids[node.input[0]],
                    self.result(node.output[0]))

    def globalaveragepool(self, node):
        result = self.result(node.output[0])
        self.call("define_static_reduce", self.handle, MEAN, ctypes.c_size_t(2), sizes([1, 2]),
                  ctypes.c_uint32(self.ids[node.input[0]]), ctypes.c_uint32(result), ctypes.c_uint32(KEEP_DIMS))

    def concat(self, node, axis):
        if axis != 1 or not 2 <= len(node.input) <= 5:
            raise RuntimeError("this Concat is not told to XNNPACK here")
        last = len(self.shapes[node.output[0]]) - 1
        self.define(f"concatenate{len(node.input)}", last, *(self.ids[name] for name in node.input),
                    self.result(node.output[0]))

    def softmax(self, node, axis=-1):
        if axis not in (-1, len(self.shapes[node.output[0]]) - 1):
            raise RuntimeError("this Softmax is not told to XNNPACK here")
        self.define("softmax", self.ids[node.input[0]], self.result(node.output[0]))

    def transpose(self, node, perm):
        """Of an input with its channels last, as it stays."""
        if node.input[0] not in self.inputs or list(perm) != [0, 3, 1, 2]:
            raise RuntimeError("this Transpose is not told to XNNPACK here")
        self.ids[node.output[0]] = self.ids[node.input[0]]

    def reshape(self, node, **_):
        """Of one channel, or of one pixel: the same with channels last."""
        for name in (node.input[0], node.output[0]):
            shape = self.shapes[name]
            as_stored = name in self.external and self.external[name][2] == shape
            if len(shape) == 4 and shape[1] > 1 and shape[2] * shape[3] > 1 and not as_stored:
                raise RuntimeError("this Reshape is not told to XNNPACK here")
        result = self.result(node.output[0])
        shape = self.shapes[node.output[0]]
        shape = channels_last(shape) if len(shape) == 4 else shape
        self.call("define_static_reshape", self.handle, ctypes.c_size_t(len(shape)), sizes(shape),
                  ctypes.c_uint32(self.ids[node.input[0]]), ctypes.c_uint32(result), ctypes.c_uint32(0))

    flatten = reshape

    def fill(self, feed):
        for name in self.inputs:
            _, buffer, shape = self.external[name]
            value = feed[name]
            if list(value.shape) != shape:
                value = value.transpose(0, 2, 3, 1)
            buffer[:value.size] = value.reshape(-1)

    def result_of(self, name):
        _, buffer, shape = self.external[name]
        value = buffer[:math.prod(shape)].reshape(shape)
        return value.transpose(0, 3, 1, 2) if len(shape) == 4 else value


def load(job):
    if job.threads != 1:
        raise RuntimeError("only one thread is told to XNNPACK here")
    model = onnx.shape_inference.infer_shapes(onnx.load(job.model))
    subgraph = Subgraph(model)
    runtime = ctypes.c_void_p()
    subgraph.call("create_runtime_v2", subgraph.handle, None, ctypes.c_uint32(0), ctypes.byref(runtime))
    subgraph.call("reshape_runtime", runtime)
    externals = [External(number, buffer.ctypes.data) for number, buffer, _ in subgraph.external.values()]
    subgraph.call("setup_runtime_v2", runtime, ctypes.c_size_t(len(externals)), (External * len(externals))(*externals))
    subgraph.fill(job.feed())
    outputs = [subgraph.result_of(name) for name in subgraph.outputs]

    def run():
        subgraph.call("invoke_runtime", runtime)
        return outputs

    return VERSION, run
