#!/usr/bin/env python3
"""Writes a U-Net for binary segmentation: `python3 unet.py unet.onnx [--width 32] [--size 256]`.

The shape is the published one of Ronneberger et al. with padded convolutions, batch normalisation folded away and
transposed convolutions on the way up; weights are random from a fixed seed. Needs the packages numpy and onnx.
"""
import argparse
import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save


class Network:
    def __init__(self):
        self.nodes, self.weights = [], []
        self.random = np.random.default_rng(0)

    def weight(self, shape, spread):
        name = f"w{len(self.weights)}"
        array = (self.random.standard_normal(shape) * spread).astype(np.float32)
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def node(self, op, inputs, **attributes):
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def conv(self, x, channels, out, kernel=3):
        spread = (2 / (channels * kernel * kernel)) ** 0.5
        inputs = [x, self.weight((out, channels, kernel, kernel), spread), self.weight((out,), 0.1)]
        return self.node("Conv", inputs, kernel_shape=[kernel] * 2, pads=[kernel // 2] * 4)

    def block(self, x, channels, out):
        for before in (channels, out):
            x = self.node("Relu", [self.conv(x, before, out)])
        return x

    def up(self, x, channels, out):
        inputs = [x, self.weight((channels, out, 2, 2), (2 / channels) ** 0.5), self.weight((out,), 0.1)]
        return self.node("ConvTranspose", inputs, kernel_shape=[2, 2], strides=[2, 2])


def unet(width, size, levels=4):
    net = Network()
    x, channels, skips = "image", 3, []
    for level in range(levels):
        x, channels = net.block(x, channels, width << level), width << level
        skips.append((x, channels))
        x = net.node("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
    x, channels = net.block(x, channels, 2 * channels), 2 * channels
    for skip, out in reversed(skips):
        x = net.node("Concat", [net.up(x, channels, out), skip], axis=1)
        x, channels = net.block(x, 2 * out, out), out
    net.nodes.append(helper.make_node("Sigmoid", [net.conv(x, channels, 1, 1)], ["mask"], name="mask"))
    tensor = lambda name, c: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, c, size, size])
    graph = helper.make_graph(net.nodes, "unet", [tensor("image", 3)], [tensor("mask", 1)], net.weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return model


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output")
    parser.add_argument("--width", type=int, default=32, help="channels of the first level")
    parser.add_argument("--size", type=int, default=256)
    options = parser.parse_args()
    save(unet(options.width, options.size), options.output)
