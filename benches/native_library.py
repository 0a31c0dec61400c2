"""Libraries made by onnxc, called from Python and timed: shared by the scripts of this folder.

Each model is compiled, linked into a shared library with `cc`, and run on numpy arrays. Needs the package numpy.
"""
import ctypes, json, os, subprocess, time
import numpy as np


class Refused(Exception):
    """The compiler did not take the model; the message is its reason."""


def onnxc(command, *words):
    """Runs the compiler; gives what it says as JSON."""
    ran = subprocess.run([command, *words, "--format", "json"], capture_output=True, text=True)
    if ran.returncode != 0:
        try:
            problems = json.loads(ran.stdout or ran.stderr)["diagnostics"]
        except ValueError:
            raise Refused((ran.stderr.strip().splitlines() or ["no reason given"])[0]) from None
        message = problems[0]["message"]
        details = [f"{finding['operator']}: {finding['message']}" for finding in problems[0].get("findings", [])]
        raise Refused("; ".join([message, *details[:3]]))
    return json.loads(ran.stdout)


def version(command):
    return subprocess.check_output([command, "--version"], text=True).strip()


def dtype(name):
    """numpy's type for a name as in the description: f32, i8, u8, bool."""
    return np.dtype("bool" if name == "bool" else {"f": "float", "i": "int", "u": "uint"}[name[0]] + name[1:])


def random_inputs(description, seed=0):
    """By name: normally distributed floats, and integers that are valid as an index or a mask alike."""
    rng = np.random.default_rng(seed)
    inputs = {}
    for entry in description["inputs"]:
        kind = dtype(entry["dtype"])
        values = rng.standard_normal(entry["shape"]) if kind.kind == "f" else rng.integers(0, 2, entry["shape"])
        inputs[entry["name"]] = np.ascontiguousarray(values.astype(kind))
    return inputs


def aligned(size, alignment=64):
    raw = np.zeros(size + alignment, np.uint8)
    start = -raw.ctypes.data % alignment
    return raw[start:start + size]


RUNTIME = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../runtime")


# Their threads wait in them until the process ends.
POOLS = []


class Threads(ctypes.Structure):
    """`struct onnxc_threads`."""
    _fields_ = [("parallel_for", ctypes.c_void_p), ("pool", ctypes.c_void_p)]


class Library:
    """A model compiled for this machine; calling it computes `outputs` from the inputs that were bound."""

    def __init__(self, command, model, flags, target, directory, threads=1):
        flags = [*flags, "--threads", str(threads)]
        started = time.time()
        compiled = onnxc(command, "compile", model, "--target", target, "-o", directory, "--name", "net", *flags)
        self.seconds = time.time() - started
        self.stages = {stage["stage"]: stage["seconds"] for stage in compiled["stages"]}
        self.description = compiled["metadata"]
        shared = os.path.join(directory, "net.so")
        pool = os.path.join(RUNTIME, "threads")
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-pthread", "-I", os.path.join(RUNTIME, "include"), "-I", pool,
                        "-o", shared, os.path.join(pool, "onnxc_pool.c"), "-Wl,--whole-archive",
                        os.path.join(directory, "libnet.a"), "-Wl,--no-whole-archive"], check=True)
        loaded = ctypes.CDLL(shared)
        self.call, self.threads = loaded.net_run, None
        if self.description["threads"] > 1:
            self.call, self.threads = loaded.net_run_threads, self.start_pool(loaded, threads)
        self.outputs = [np.zeros(entry["shape"], dtype(entry["dtype"])) for entry in self.description["outputs"]]
        self.arena = aligned(self.description["memory"]["arena_bytes"])

    def start_pool(self, loaded, threads):
        """A pool that lasts as long as this process; gives what the function takes beside the arena."""
        POOLS.append(aligned(1 << 16))
        pool = POOLS[-1].ctypes.data_as(ctypes.c_void_p)
        if loaded.onnxc_pool_start(pool, threads) != 0:
            raise OSError("the pool's threads cannot be started")
        loaded.onnxc_pool_threads.restype = Threads
        self.hook = loaded.onnxc_pool_threads(pool)
        return ctypes.byref(self.hook)

    def bind(self, inputs):
        self.inputs = [np.ascontiguousarray(inputs[entry["name"]]) for entry in self.description["inputs"]]
        pointers = lambda arrays: (ctypes.c_void_p * max(1, len(arrays)))(*[array.ctypes.data for array in arrays])
        self.arguments = (pointers(self.inputs), pointers(self.outputs), self.arena.ctypes.data_as(ctypes.c_void_p))
        if self.threads is not None:
            self.arguments += (self.threads,)

    def __call__(self):
        self.call(*self.arguments)


def pin_to_core(core=None):
    """Keeps this process on one core: the given one, or the last that it may use."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0)) if core is None else core})


def milliseconds(run, seconds=0.3, clock=time.process_time):
    """Of one run, over as many as fit into `seconds`; CPU time, unless another clock is given."""
    count, started = 0, clock()
    while (spent := clock() - started) < seconds:
        run()
        count += 1
    return spent / count * 1e3


def largest_error(outputs, expected):
    """Over all outputs, relative to the range of each expected one."""
    wide = lambda array: np.asarray(array).astype(np.float64)
    pairs = [(wide(a), wide(b)) for a, b in zip(outputs, expected) if np.size(a)]
    return max((float(np.max(np.abs(a - b)) / max(1e-30, np.ptp(b), np.max(np.abs(b)))) for a, b in pairs), default=0.0)
