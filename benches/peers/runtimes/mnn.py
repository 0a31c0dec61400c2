"""MNN, converted by its own tool; precision "high" is float32."""
import subprocess, sys

import MNN
import numpy as np


def load(job):
    converted = "model.mnn"
    subprocess.run([sys.executable, "-c", "from MNN.tools.mnnconvert import main; main()", "-f", "ONNX",
                    "--modelFile", job.model, "--MNNModel", converted, "--bizCode", "peer"], check=True)
    net = MNN.Interpreter(converted)
    session = net.createSession({"backend": "CPU", "numThread": job.threads, "precision": "high"})
    feed, inputs = job.feed(), net.getSessionInputAll(session)
    kinds = {"f": MNN.Halide_Type_Float, "i": MNN.Halide_Type_Int, "u": MNN.Halide_Type_Uint8, "b": MNN.Halide_Type_Uint8}
    for name, value in feed.items():
        net.resizeTensor(inputs[name], value.shape)
    net.resizeSession(session)
    hosts = {}
    for name, value in feed.items():
        # It has no integers of 64 bits.
        value = value.astype(np.int32) if value.dtype == np.int64 else value
        hosts[name] = MNN.Tensor(value.shape, kinds[value.dtype.kind], value, MNN.Tensor_DimensionType_Caffe)
    outputs = net.getSessionOutputAll(session)
    empty = lambda tensor: MNN.Tensor(tensor.getShape(), tensor.getDataType(), np.zeros(tensor.getShape(), np.float32),
                                      MNN.Tensor_DimensionType_Caffe)

    def run():
        for name, host in hosts.items():
            inputs[name].copyFrom(host)
        net.runSession(session)
        results = []
        for tensor in outputs.values():
            host = empty(tensor)
            tensor.copyToHostTensor(host)
            results.append(host.getNumpyData())
        return results

    return f"MNN {MNN.version()}", run
