"""A cluster of two workers on this machine: `cluster.py ray|hq` prints where it is on a line of its own after `at`, kills a
worker for every line that comes in, and ends with its input."""

import sys


def hq():
    from hyperqueue import LocalCluster
    from hyperqueue.cluster import WorkerConfig

    cluster = LocalCluster()
    for _ in range(2):
        cluster.start_worker(WorkerConfig(cores=1))
    return cluster.cluster.server_dir, None, cluster.stop


def ray():
    import os

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    other = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    return cluster.address, lambda: cluster.remove_node(other, allow_graceful=False), cluster.shutdown


place, kill, stop = {"hq": hq, "ray": ray}[sys.argv[1]]()
try:
    print("at", place, flush=True)
    for _ in sys.stdin:
        kill()
finally:
    stop()
