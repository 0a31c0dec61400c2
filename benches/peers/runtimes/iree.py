"""IREE, compiled for this processor with data tiling."""
import os, subprocess, sysconfig

import iree.compiler.version
import iree.runtime


def load(job):
    tool = lambda name: os.path.join(sysconfig.get_path("scripts"), name)
    subprocess.run([tool("iree-import-onnx"), job.model, "-o", "model.mlir"], check=True)
    subprocess.run([tool("iree-compile"), "model.mlir", "-o", "model.vmfb", "--iree-hal-target-device=local",
                    "--iree-hal-local-target-device-backends=llvm-cpu", "--iree-llvmcpu-target-cpu=host",
                    "--iree-opt-level=O3", "--iree-opt-data-tiling"], check=True)
    if job.threads > 1:
        iree.runtime.flags.parse_flags(f"--task_topology_max_group_count={job.threads}")
    config = iree.runtime.Config("local-task" if job.threads > 1 else "local-sync")
    with open("model.vmfb", "rb") as file:
        module = iree.runtime.VmModule.copy_buffer(config.vm_instance, file.read())
    bound = iree.runtime.load_vm_module(module, config)
    (function,) = [name for name in module.function_names if not name.startswith("__") and "$async" not in name]
    inputs = [iree.runtime.asdevicearray(config.device, value) for value in job.feed().values()]

    def run():
        results = bound[function](*inputs)
        return [result.to_host() for result in (results if isinstance(results, (tuple, list)) else [results])]

    return f"IREE {iree.compiler.version.VERSION}", run
