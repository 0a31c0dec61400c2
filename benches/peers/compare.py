#!/usr/bin/env python3
"""Times libraries made by onnxc against ONNX Runtime: same model, one thread, batch 1, in turn in one process.

    python3 compare.py [--onnxc PATH] [--rounds N] [--target T] MODEL[:ONNXC FLAG ...] ...

Each model is compiled for this machine and linked into a shared library with `cc`. Both sides run pinned to one core;
a round times each for at least 0.3 s of the process's CPU time, taking turns; the table gives the best round of each
and the ratio (above 1: onnxc is faster). Needs the packages numpy and onnxruntime.
"""
import argparse, ctypes, os, subprocess, sys, tempfile, time
import numpy as np


def compile_model(onnxc, model, flags, target, directory):
    """Compiles and links `model`; gives a function that runs it on numpy arrays, and the seconds it took to compile."""
    started = time.time()
    subprocess.run([onnxc, "compile", model, "--target", target, "-o", directory, "--name", "net", *flags], check=True,
                   stdout=subprocess.DEVNULL)
    seconds = time.time() - started
    library = os.path.join(directory, "net.so")
    subprocess.run(["cc", "-shared", "-o", library, "-Wl,--whole-archive", os.path.join(directory, "libnet.a"),
                    "-Wl,--no-whole-archive"], check=True)
    return ctypes.CDLL(library), seconds


def aligned(size, alignment=64):
    raw = np.zeros(size + alignment, np.uint8)
    start = -raw.ctypes.data % alignment
    return raw[start:start + size]


class Ours:
    def __init__(self, library, description, inputs, outputs):
        pointers = lambda arrays: (ctypes.c_void_p * max(1, len(arrays)))(*[a.ctypes.data for a in arrays])
        self.outputs = outputs
        self.arena = aligned(description["memory"]["arena_bytes"])
        self.keep = (inputs, pointers(inputs), pointers(outputs))
        self.call = library.net_run

    def __call__(self):
        self.call(self.keep[1], self.keep[2], self.arena.ctypes.data_as(ctypes.c_void_p))


def milliseconds(run, seconds=0.3):
    count, started = 0, time.process_time()
    while (spent := time.process_time() - started) < seconds:
        run()
        count += 1
    return spent / count * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--onnxc", default=os.environ.get("ONNXC", "onnxc"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--target", default="host")
    parser.add_argument("--core", type=int, default=None)
    parser.add_argument("models", nargs="+")
    options = parser.parse_args()
    import json
    import onnxruntime as ort
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1] if options.core is None else options.core})
    print(f"onnxruntime {ort.__version__}, {subprocess.check_output([options.onnxc, '--version'], text=True).strip()}")
    print(f"{'model':28} {'onnxruntime ms':>14} {'onnxc ms':>10} {'ratio':>7} {'compile s':>10} {'max error of range':>19}")
    for spec in options.models:
        model, *flags = spec.split(":", 1)
        flags = flags[0].split() if flags else []
        session_options = ort.SessionOptions()
        session_options.intra_op_num_threads = 1
        session_options.inter_op_num_threads = 1
        session = ort.InferenceSession(model, session_options, providers=["CPUExecutionProvider"])
        rng = np.random.default_rng(0)
        feed = {}
        with tempfile.TemporaryDirectory() as directory:
            out = os.path.join(directory, "net")
            library, seconds = compile_model(options.onnxc, model, flags, options.target, out)
            description = json.load(open(os.path.join(out, "net.json")))
            dtype = lambda name: np.dtype({"bool": "bool"}.get(name, {"f": "float", "i": "int", "u": "uint"}[name[0]] + name[1:]))
            for entry in description["inputs"]:
                feed[entry["name"]] = rng.standard_normal(entry["shape"]).astype(dtype(entry["dtype"]))
            inputs = [np.ascontiguousarray(feed[e["name"]]) for e in description["inputs"]]
            outputs = [np.zeros(e["shape"], dtype(e["dtype"])) for e in description["outputs"]]
            ours = Ours(library, description, inputs, outputs)
            theirs = lambda: session.run(None, feed)
            expected = theirs()
            ours()
            error = max(float(np.max(np.abs(a - b)) / max(1e-30, np.ptp(b))) for a, b in zip(outputs, expected))
            best = [float("inf")] * 2
            for _ in range(options.rounds):
                best = [min(best[0], milliseconds(theirs)), min(best[1], milliseconds(ours))]
        name = os.path.basename(model).removesuffix(".onnx")
        print(f"{name:28} {best[0]:14.3f} {best[1]:10.3f} {best[0] / best[1]:7.2f} {seconds:10.1f} {error:19.1e}", flush=True)


if __name__ == "__main__":
    main()
