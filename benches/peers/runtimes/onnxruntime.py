"""ONNX Runtime, with its default graph optimisations."""
import onnxruntime as ort


def load(job):
    options = ort.SessionOptions()
    options.intra_op_num_threads = job.threads
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(job.model, options, providers=["CPUExecutionProvider"])
    feed = job.feed()
    return f"onnxruntime {ort.__version__}", lambda: session.run(None, feed)
