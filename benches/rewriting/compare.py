#!/usr/bin/env python3
"""What rewriting gains: the same compiler with it off, with the first rule that matches, and with saturation.

    python3 compare.py [--onnxc PATH] [--rounds N] [--target T] [--markdown FILE] MODEL|DIRECTORY ...

For every model and mode: kernels, bytes of the arena, bytes that the kernels read and write, modelled cycles, how long
rewriting took, and the measured time; then our kernels beside the nodes of ONNX Runtime's graph with all its
optimisations (saved offline), and what the modes gain over each other. Models that the compiler does not take are
listed with the reason.

All libraries of a model run in one process pinned to one core, in turn: a round times each for at least 0.2 s of CPU
time, and the table gives the median round. Their outputs are compared with ONNX Runtime's, unoptimised.

Models with open dimensions are pinned as `pins.json` beside this file says, by file name. Other modes are compared with
`--mode NAME=FLAGS`, e.g. `--mode chosen= --mode nchw="--layout nchw" --mode nhwc="--layout nhwc"`.

Needs the packages numpy, onnx and onnxruntime.
"""
import argparse, json, os, statistics, sys, tempfile
import onnx
import onnxruntime as ort

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
from native_library import Library, Refused, largest_error, milliseconds, pin_to_core, random_inputs, version

MODES = [("off", "--rewrite off"), ("first-match", "--rewrite first-match"), ("saturate", "--rewrite saturate")]


def pinned(model, flags, description):
    """The model with the inputs that the library has: static shapes, and constants for what was set."""
    proto = onnx.load(model)
    graph = proto.graph
    shapes = {entry["name"]: entry["shape"] for entry in description["inputs"]}
    settings = dict(flags[k + 1].rsplit("=", 1) for k, flag in enumerate(flags) if flag == "--set")
    initialized = {tensor.name for tensor in graph.initializer}
    for entry in list(graph.input):
        kind = entry.type.tensor_type
        if entry.name in shapes:
            kind.shape.CopyFrom(onnx.helper.make_tensor_type_proto(kind.elem_type, shapes[entry.name]).tensor_type.shape)
        elif entry.name in settings:
            value = onnx.helper.make_tensor(entry.name, kind.elem_type, [], [int(settings[entry.name])])
            graph.initializer.append(value)
            graph.input.remove(entry)
        elif entry.name not in initialized:
            raise ValueError(f"input {entry.name} is neither an input of the library nor set")
    del graph.value_info[:]
    return proto


def nodes(graph):
    """Of a graph and of all its branches and bodies."""
    inner = lambda node: [a.g for a in node.attribute if a.HasField("g")] + [g for a in node.attribute for g in a.graphs]
    return sum(1 + sum(nodes(body) for body in inner(node)) for node in graph.node)


def session(proto, directory, level, saved=None):
    path = os.path.join(directory, "pinned.onnx")
    onnx.save(proto, path)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = level
    if saved:
        options.optimized_model_filepath = saved
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


class Measured:
    """One model under one mode."""

    def __init__(self, options, model, flags, directory):
        self.library = Library(options.onnxc, model, flags, options.target, directory)
        memory, kernels = self.library.description["memory"], self.library.description["kernels"]
        rewriting = self.library.description["rewriting"]
        self.kernels = len(kernels)
        self.arena = memory["arena_bytes"]
        self.moved = sum(kernel["bytes"] for kernel in kernels)
        self.macs = self.library.description["macs"]
        self.modelled = rewriting["modelled_cycles"]
        self.complete = rewriting["complete"]
        self.seconds = self.library.stages["rewrite"]
        self.times, self.error = [], float("nan")

    @property
    def time(self):
        return statistics.median(self.times)


class Comparison:
    """One model under all modes, and ONNX Runtime's graph of it."""

    def __init__(self, options, model, pins, directory):
        self.name = os.path.basename(model).removesuffix(".onnx")
        self.modes = {name: Measured(options, model, pins + flags.split(), os.path.join(directory, name))
                      for name, flags in options.mode}
        libraries = [measured.library for measured in self.modes.values()]
        feed = random_inputs(libraries[0].description)
        for library in libraries:
            library.bind(feed)
            library()
        self.peer_nodes = self.compare_with_peer(model, pins, feed, directory)
        for _ in range(options.rounds):
            for measured in self.modes.values():
                measured.times.append(milliseconds(measured.library, 0.2))
        for measured in self.modes.values():
            # What is left are figures: the arenas of many models would fill the memory.
            measured.library = None

    def compare_with_peer(self, model, pins, feed, directory):
        """Holds all outputs to ONNX Runtime's; gives the number of nodes of its optimised graph."""
        description = next(iter(self.modes.values())).library.description
        proto = pinned(model, pins, description)
        plain = session(proto, directory, ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
        expected = plain.run([entry["name"] for entry in description["outputs"]], feed)
        for measured in self.modes.values():
            measured.error = largest_error(measured.library.outputs, expected)
        saved = os.path.join(directory, "optimized.onnx")
        session(proto, directory, ort.GraphOptimizationLevel.ORT_ENABLE_ALL, saved)
        return nodes(onnx.load(saved).graph)


def table(heading, rows):
    marks = ["--:" if title.startswith(">") else "---" for title in heading]
    lines = [[title.lstrip(">") for title in heading], marks, *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def megas(number):
    return f"{number / 1e6:.3f}"


def report(options, comparisons, refused):
    text = f"{version(options.onnxc)} for {options.target}, ONNX Runtime {ort.__version__}, one core, one thread, batch 1; "
    text += f"medians of {options.rounds} interleaved rounds.\n\n"
    rows = [[c.name, mode, str(m.kernels), megas(m.arena), megas(m.moved), megas(m.macs), megas(m.modelled), f"{m.time:.3f}",
             f"{m.seconds:.2f}" + ("" if m.complete else " (cut off)"), f"{m.error:.0e}"]
            for c in comparisons for mode, m in c.modes.items()]
    text += table(["model", "rewriting", ">kernels", ">arena MB", ">moved MB", ">M MACs", ">modelled Mcycles", ">ms",
                   ">rewriting s", ">error of range"], rows)
    first, last = list(dict(options.mode))[0], list(dict(options.mode))[-1]
    text += f"\nKernels ({last}) and the nodes of ONNX Runtime's optimised graph:\n\n"
    rows = [[c.name, str(c.modes[last].kernels), str(c.peer_nodes),
             "no more" if c.modes[last].kernels <= c.peer_nodes else f"{c.modes[last].kernels - c.peer_nodes} more"]
            for c in comparisons]
    text += table(["model", ">kernels", ">ONNX Runtime's nodes", ""], rows)
    for other in [mode for mode, _ in options.mode if mode != last]:
        text += f"\n{last} against {other} (below 1: {last} is better):\n\n"
        rows = []
        for c in comparisons:
            ours, theirs = c.modes[last], c.modes[other]
            of = lambda figure: f"{figure(ours) / max(figure(theirs), 1e-9):.3f}"
            rows.append([c.name, of(lambda m: m.kernels), of(lambda m: m.arena), of(lambda m: m.moved),
                         of(lambda m: m.modelled), of(lambda m: m.time)])
        text += table(["model", ">kernels", ">arena", ">moved", ">modelled", ">time"], rows)
        worse = [c.name for c in comparisons if c.modes[last].modelled > c.modes[other].modelled * (1 + 1e-9)]
        better = [c.name for c in comparisons if c.modes[last].modelled < c.modes[other].modelled * (1 - 1e-9)]
        text += f"\nModelled cycles: lower on {len(better)} of {len(comparisons)}"
        text += f", higher on {', '.join(worse)}.\n" if worse else ", higher on none.\n"
    if refused:
        text += "\nNot compiled:\n\n" + table(["model", "reason"], [[name, why.replace("|", "/")] for name, why in refused])
    return text


def models(places):
    for place in places:
        if os.path.isdir(place):
            yield from (os.path.join(place, name) for name in sorted(os.listdir(place)) if name.endswith(".onnx"))
        else:
            yield place


def mode(text):
    name, separator, flags = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError("write NAME=FLAGS")
    return name, flags


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--onnxc", default=os.environ.get("ONNXC", "onnxc"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--target", default="host")
    parser.add_argument("--core", type=int, default=None)
    parser.add_argument("--mode", type=mode, action="append", help="NAME=FLAGS, instead of the three ways to rewrite")
    parser.add_argument("--pins", default=os.path.join(HERE, "pins.json"), help="flags by model, as JSON")
    parser.add_argument("--markdown", help="where to write the tables, too")
    parser.add_argument("models", nargs="+")
    options = parser.parse_args()
    options.mode = options.mode or MODES
    with open(options.pins) as file:
        pins = json.load(file)
    pin_to_core(options.core)
    comparisons, refused = [], []
    for model in models(options.models):
        name = os.path.basename(model).removesuffix(".onnx")
        print(f"{name} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as directory:
            try:
                comparisons.append(Comparison(options, model, pins.get(name, []), directory))
            except Refused as reason:
                refused.append((name, str(reason)))
    text = report(options, comparisons, refused)
    print(text, end="")
    if options.markdown:
        with open(options.markdown, "w") as file:
            file.write(text)


if __name__ == "__main__":
    main()
