#!/usr/bin/env python3
"""Times libraries made by onnxc against other runtimes on this machine: same model, same inputs, batch 1.

    python3 compare.py [--onnxc PATH] [--threads N] [--precision bf16] MODEL[:ONNXC FLAG ...] ...

Each runtime has a process of its own, pinned to the same --threads cores, and all but the one that is being timed are
stopped. They take turns: a round times each for at least 0.3 s, and the table gives the best round of each in
milliseconds of one inference, of the process's CPU time with one thread, of wall time with more. The ratio is that of
the best float32 peer to onnxc (above 1: onnxc is faster); with `--precision bf16`, which onnxc gets as a flag, it is
that of OpenVINO as it runs by default. The table is Markdown; the lines under it say what was not run and why.

Needs numpy, and of the peers those that there are: onnxruntime, openvino, MNN, ncnn with pnnx, tract,
iree-base-compiler[onnx] with iree-base-runtime, all by pip under these names.
"""
import argparse, json, math, os, pickle, shutil, signal, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
from native_library import largest_error, version

# Column: file in runtimes/, and the precision that it is asked for ("default": what it chooses itself).
PEERS = {
    "onnxruntime": ("onnxruntime", "f32"),
    "openvino": ("openvino", "f32"),
    "openvino default": ("openvino", "default"),
    "mnn": ("mnn", "f32"),
    "ncnn": ("ncnn", "f32"),
    "tract": ("tract", "f32"),
    "iree": ("iree", "f32"),
}

# A peer that is further off, as a part of an output's range, computes something else.
MOST_ERROR = {"f32": 1e-2, "default": 1e-1}


class Failed(Exception):
    """A runtime did not take the model; the message is its reason."""


class Process:
    """One runtime with one model loaded, stopped unless it is asked something."""

    def __init__(self, job):
        self.job = job
        log = os.path.join(job["directory"], "log")
        with open(log, "w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, os.path.join(HERE, "inference.py"), json.dumps(job)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            self.about = self.answer()
        except Failed:
            self.close()
            raise

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise Failed(f"its process ended with status {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"])
        self.process.send_signal(signal.SIGSTOP)
        return answer

    def milliseconds(self, seconds):
        self.process.send_signal(signal.SIGCONT)
        print(seconds, file=self.process.stdin, flush=True)
        return self.answer()["milliseconds"]

    def outputs(self):
        with open(os.path.join(self.job["directory"], "outputs"), "rb") as file:
            return pickle.load(file)

    def close(self):
        self.process.kill()
        self.process.wait()


def processes(options, model, flags, folder):
    """By column those that run, onnxc first; and for the others the reason."""
    job = lambda column, runtime, precision, **more: dict(
        runtime=runtime, model=os.path.abspath(model), precision=precision, threads=options.threads,
        cores=options.cores, directory=os.path.join(folder, column), inputs=os.path.join(folder, "inputs"), **more)
    running, failed = {}, {}
    chosen = {column: peer for column, peer in PEERS.items() if column in options.peers}
    jobs = [job("onnxc", "onnxc", options.precision, command=options.onnxc, target=options.target, flags=flags)]
    jobs += [job(column, *peer) for column, peer in chosen.items()]
    for job in jobs:
        column = os.path.basename(job["directory"])
        os.mkdir(job["directory"])
        try:
            running[column] = Process(job)
        except Failed as reason:
            failed[column] = str(reason)
            if column == "onnxc":
                break
    return running, failed


def measure(options, model, flags):
    """By column milliseconds, the processes' own words, and the reason of each that did not run; onnxc's error."""
    with tempfile.TemporaryDirectory() as folder:
        running, failed = processes(options, model, flags, folder)
        try:
            error = held_together(running, failed)
            best = {column: math.inf for column in running}
            for _ in range(options.rounds):
                for column in list(best):
                    try:
                        best[column] = min(best[column], running[column].milliseconds(options.seconds))
                    except (Failed, OSError) as reason:
                        failed[column] = str(reason)
                        del best[column]
            return best, {column: running[column].about for column in best}, failed, error
        finally:
            for process in running.values():
                process.close()


def held_together(running, failed):
    """Takes out peers whose outputs are not those of the first that runs; gives how far onnxc's are from them."""
    peers = [column for column in running if column != "onnxc"]
    if not peers or "onnxc" not in running:
        return None
    expected = running[peers[0]].outputs()
    for column in peers[1:]:
        error = distance(running[column].outputs(), expected)
        if not error <= MOST_ERROR[PEERS[column][1]]:
            failed[column] = f"its outputs are {error:.0e} of their range away from those of {peers[0]}"
            running.pop(column).close()
    return distance(running["onnxc"].outputs(), expected)


def distance(outputs, expected):
    """Of the range of the expected outputs; some runtimes leave axes of extent 1 out."""
    if [output.size for output in outputs] != [output.size for output in expected]:
        return math.inf
    return largest_error([output.reshape(-1) for output in outputs], [output.reshape(-1) for output in expected])


def ratio(options, best):
    """Of the best peer that onnxc is held against, if there is any; and its name."""
    wanted = "f32" if options.precision == "f32" else "default"
    rivals = {column: best[column] for column in best if column in PEERS and PEERS[column][1] == wanted}
    if "onnxc" not in best or not rivals:
        return None, ""
    fastest = min(rivals, key=rivals.get)
    return rivals[fastest] / best["onnxc"], fastest


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--onnxc", default=os.environ.get("ONNXC", "onnxc"), help="the command [default: $ONNXC, or onnxc]")
    parser.add_argument("--target", default="host")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--peers", default=",".join(PEERS), help="columns, by commas [default: all]")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each turn, at least")
    parser.add_argument("--cores", help="which to pin to, by commas [default: the last]")
    parser.add_argument("models", nargs="+", metavar="MODEL[:FLAGS]")
    options = parser.parse_args()
    # Each process has a folder of its own.
    options.onnxc = os.path.abspath(shutil.which(options.onnxc) or parser.error(f"no command {options.onnxc}"))
    options.peers = options.peers.split(",")
    unknown = [column for column in options.peers if column not in PEERS]
    if unknown:
        parser.error(f"no peer {', '.join(unknown)}; there are {', '.join(PEERS)}")
    usable = sorted(os.sched_getaffinity(0))
    options.cores = [int(core) for core in options.cores.split(",")] if options.cores else usable[-options.threads:]
    if len(options.cores) < options.threads:
        parser.error(f"{options.threads} threads on {len(options.cores)} cores")

    columns = ["onnxc", *(column for column in PEERS if column in options.peers)]
    print("| model |" + "".join(f" {column} |" for column in columns) + " ratio | against | compile s | max error |")
    print("|---|" + "--:|" * len(columns) + "--:|---|--:|--:|", flush=True)
    versions, reasons, ratios = {"onnxc": version(options.onnxc)}, [], []
    for spec in options.models:
        model, _, flags = spec.partition(":")
        name = os.path.basename(model).removesuffix(".onnx")
        best, about, failed, error = measure(options, model, flags.split())
        for column, words in about.items():
            versions[column] = words["version"]
        reasons += [f"{column} on {name}: {reason}" for column, reason in failed.items()]
        gain, against = ratio(options, best)
        if gain is not None:
            ratios.append(gain)
        cells = [f"{best[column]:.3f}" if column in best else "" for column in columns]
        cells += ["" if gain is None else f"{gain:.2f}", against]
        cells += [f"{about['onnxc']['compile_seconds']:.1f}" if "onnxc" in about else "", "" if error is None else f"{error:.0e}"]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    if ratios:
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        print("| geometric mean |" + " |" * len(columns) + f" {mean:.2f} | | | |")
    kind = "CPU" if options.threads == 1 else "wall"
    print(f"\nMilliseconds of {kind} time, {options.threads} thread(s), best of {options.rounds} rounds; {processor()}.")
    print("; ".join(versions.values()) + ".\n")
    for reason in dict.fromkeys(reasons):
        print(f"- {reason}")


def processor():
    with open("/proc/cpuinfo") as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return names[0] if names else "an unknown processor"


if __name__ == "__main__":
    main()
