"""tract, through its Python bindings; it runs on one thread."""
import tract


def load(job):
    if job.threads != 1:
        raise RuntimeError("tract runs on one thread")
    kind = lambda value: value.dtype.name.replace("float", "f").replace("int", "i")
    feed = job.feed()
    model = tract.onnx().load(job.model)
    for k, value in enumerate(feed.values()):
        model.set_input_fact(k, ",".join([*map(str, value.shape), kind(value)]))
    runnable = model.into_model().into_runnable()
    values = [tract.Tensor.from_numpy(value) for value in feed.values()]
    return f"tract {tract.version()}", lambda: [output.to_numpy() for output in runnable.run(values)]
