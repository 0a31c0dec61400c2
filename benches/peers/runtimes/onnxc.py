"""Our own; leaves the inputs for the others."""
import os, pickle

from native_library import Library, random_inputs, version


def load(job):
    flags = [*job.flags, *([] if job.precision == "f32" else ["--precision", job.precision])]
    library = Library(job.command, job.model, flags, job.target, os.path.join(job.directory, "net"), job.threads)
    job.said["compile_seconds"] = library.seconds
    feed = random_inputs(library.description)
    with open(job.inputs, "wb") as file:
        pickle.dump(feed, file)
    library.bind(feed)

    def run():
        library()
        return library.outputs

    return version(job.command), run
