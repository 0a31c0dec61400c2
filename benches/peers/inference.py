"""The process of one runtime in compare.py: loads one model, then times it whenever it is asked.

Takes the job as JSON on the command line. Says in a line of JSON what it is, after one inference whose outputs it
leaves in the job's directory; then for every line with a number of seconds the milliseconds of one inference.
"""
import importlib, json, os, pickle, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from native_library import milliseconds


class Job:
    """What compare.py asks for. A file of `runtimes` has `load(job)`, which gives the version and a function that runs
    the model on the job's inputs and gives its outputs in the model's order; what else it has to say goes to `said`."""

    def __init__(self, facts):
        self.__dict__.update(facts)
        self.said = {}

    def feed(self):
        """The inputs by name; onnxc, which knows their shapes, is loaded first and leaves them."""
        with open(self.inputs, "rb") as file:
            return pickle.load(file)


def main():
    # What runtimes print is not for the one who asks.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    say = lambda **answer: print(json.dumps(answer), file=answers, flush=True)
    job = Job(json.loads(sys.argv[1]))
    os.sched_setaffinity(0, job.cores[-job.threads:])
    os.environ["OMP_NUM_THREADS"] = str(job.threads)
    os.chdir(job.directory)
    try:
        version, run = importlib.import_module(f"runtimes.{job.runtime}").load(job)
        with open("outputs", "wb") as file:
            pickle.dump([output.copy() for output in run()], file)
    except ModuleNotFoundError as missing:
        return say(error=f"the package {missing.name} is not installed")
    except Exception as reason:
        return say(error=(str(reason).strip().splitlines() or [repr(reason)])[0])
    say(version=version, **job.said)
    clock = time.process_time if job.threads == 1 else time.perf_counter
    for line in sys.stdin:
        say(milliseconds=milliseconds(run, float(line), clock))


if __name__ == "__main__":
    main()
