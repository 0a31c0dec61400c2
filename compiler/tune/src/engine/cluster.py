"""Spreads trials over the machines of a running cluster, for `onnxc tune --engine ray|hq`.

    cluster.py ray|hq WORDS     WORDS: the command that runs a trial, as a JSON list
    cluster.py measure          on a machine of the cluster, where HyperQueue starts this file itself

One JSON value a line: {"start": {"id", "trial"}} and {"cancel": {"id"}} come in; {"ready": {"cores"}}, then
{"ended": {"id", "status", "stdout", "stderr"}}, {"lost": {"id", "why"}} or {"gone": {"why"}} go out. When the input ends,
what is under way is cancelled. No cluster is started or stopped here.
"""

import fcntl
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time


def own_cores():
    """The cores that this trial may use, and what must stay open so that no other trial of this machine takes them."""
    for core in sorted(os.sched_getaffinity(0)):
        try:
            lock = open(os.path.join(tempfile.gettempdir(), f"onnxc-core-{core}.lock"), "a")
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return {core}, lock
        except OSError:
            lock.close()
    return os.sched_getaffinity(0), None


def measure(words, trial, wanted=None):
    """Runs a trial, on a core of its own, while the file `wanted` is there; what the answer to its id will say."""
    all_cores = os.sched_getaffinity(0)
    cores, lock = own_cores()
    with tempfile.TemporaryDirectory() as folder:
        place = lambda name: os.path.join(folder, name)
        with open(place("trial"), "w") as file:
            file.write(trial)
        named = any("{trial}" in word for word in words)
        words = [word.replace("{trial}", place("trial")) for word in words]
        with open(place("trial")) as given, open(place("stdout"), "w") as out, open(place("stderr"), "w") as err:
            try:
                os.sched_setaffinity(0, cores)
            except OSError:
                pass  # Not its cores to choose from: as it is.
            try:
                child = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL if named else given,
                    stdout=out,
                    stderr=err,
                    start_new_session=True,
                )
            except OSError as error:
                where = f"`{words[0]}` can't be started on {socket.gethostname()}: {error.strerror}"
                return {"gone": {"why": f"{where}; --runner says how a trial is run there"}}
            finally:
                os.sched_setaffinity(0, all_cores)
        try:
            while child.poll() is None:
                if wanted and not os.path.exists(wanted):
                    return {"lost": {"why": "it was cancelled"}}
                time.sleep(0.005)
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            if lock:
                lock.close()
        said = {name: open(place(name), errors="replace").read() for name in ("stdout", "stderr")}
        return {"ended": {"status": child.returncode, **said}}


class Ray:
    PACKAGE = "ray"
    START = "start a cluster with `ray start --head`, or set RAY_ADDRESS to one"

    def __init__(self, words):
        import ray

        self.ray, self.words = ray, words
        address = os.environ.get("RAY_ADDRESS") or "auto"
        host, colon, port = address.rpartition(":")
        if colon and "/" not in address:
            # Ray itself tries for minutes.
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", configure_logging=False)
        self.cores = int(ray.cluster_resources().get("CPU", 0))
        # The task of a machine that goes away is run again on another.
        self.measure = ray.remote(num_cpus=1, max_retries=3)(measure)
        self.tasks = {}

    def start(self, id, trial):
        self.tasks[id] = self.measure.remote(self.words, trial)

    def cancel(self, id):
        task = self.tasks.pop(id, None)
        if task:
            self.ray.cancel(task)

    def answers(self):
        if not self.tasks:
            return
        ids = {task: id for id, task in self.tasks.items()}
        for task in self.ray.wait(list(ids), num_returns=len(ids), timeout=0)[0]:
            del self.tasks[ids[task]]
            try:
                yield ids[task], self.ray.get(task)
            except self.ray.exceptions.RayError as error:
                yield ids[task], {"lost": {"why": f"Ray lost the trial: {error}"}}

    def close(self):
        for id in list(self.tasks):
            self.cancel(id)
        self.ray.shutdown()


class HyperQueue:
    """A job per trial. The answer comes as a file beside this one: HyperQueue hands on no output. It cannot be asked from
    here to cancel a job either: jobs end when the file that says that they are wanted is gone."""

    PACKAGE = "hyperqueue"
    START = "start one with `hq server start`, or set HQ_SERVER_DIR to the directory of one"

    def __init__(self, words):
        import hyperqueue
        from hyperqueue.ffi.protocol import ResourceRequest

        self.hyperqueue, self.words = hyperqueue, words
        self.client = hyperqueue.Client(os.environ.get("HQ_SERVER_DIR"))
        self.core = ResourceRequest(cpus=1)
        self.cores = None
        self.jobs = {}
        self.asked = time.monotonic()

    def place(self, id, kind):
        return os.path.join(os.path.dirname(__file__), f"{id}.{kind}")

    def start(self, id, trial):
        wanted = self.place(id, "wanted")
        open(wanted, "w").close()
        given = {"words": self.words, "trial": trial, "wanted": wanted, "answer": self.place(id, "answer")}
        job = self.hyperqueue.Job(name="onnxc trial")
        job.program(
            [sys.executable, __file__, "measure"],
            stdin=json.dumps(given),
            stdout=None,
            stderr=None,
            resources=self.core,
        )
        self.jobs[id] = self.client.submit(job).id

    def cancel(self, id):
        if self.jobs.pop(id, None) is not None:
            os.remove(self.place(id, "wanted"))

    def answers(self):
        failed = {}
        if self.jobs and time.monotonic() > self.asked + 1:
            self.asked = time.monotonic()
            failed = self.client.connection.get_failed_tasks(list(self.jobs.values()))
        for id, job in list(self.jobs.items()):
            if os.path.exists(self.place(id, "answer")):
                with open(self.place(id, "answer")) as file:
                    answer = json.load(file)
                os.remove(self.place(id, "answer"))
            elif failed.get(job):
                why = next(iter(failed[job].values())).error
                answer = {"lost": {"why": f"HyperQueue lost the trial (job {job}): {why}"}}
            else:
                continue
            self.cancel(id)
            yield id, answer

    def close(self):
        for id in list(self.jobs):
            self.cancel(id)


def measure_for_hyperqueue():
    given = json.load(sys.stdin)
    if not os.path.exists(given["wanted"]):
        return
    answer = measure(given["words"], given["trial"], given["wanted"])
    if os.path.exists(given["wanted"]):
        with open(given["answer"] + ".part", "w") as file:
            json.dump(answer, file)
        os.replace(given["answer"] + ".part", given["answer"])


def serve(cluster, say):
    requests = queue.Queue()

    def read():
        for line in sys.stdin:
            requests.put(json.loads(line))
        requests.put(None)

    threading.Thread(target=read, daemon=True).start()
    under_way = set()
    try:
        while True:
            try:
                request = requests.get(timeout=0.01 if under_way else None)
            except queue.Empty:
                request = {}
            if request is None:
                return
            for what, how in request.items():
                getattr(cluster, what)(**how)
                {"start": under_way.add, "cancel": under_way.discard}[what](how["id"])
            for id, answer in cluster.answers():
                under_way.discard(id)
                for what, how in answer.items():
                    say({what: how if what == "gone" else {"id": id, **how}})
    finally:
        cluster.close()


def main(kind, words):
    # Standard output is for answers alone, whatever libraries print.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(message):
        print(json.dumps(message), file=answers, flush=True)

    try:
        cluster = kind(json.loads(words))
    except ImportError:
        say({"gone": {"why": f"{sys.executable} has no package `{kind.PACKAGE}`: install it with pip, or say with "
                             "--python which Python has it"}})
        return
    except Exception as error:
        first = str(error).strip().split("\n")[0].rstrip(".")
        say({"gone": {"why": f"no {kind.__name__} cluster is reached ({first}): {kind.START}"}})
        return
    say({"ready": {"cores": cluster.cores}})
    try:
        serve(cluster, say)
    except Exception as error:
        say({"gone": {"why": f"the {kind.__name__} cluster went away: {error}"}})


if __name__ == "__main__":
    if sys.argv[1] == "measure":
        measure_for_hyperqueue()
    else:
        main({"ray": Ray, "hq": HyperQueue}[sys.argv[1]], sys.argv[2])
