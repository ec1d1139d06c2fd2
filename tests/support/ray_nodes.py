"""A Ray cluster of several nodes on this machine, on the loopback address, and the processes to kill in it.

As a program it is a cluster that other machines can reach, with or without a token, until its input ends:

    python ray_nodes.py open|token
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MEMORY = 80 << 20


def start_cluster() -> Any:
    """A head node of one core and a second node of one."""
    os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Nodes that die are noticed in seconds rather than in half a minute.
    os.environ |= {"RAY_health_check_period_ms": "500", "RAY_health_check_timeout_ms": "1000"}
    os.environ |= {"RAY_health_check_failure_threshold": "3", "RAY_health_check_initial_delay_ms": "0"}
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": MEMORY})
    cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
    return cluster


def processes(is_one: Callable[[list[str]], bool]) -> list[int]:
    """Of all processes of this machine, those whose words (name and arguments) are meant."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").split()
        except OSError:
            continue
        if words and is_one(words):
            found.append(int(process.name))
    return found


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def busy_workers(node: Any) -> list[int]:
    """The node's workers that have a task; Ray names a process by what it does."""
    (raylet,) = (info.process.pid for info in node.all_processes["raylet"])
    return [
        process
        for process in processes(lambda words: words[0].startswith("ray::") and "IDLE" not in words[0])
        if parent_of(process) == raylet
    ]


def a_busy_worker(node: Any) -> int:
    """As soon as there is one."""
    deadline = time.monotonic() + 60
    while not (workers := busy_workers(node)):
        assert time.monotonic() < deadline, "the work was over before anything could be killed"
        time.sleep(0.02)
    return workers[0]


def main() -> None:
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "1" * 64}
    os.environ |= token if sys.argv[1] == "token" else {"RAY_AUTH_MODE": "disabled"}
    import ray

    ray.init(address="local", num_cpus=1, include_dashboard=False, object_store_memory=MEMORY, log_to_driver=False)
    print(ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
