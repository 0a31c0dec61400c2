"""OpenVINO for latency; in float32, or in what it takes by default, which is bfloat16 where the processor has it."""
import openvino


def load(job):
    settings = {"INFERENCE_NUM_THREADS": job.threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    if job.precision != "default":
        settings["INFERENCE_PRECISION_HINT"] = job.precision
    core, feed = openvino.Core(), job.feed()
    model = core.read_model(job.model)
    model.reshape({name: list(value.shape) for name, value in feed.items()})
    compiled = core.compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()
    for name, value in feed.items():
        request.set_tensor(name, openvino.Tensor(value))

    def run():
        request.infer()
        return [request.get_output_tensor(k).data for k in range(len(compiled.outputs))]

    taken = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return f"openvino {openvino.__version__.split('-')[0]} ({taken})", run
