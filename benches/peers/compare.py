#!/usr/bin/env python3
"""Times libraries made by onnxc against ONNX Runtime: same model, one thread, batch 1, in turn in one process.

    python3 compare.py [--onnxc PATH] [--rounds N] [--target T] MODEL[:ONNXC FLAG ...] ...

Each model is compiled for this machine and linked into a shared library with `cc`. Both sides run pinned to one core;
a round times each for at least 0.3 s of the process's CPU time, taking turns; the table gives the best round of each
and the ratio (above 1: onnxc is faster). Needs the packages numpy and onnxruntime.
"""
import argparse, os, sys, tempfile
import onnxruntime as ort

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from native_library import Library, largest_error, milliseconds, pin_to_core, random_inputs, version


def session(model):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--onnxc", default=os.environ.get("ONNXC", "onnxc"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--target", default="host")
    parser.add_argument("--core", type=int, default=None)
    parser.add_argument("models", nargs="+")
    options = parser.parse_args()
    pin_to_core(options.core)
    print(f"onnxruntime {ort.__version__}, {version(options.onnxc)}")
    print(f"{'model':28} {'onnxruntime ms':>14} {'onnxc ms':>10} {'ratio':>7} {'compile s':>10} {'max error of range':>19}")
    for spec in options.models:
        model, _, flags = spec.partition(":")
        theirs = session(model)
        with tempfile.TemporaryDirectory() as directory:
            ours = Library(options.onnxc, model, flags.split(), options.target, os.path.join(directory, "net"))
            feed = random_inputs(ours.description)
            ours.bind(feed)
            run = lambda: theirs.run(None, feed)
            expected = run()
            ours()
            error = largest_error(ours.outputs, expected)
            best = [float("inf")] * 2
            for _ in range(options.rounds):
                best = [min(best[0], milliseconds(run)), min(best[1], milliseconds(ours))]
        name = os.path.basename(model).removesuffix(".onnx")
        print(f"{name:28} {best[0]:14.3f} {best[1]:10.3f} {best[0] / best[1]:7.2f} {ours.seconds:10.1f} {error:19.1e}", flush=True)


if __name__ == "__main__":
    main()
