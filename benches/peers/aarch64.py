#!/usr/bin/env python3
"""Counts the aarch64 instructions of one inference: of onnxc's library, and of ONNX Runtime on one thread.

    python3 aarch64.py [--onnxc PATH] [--target cortex-a53] [--static-cycles PATH] ROOT SITE MODEL[:ONNXC FLAG ...] ...

Both run under qemu-aarch64 with the target's CPU, so that no such machine is needed. onnxc's count is that of its
command `bench`: the library's function alone. ONNX Runtime's is that of `session.run` in Python, the median of --runs
inferences after --warm-up others; the line under the table tells what of it a model of one Identity takes, which the
numbers above still have in them. The ratio is that of ONNX Runtime to onnxc (above 1: onnxc takes fewer). Instructions
are not time: the count is the same whether memory keeps up or not, and how wide the processor is. With --static-cycles,
the program that `cargo build --release -p machines --example static_cycles` makes, a second table has what the
instructions of the last inference take by LLVM's model of the target's processor (docs/benchmarks.md).

ROOT is a folder with Debian's Python for arm64, and SITE one with ONNX Runtime's and numpy's wheels for it. Here they
are made on Debian 12, with nothing installed:

    mkdir -p lists/partial cache/archives/partial packages root
    arm64="-o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State::Lists=$PWD/lists -o Dir::Cache=$PWD/cache"
    apt-get $arm64 update
    (cd packages && apt-get $arm64 download python3.11-minimal libpython3.11-minimal libpython3.11-stdlib \\
        libc6 libstdc++6 libgcc-s1 zlib1g libexpat1 libffi8)
    for package in packages/*.deb; do dpkg -x $package root; done
    pip install --target site --no-deps --only-binary=:all: --platform manylinux_2_28_aarch64 --python-version 3.11 \\
        onnxruntime numpy

Needs besides these qemu-aarch64 with plugins (7 to 8), cc, and of Python the packages numpy and onnx.
"""
import argparse, glob, json, math, os, pickle, shutil, statistics, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..")]
from inference import Job
from native_library import Refused, onnxc, random_inputs, version

# What Linux says of each target's processor. QEMU's user mode shows programs the /proc/cpuinfo of the machine that it
# runs on, in which ONNX Runtime finds no processor that it knows: it then chooses its kernels blindly, or crashes.
PROCESSORS = {
    "cortex-a53": """\
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x0
CPU part	: 0xd03
CPU revision	: 4
""",
    "cortex-a72": """\
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x0
CPU part	: 0xd08
CPU revision	: 3
""",
    "neoverse-n1": """\
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x3
CPU part	: 0xd0c
CPU revision	: 1
""",
}

# Counts between two calls of getppid, number 173 on aarch64, which neither Python nor ONNX Runtime has another use for.
PLUGIN = os.path.join(HERE, "../../compiler/machines/plugin/count.c")
GETPPID = 173


class Failed(Exception):
    """ONNX Runtime did not run the model; the message is the reason."""


def emulated(facts):
    """The process under QEMU: runs the model again and again, with a call of getppid between."""
    from runtimes.onnxruntime import load

    job = Job(facts)
    version, run = load(job)
    os.getppid()
    for _ in range(job.runs):
        run()
        os.getppid()
    print(version)


class Emulator:
    """qemu-aarch64 with one CPU and the plugin, and the arm64 Python in it."""

    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.plugin = os.path.join(folder, "plugin.so")
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", PLUGIN, "-o", self.plugin], check=True)
        pythons = sorted(glob.glob(os.path.join(options.root, "usr/bin/python3.*[0-9]")))
        if not pythons:
            raise Failed(f"{options.root} has no usr/bin/python3.*")
        # QEMU looks for every file that the program opens in this folder first.
        seen = os.path.join(folder, "root")
        os.makedirs(os.path.join(seen, "proc"))
        for name in set(os.listdir(options.root)) - {"proc"}:
            os.symlink(os.path.join(options.root, name), os.path.join(seen, name))
        with open(os.path.join(seen, "proc/cpuinfo"), "w") as file:
            for core in range(os.cpu_count()):
                file.write(f"processor\t: {core}\n{PROCESSORS[options.target]}\n")
        self.counts, self.blocks = (os.path.join(folder, name) for name in ("counts", "blocks"))
        plugin = f"{self.plugin},call={GETPPID},out={self.counts}"
        if options.static_cycles:
            plugin += f",blocks={self.blocks}"
        self.command = ["qemu-aarch64", "-L", seen, "-cpu", options.target,
                        "-plugin", plugin, pythons[-1], os.path.abspath(__file__)]

    def measure(self, model, inputs):
        """Instructions of one inference, its static cycles if they are wanted, and ONNX Runtime's version."""
        options, pickled = self.options, os.path.join(self.folder, "inputs")
        with open(pickled, "wb") as file:
            pickle.dump(inputs, file)
        job = dict(model=os.path.abspath(model), inputs=pickled, threads=1, runs=options.warm_up + options.runs)
        environment = dict(os.environ, PYTHONPATH=options.site, PYTHONHASHSEED="0", OPENBLAS_NUM_THREADS="1")
        ran = subprocess.run([*self.command, "--emulated", json.dumps(job)], env=environment, capture_output=True, text=True)
        if ran.returncode != 0:
            raise Failed((ran.stderr.strip().splitlines() or [f"its process ended with status {ran.returncode}"])[-1])
        with open(self.counts) as file:
            counts = [int(line) for line in file]
        # Not the mean: a thread of ONNX Runtime that has no part in inferences wakes during a few of them.
        count, version = round(statistics.median(counts[options.warm_up:])), ran.stdout.strip().splitlines()[-1]
        return count, self.cycles(), version

    def cycles(self):
        """Of the last inference."""
        if not self.options.static_cycles:
            return None
        ran = subprocess.run([self.options.static_cycles, self.options.target, self.blocks], capture_output=True, text=True)
        if ran.returncode != 0:
            raise Failed(ran.stderr.strip())
        return int(ran.stdout.split()[0])


def description(options, model, flags, folder):
    """The library's, for its inputs."""
    output = os.path.join(folder, "library")
    compiled = onnxc(options.onnxc, "compile", model, "--target", options.target, "-o", output, "--name", "net", *flags)
    shutil.rmtree(output)
    return compiled["metadata"]


def overhead(emulator, folder):
    """What an inference takes in which next to nothing is computed."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper

    tensor = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])
    node = helper.make_node("Identity", ["x"], ["y"])
    graph = helper.make_graph([node], "identity", [tensor("x")], [tensor("y")])
    path = os.path.join(folder, "identity.onnx")
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return emulator.measure(path, {"x": np.ones(1, np.float32)})


def main():
    if sys.argv[1:2] == ["--emulated"]:
        return emulated(json.loads(sys.argv[2]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--onnxc", default=os.environ.get("ONNXC", "onnxc"), help="the command [default: $ONNXC, or onnxc]")
    parser.add_argument("--target", choices=PROCESSORS, default="cortex-a53")
    parser.add_argument("--static-cycles", metavar="PATH", type=os.path.abspath, help="tell static cycles, too, by this program")
    parser.add_argument("--warm-up", type=int, default=5, help="inferences that are not counted [default: 5]")
    parser.add_argument("--runs", type=int, default=20, help="inferences that are counted [default: 20]")
    parser.add_argument("root", metavar="ROOT", type=os.path.abspath)
    parser.add_argument("site", metavar="SITE", type=os.path.abspath)
    parser.add_argument("models", nargs="+", metavar="MODEL[:FLAGS]")
    options = parser.parse_args()

    units = ["instructions"] + (["cycles"] if options.static_cycles else [])
    reasons, rows = [], []
    with tempfile.TemporaryDirectory() as folder:
        try:
            emulator = Emulator(options, folder)
            *least, runtime = overhead(emulator, folder)
        except Failed as reason:
            sys.exit(f"ONNX Runtime does not run under QEMU: {reason}")
        for spec in options.models:
            model, _, flags = spec.partition(":")
            name, flags, ours, theirs = os.path.basename(model).removesuffix(".onnx"), flags.split(), None, None
            try:
                more = ["--cycles"] if options.static_cycles else []
                ours = onnxc(options.onnxc, "bench", model, "--target", options.target, *more, *flags)
                inputs = random_inputs(description(options, model, flags, folder))
                theirs = dict(zip(units, emulator.measure(model, inputs)))
            except (Refused, Failed) as reason:
                reasons.append(f"{'onnxc' if ours is None else 'ONNX Runtime'} on {name}: {reason}")
            rows.append((name, ours or {}, theirs or {}))
            print(name, *(f"{unit} {rows[-1][1].get(unit)} {rows[-1][2].get(unit)}" for unit in units),
                  file=sys.stderr, flush=True)
    for unit, nothing in zip(units, least):
        table(unit, rows)
        print(f"\n{unit.capitalize()} of one inference, one thread, {options.target}; "
              f"an Identity of one number takes ONNX Runtime {nothing:,}.\n")
    print(f"{version(options.onnxc)}; {runtime}; {version('qemu-aarch64').splitlines()[0]}.\n")
    for reason in reasons:
        print(f"- {reason}")


def table(unit, rows):
    print(f"| {unit} | onnxc | ONNX Runtime | ratio |\n|---|--:|--:|--:|")
    ratios = []
    for name, *both in rows:
        ours, theirs = (counts.get(unit) for counts in both)
        if ours and theirs:
            ratios.append(theirs / ours)
        cells = ["" if count is None else f"{count:,}" for count in (ours, theirs)]
        print(f"| {name} | {' | '.join(cells)} | {f'{ratios[-1]:.2f}' if ours and theirs else ''} |")
    if ratios:
        print(f"| geometric mean | | | {math.exp(sum(map(math.log, ratios)) / len(ratios)):.2f} |")


if __name__ == "__main__":
    main()
