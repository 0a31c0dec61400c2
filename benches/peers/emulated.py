#!/usr/bin/env python3
"""Counts the instructions of one inference on a machine that isn't here: of onnxc's library, and of a peer on one thread.

    python3 emulated.py [--onnxc PATH] [--target cortex-a53] [--peer xnnpack] [--static-cycles PATH]
        ROOT [--site SITE] MODEL[:ONNXC FLAG ...] ...

Both run under QEMU with the target's CPU. onnxc's count is that of its command `bench`: the library's function alone. The
peer's, ONNX Runtime or XNNPACK, is that of its call from Python, the median of --runs inferences after --warm-up others;
the line under the table tells what of it a model of one Relu takes, which the numbers above still have in them. The
ratio is that of the peer to onnxc (above 1: onnxc takes fewer). Instructions are not time: the count is the same whether
memory keeps up or not, and how wide the processor is. With --static-cycles, the program that
`cargo build --release -p machines --example static_cycles` makes, a second table has what the instructions of the last
inference take by LLVM's model of the target's processor (docs/benchmarks.md).

ROOT is a folder with Debian's Python for the target, and SITE one with Python's packages, where these are not Debian's.
Here they are made on Debian 12, with nothing installed. For AArch64, with ONNX Runtime's own build of PyPI:

    mkdir -p lists/partial cache/archives/partial packages root
    arm64="-o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State::Lists=$PWD/lists -o Dir::Cache=$PWD/cache"
    apt-get $arm64 update
    (cd packages && apt-get $arm64 download python3.11-minimal libpython3.11-minimal libpython3.11-stdlib \\
        libc6 libstdc++6 libgcc-s1 zlib1g libexpat1 libffi8)
    for package in packages/*.deb; do dpkg -x $package root; done
    pip install --target site --no-deps --only-binary=:all: --platform manylinux_2_28_aarch64 --python-version 3.11 \\
        onnxruntime numpy

For RISC-V, with what Debian 13 has of it:

    mkdir -p lists/partial cache/archives/partial root
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main" > sources
    riscv64="-o APT::Architecture=riscv64 -o APT::Architectures=riscv64 -o Dir::State::Lists=$PWD/lists
        -o Dir::Cache=$PWD/cache -o Dir::Etc::SourceList=$PWD/sources -o Dir::Etc::SourceParts=/none
        -o Dir::State::Status=/dev/null"
    apt-get $riscv64 update
    apt-get $riscv64 install --yes --download-only --no-install-recommends \\
        python3-onnxruntime python3-onnx libxnnpack0.20241108
    for package in cache/archives/*.deb; do dpkg -x $package root; done
    ln -s usr/lib root/lib

Needs besides these QEMU's user mode with plugins (7 to 8), cc, for XNNPACK on RISC-V riscv64-linux-gnu-gcc, and of Python
the packages numpy and onnx.
"""
import argparse, glob, importlib, json, math, os, pickle, statistics, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..")]
from inference import Job
from native_library import Library, Refused, largest_error, onnxc, random_inputs, version

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

# By target: architecture, QEMU's name of its CPU, and what Linux says of it.
MACHINES = {target: ("aarch64", target, cpuinfo) for target, cpuinfo in PROCESSORS.items()}
MACHINES["rv64gcv"] = ("riscv64", "rv64,v=true,vlen=128,elen=64,vext_spec=v1.0", "isa : rv64imafdcv\n")

# A peer that is further off, as a part of an output's range, computes something else.
MOST_ERROR = 1e-3

# By column: file in runtimes/.
PEERS = {"ONNX Runtime": "onnxruntime", "XNNPACK": "xnnpack"}

# QEMU before 8 does not tell programs that RISC-V's CPU has vectors, which XNNPACK asks the C library.
TELL_VECTORS = """
#define _GNU_SOURCE
#include <dlfcn.h>
unsigned long getauxval(unsigned long kind) {
    unsigned long (*next)(unsigned long) = dlsym(RTLD_NEXT, "getauxval");
    return next(kind) | (kind == 16 ? 1ul << ('V' - 'A') : 0);
}
"""

# Counts between two calls of getppid, number 173 on all of these, which neither Python nor a peer has another use for.
PLUGIN = os.path.join(HERE, "../../compiler/machines/plugin/count.c")
GETPPID = 173


class Failed(Exception):
    """The peer did not run the model; the message is the reason."""


def emulated(facts):
    """The process under QEMU: runs the model again and again, with a call of getppid between."""
    job = Job(facts)
    version, run = importlib.import_module(f"runtimes.{job.runtime}").load(job)
    os.getppid()
    for _ in range(job.runs):
        outputs = run()
        os.getppid()
    with open(job.outputs, "wb") as file:
        pickle.dump([output.copy() for output in outputs], file)
    print(version)


class Emulator:
    """QEMU with one CPU and the plugin, and the Python in it."""

    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.plugin = os.path.join(folder, "plugin.so")
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", PLUGIN, "-o", self.plugin], check=True)
        pythons = sorted(glob.glob(os.path.join(options.root, "usr/bin/python3.*[0-9]")))
        if not pythons:
            raise Failed(f"{options.root} has no usr/bin/python3.*")
        architecture, cpu, cpuinfo = MACHINES[options.target]
        # QEMU looks for every file that the program opens in this folder first.
        seen = os.path.join(folder, "root")
        os.makedirs(os.path.join(seen, "proc"))
        for name in set(os.listdir(options.root)) - {"proc"}:
            os.symlink(os.path.join(options.root, name), os.path.join(seen, name))
        with open(os.path.join(seen, "proc/cpuinfo"), "w") as file:
            for core in range(os.cpu_count()):
                file.write(f"processor\t: {core}\n{cpuinfo}\n")
        self.counts, self.blocks = (os.path.join(folder, name) for name in ("counts", "blocks"))
        plugin = f"{self.plugin},call={GETPPID},out={self.counts}"
        if options.static_cycles:
            plugin += f",blocks={self.blocks}"
        # Where Debian's numpy has its linear algebra.
        libraries = f"/usr/lib/{architecture}-linux-gnu"
        told = [f"LD_LIBRARY_PATH={libraries}/blas:{libraries}/lapack"]
        if options.peer == "XNNPACK" and architecture == "riscv64":
            told.append(f"LD_PRELOAD={self.tell_vectors()}")
        self.emulator = f"qemu-{architecture}"
        self.command = [self.emulator, "-L", seen, "-cpu", cpu, *(word for one in told for word in ("-E", one)),
                        "-plugin", plugin, pythons[-1], os.path.abspath(__file__)]

    def tell_vectors(self):
        source, library = (os.path.join(self.folder, f"vectors.{kind}") for kind in ("c", "so"))
        with open(source, "w") as file:
            file.write(TELL_VECTORS)
        subprocess.run(["riscv64-linux-gnu-gcc", "-shared", "-fPIC", source, "-o", library], check=True)
        return library

    def measure(self, model, inputs, expected):
        """Instructions of one inference, its static cycles if they are wanted, and the peer's version."""
        options, pickled, outputs = self.options, *(os.path.join(self.folder, name) for name in ("inputs", "outputs"))
        with open(pickled, "wb") as file:
            pickle.dump(inputs, file)
        job = dict(runtime=PEERS[options.peer], model=os.path.abspath(model), inputs=pickled, outputs=outputs,
                   threads=1, runs=options.warm_up + options.runs)
        site = options.site or os.path.join(options.root, "usr/lib/python3/dist-packages")
        environment = dict(os.environ, PYTHONPATH=site, PYTHONHASHSEED="0", OPENBLAS_NUM_THREADS="1")
        ran = subprocess.run([*self.command, "--emulated", json.dumps(job)], env=environment, capture_output=True, text=True)
        if ran.returncode != 0:
            raise Failed((ran.stderr.strip().splitlines() or [f"its process ended with status {ran.returncode}"])[-1])
        with open(outputs, "rb") as file:
            error = largest_error(pickle.load(file), expected)
        if not error <= MOST_ERROR:
            raise Failed(f"its outputs are {error:.0e} of their range away from those of onnxc on this machine")
        with open(self.counts) as file:
            counts = [int(line) for line in file]
        # Not the mean: a thread of the peer that has no part in inferences wakes during a few of them.
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


def overhead(emulator, folder):
    """What an inference takes in which next to nothing is computed."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper

    tensor = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])
    node = helper.make_node("Relu", ["x"], ["y"])
    graph = helper.make_graph([node], "relu", [tensor("x")], [tensor("y")])
    path = os.path.join(folder, "relu.onnx")
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    one = np.ones(1, np.float32)
    return emulator.measure(path, {"x": one}, [one])


def main():
    if sys.argv[1:2] == ["--emulated"]:
        return emulated(json.loads(sys.argv[2]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--onnxc", default=os.environ.get("ONNXC", "onnxc"), help="the command [default: $ONNXC, or onnxc]")
    parser.add_argument("--target", choices=MACHINES, default="cortex-a53")
    parser.add_argument("--peer", type=str.lower, choices=PEERS.values(), default="onnxruntime")
    parser.add_argument("--static-cycles", metavar="PATH", type=os.path.abspath, help="tell static cycles, too, by this program")
    parser.add_argument("--warm-up", type=int, default=5, help="inferences that are not counted [default: 5]")
    parser.add_argument("--runs", type=int, default=20, help="inferences that are counted [default: 20]")
    parser.add_argument("root", metavar="ROOT", type=os.path.abspath)
    parser.add_argument("--site", type=os.path.abspath, help="a folder of Python's packages [default: Debian's in ROOT]")
    parser.add_argument("models", nargs="+", metavar="MODEL[:FLAGS]")
    options = parser.parse_args()
    options.peer = next(name for name, runtime in PEERS.items() if runtime == options.peer)

    units = ["instructions"] + (["cycles"] if options.static_cycles else [])
    reasons, rows = [], []
    with tempfile.TemporaryDirectory() as folder:
        try:
            emulator = Emulator(options, folder)
            *least, runtime = overhead(emulator, folder)
        except Failed as reason:
            sys.exit(f"{options.peer} does not run under QEMU: {reason}")
        for spec in options.models:
            model, _, flags = spec.partition(":")
            name, flags, ours, theirs = os.path.basename(model).removesuffix(".onnx"), flags.split(), None, None
            try:
                more = ["--cycles"] if options.static_cycles else []
                ours = onnxc(options.onnxc, "bench", model, "--target", options.target, *more, *flags)
                here = Library(options.onnxc, model, flags, "host", os.path.join(folder, name))
                inputs = random_inputs(here.description)
                here.bind(inputs)
                here()
                theirs = dict(zip(units, emulator.measure(model, inputs, here.outputs)))
            except (Refused, Failed) as reason:
                reasons.append(f"{'onnxc' if ours is None else options.peer} on {name}: {reason}")
            rows.append((name, ours or {}, theirs or {}))
            print(name, *(f"{unit} {rows[-1][1].get(unit)} {rows[-1][2].get(unit)}" for unit in units),
                  file=sys.stderr, flush=True)
    for unit, nothing in zip(units, least):
        table(unit, options.peer, rows)
        print(f"\n{unit.capitalize()} of one inference, one thread, {options.target}; "
              f"a Relu of one number takes {options.peer} {nothing:,}.\n")
    print(f"{version(options.onnxc)}; {runtime}; {version(emulator.emulator).splitlines()[0]}.\n")
    for reason in reasons:
        print(f"- {reason}")


def table(unit, peer, rows):
    print(f"| {unit} | onnxc | {peer} | ratio |\n|---|--:|--:|--:|")
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
