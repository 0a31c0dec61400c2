#!/usr/bin/env python3
"""Times models in the chosen layouts against all operators in one: same compiler, in turn in one process.

    python3 compare.py [--onnxc PATH] [--rounds N] [--layouts chosen,nhwc,nchw] MODEL[:ONNXC FLAG ...] ...

`unet.py` beside this writes a model to try. Runs are pinned to one core; a round times each layout for at least 0.15 s
of the process's CPU time, taking turns; the table gives the best and the median round of each in milliseconds. Needs
the package numpy.
"""
import argparse, json, os, statistics, sys, tempfile
import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "peers"))
import compare as peers


def element_type(name):
    return np.dtype("bool" if name == "bool" else {"f": "float", "i": "int", "u": "uint"}[name[0]] + name[1:])


def prepared(onnxc, model, flags, layout, directory):
    """The model in a layout, on random inputs."""
    library, _ = peers.compile_model(onnxc, model, [*flags, "--layout", layout], "host", directory)
    with open(os.path.join(directory, "net.json")) as file:
        description = json.load(file)
    random = np.random.default_rng(0)
    draw = lambda e: np.ascontiguousarray(random.standard_normal(e["shape"]).astype(element_type(e["dtype"])))
    inputs = [draw(entry) for entry in description["inputs"]]
    outputs = [np.zeros(entry["shape"], element_type(entry["dtype"])) for entry in description["outputs"]]
    run = peers.Ours(library, description, inputs, outputs)
    run()
    return run, len(description["kernels"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--onnxc", default=os.environ.get("ONNXC", "onnxc"))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--layouts", default="chosen,nhwc,nchw")
    parser.add_argument("models", nargs="+")
    options = parser.parse_args()
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})
    layouts = options.layouts.split(",")
    print(f"{'model':24} " + " ".join(f"{layout + ': kernels, best, median ms':>34}" for layout in layouts))
    for spec in options.models:
        model, *flags = spec.split(":", 1)
        flags = flags[0].split() if flags else []
        with tempfile.TemporaryDirectory() as directory:
            runs = [prepared(options.onnxc, model, flags, l, os.path.join(directory, l)) for l in layouts]
            times = [[] for _ in layouts]
            for _ in range(options.rounds):
                for (run, _), taken in zip(runs, times):
                    taken.append(peers.milliseconds(run, 0.15))
        name = os.path.basename(model).removesuffix(".onnx")
        cells = [f"{k:14} {min(t):9.3f} {statistics.median(t):9.3f}" for (_, k), t in zip(runs, times)]
        print(f"{name:24} " + " ".join(cells), flush=True)


if __name__ == "__main__":
    main()
