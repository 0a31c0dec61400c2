"""ncnn, converted by pnnx, both in float32."""
import importlib.metadata, os, subprocess

import ncnn
import numpy as np
import pnnx


def load(job):
    feed = job.feed()
    shapes = ",".join(f"[{','.join(map(str, value.shape))}]{kind(value)}" for value in feed.values())
    # It writes beside what it reads.
    os.symlink(os.path.abspath(job.model), "model.onnx")
    subprocess.run([pnnx.EXEC_PATH, "model.onnx", f"inputshape={shapes}", "fp16=0",
                    "ncnnparam=model.ncnn.param", "ncnnbin=model.ncnn.bin"], check=True)
    net = ncnn.Net()
    net.opt.num_threads = job.threads
    for narrow in ["use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage", "use_vulkan_compute"]:
        setattr(net.opt, narrow, False)
    if net.load_param("model.ncnn.param") != 0 or net.load_model("model.ncnn.bin") != 0:
        raise RuntimeError("ncnn cannot load what pnnx wrote")
    # It has no batch.
    inputs = [ncnn.Mat(np.ascontiguousarray(value[0])) for value in feed.values()]

    def run():
        extractor = net.create_extractor()
        for name, mat in zip(net.input_names(), inputs):
            extractor.input(name, mat)
        results = []
        for name in net.output_names():
            status, mat = extractor.extract(name)
            if status != 0:
                raise RuntimeError(f"ncnn cannot compute {name}")
            results.append(np.array(mat))
        return results

    return f"ncnn {ncnn.__version__} (pnnx {importlib.metadata.version('pnnx')})", run


def kind(value):
    return {"float32": "f32", "int64": "i64", "int32": "i32"}[value.dtype.name]
