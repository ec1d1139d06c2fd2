"""A Ray cluster of several nodes on this machine, on the loopback address, and the processes to kill in it.

As a program it is a cluster that other machines can reach, with or without a token, until its input ends:

    python ray_nodes.py open|token
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

MEMORY = 80 << 20


def start_cluster() -> Any:
    """A head node of one core and a second node of one."""
    os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # A node that dies is noticed in seconds rather than in half a minute; one that stalls for seconds is not dead.
    os.environ |= {"RAY_health_check_period_ms": "1000", "RAY_health_check_timeout_ms": "4000"}
    os.environ |= {"RAY_health_check_failure_threshold": "4", "RAY_health_check_initial_delay_ms": "0"}
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": MEMORY})
    second_node(cluster)
    return cluster


def second_node(cluster: Any) -> Any:
    """The node beside the head, and another one where Ray has given that up."""
    try:
        cluster.wait_for_nodes(timeout=20)
    except TimeoutError:
        for node in tuple(cluster.worker_nodes):
            cluster.remove_node(node, allow_graceful=False)
    if not cluster.worker_nodes:
        cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
    (node,) = cluster.worker_nodes
    return node


def workers_on(folder: Path, node: Any = None) -> list[int]:
    """The workers (of one node) that have a file below `folder` open; Ray cannot name its processes everywhere."""
    wanted = node and node.all_processes["raylet"][0].process.pid
    return [worker for worker, raylet in _workers() if wanted in (None, raylet) and _has_open(worker, folder)]


def a_worker_on(folder: Path, node: Any) -> int:
    """As soon as there is one."""
    deadline = time.monotonic() + 60
    while not (workers := workers_on(folder, node)):
        assert time.monotonic() < deadline, "the work was over before anything could be killed"
        time.sleep(0.005)
    return workers[0]


def _workers() -> Iterator[tuple[int, int]]:
    """The processes whose parent is a raylet, and that."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if Path(f"/proc/{parent}/comm").read_text().strip() == "raylet":
                yield int(process.name), parent


def _has_open(process: int, folder: Path) -> bool:
    with suppress(OSError):
        for file in Path(f"/proc/{process}/fd").iterdir():
            with suppress(OSError):
                if Path(os.readlink(file)).is_relative_to(folder):
                    return True
    return False


def main() -> None:
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "1" * 64}
    os.environ |= token if sys.argv[1] == "token" else {"RAY_AUTH_MODE": "disabled"}
    import ray

    ray.init(address="local", num_cpus=1, include_dashboard=False, object_store_memory=MEMORY, log_to_driver=False)
    print(ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
