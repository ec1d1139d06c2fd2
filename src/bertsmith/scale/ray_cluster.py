"""Workers that are tasks of a Ray cluster (extra `cluster`). Knows no work.

A cluster of this run alone listens on the loopback address only, with a token. One that is already there is refused
where it lets in whoever reaches it from other machines: such a caller can run any code.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, TypeVar

from bertsmith.errors import SettingsError
from bertsmith.runtime.interruption import SIGNALS, InterruptedRunError, raise_if_asked
from bertsmith.scale.runner import MAX_ATTEMPTS, POLL_SECONDS, Outcome, Reply, ScaleSettings, attempt, gave_up

T = TypeVar("T")
ADDRESS, AUTO = "RAY_ADDRESS", "auto"
CONNECT_SECONDS = 10
OF_THIS_RUN = {"RAY_AUTH_MODE": "token", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
"""What a cluster of this run is started with: a token, and (the second) the loopback address, as on a laptop."""
OBJECT_STORE_BYTES = 128 << 20
"""Of a cluster of this run; items and values are small, files go by the file system."""
WAY_OUT = (
    "start it with RAY_AUTH_MODE=token in the environment of every machine (`ray get-auth-token --generate` makes the "
    "token, which every machine needs in ~/.ray/auth_token), or leave the address out for a cluster of this machine"
)


class RayRunner:
    """At most `num_workers` tasks at a time, each with its share of the machines."""

    def __init__(self, ray: Any, num_workers: int, num_cpus: int, num_gpus: float):
        self.num_workers = num_workers
        self._ray = ray
        # A task whose worker or machine dies is given to another one by Ray itself.
        self._remote = ray.remote(num_cpus=num_cpus, num_gpus=num_gpus, max_retries=MAX_ATTEMPTS - 1)(attempt)

    def run(self, function: Callable[[T], Any], items: Iterable[T]) -> Iterator[Outcome[T]]:
        """As `Runner.run`."""
        ray, coming = self._ray, iter(items)
        given: dict[Any, T] = {}
        lost: dict[Any, int] = {}
        try:
            while True:
                while len(given) < self.num_workers and (item := next(coming, None)) is not None:
                    given[self._remote.remote(function, item)] = item
                if not given:
                    return
                raise_if_asked()
                ready, _ = ray.wait(list(given), timeout=POLL_SECONDS)
                for task in ready:
                    item, num_lost = given.pop(task), lost.pop(task, 0)
                    reply = self._reply(task)
                    if not reply.is_lost:
                        yield reply.outcome(item)
                    elif num_lost + 1 < MAX_ATTEMPTS:
                        again = self._remote.remote(function, item)
                        given[again], lost[again] = item, num_lost + 1
                    else:
                        yield Outcome(item, error=gave_up())
        finally:
            for task in given:
                ray.cancel(task, force=True)

    def _reply(self, task: Any) -> Reply:
        errors = self._ray.exceptions
        try:
            reply: Reply = self._ray.get(task)
        except errors.RayTaskError as error:  # raised on the way to the function, which catches its own
            return Reply(error=str(error.cause or error))
        except errors.RayError:
            return Reply(error=gave_up())
        return reply


@contextmanager
def ray_runner(settings: ScaleSettings) -> Iterator[RayRunner]:
    """A runner on the cluster that the settings name, or on one of this machine that ends with the block."""
    num_cpus = settings.threads_per_worker or 1
    with connected(settings) as ray:
        yield RayRunner(ray, num_workers(ray, settings), num_cpus, settings.gpus_per_worker)


def num_workers(ray: Any, settings: ScaleSettings) -> int:
    """As the settings say, or as many as the cluster has room for."""
    return settings.num_workers or max(
        1, int(ray.cluster_resources().get("CPU", 1)) // (settings.threads_per_worker or 1)
    )


@contextmanager
def connected(settings: ScaleSettings) -> Iterator[Any]:
    """The package `ray`, connected to the cluster that the settings name, or to one that ends with the block.

    Raises `SettingsError` where there is none, where `ray` is not installed, and for a cluster that is open.
    """
    address = settings.address or os.environ.get(ADDRESS)
    if address is None and "ray" not in sys.modules:  # Ray reads them once, when it is imported
        for name, value in OF_THIS_RUN.items():
            os.environ.setdefault(name, value)
    ray = _package()
    theirs = ray.is_initialized()
    with _own_signals():
        if theirs:
            _refuse_open(ray.get_runtime_context().gcs_address)
        elif address is not None:
            _connect(ray, address)
        else:
            _start(ray, settings)
    try:
        yield ray
    finally:
        if not theirs:
            ray.shutdown()


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray handles some of them its own way from its start on; after the block it is as before."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    except SystemExit:  # which is how Ray answers a signal in its start
        raise InterruptedRunError("stopped while the Ray cluster was joined; go on with the same command") from None
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


def _start(ray: Any, settings: ScaleSettings) -> None:
    ray.init(
        address="local",
        num_cpus=settings.local_workers * (settings.threads_per_worker or 1),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=OBJECT_STORE_BYTES,
        _node_ip_address="127.0.0.1",
    )
    _refuse_open(ray.get_runtime_context().gcs_address)


def _connect(ray: Any, address: str) -> None:
    if "://" in address:
        raise SettingsError(
            f"address: {address} is not the HOST:PORT of a cluster; run this on one of its machines, and say what "
            "`ray status` says there, or auto"
        )
    try:
        if address != AUTO:  # Ray itself would try for minutes
            host, _, port = address.rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
        _refuse_open(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise SettingsError(
            f"address: no Ray cluster could be joined at {address} ({reason}); `ray start --head` starts one, and this "
            "machine has to be one of its machines"
        ) from None


PROBE = """
import logging, sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.CRITICAL)
print("joined", ray.get_runtime_context().gcs_address)
"""


def _refuse_open(address: str) -> None:
    """A `SettingsError` for a cluster that is to be reached from other machines and joined without a token: tried."""
    if is_loopback(address):
        return
    secrets = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", ADDRESS)
    environment = {name: value for name, value in os.environ.items() if name not in secrets}
    environment |= {"RAY_AUTH_MODE": "disabled", "RAY_NUM_REDIS_GET_RETRIES": "2"}
    command = [sys.executable, "-c", PROBE, address]
    tried = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    word, _, found = tried.stdout.strip().rpartition("\n")[2].partition(" ")
    if word == "joined" and not is_loopback(found):
        raise SettingsError(
            f"address: the Ray cluster at {found} can be joined without a token from wherever it is reached, and "
            f"whoever joins it can run any code on its machines: {WAY_OUT}"
        )


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches what listens at HOST:PORT.

    >>> is_loopback("127.0.0.1:6379"), is_loopback("[::1]:6379"), is_loopback("10.0.0.7:6379"), is_loopback("auto")
    (True, True, False, False)
    """
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _package() -> Any:
    try:
        return import_module("ray")
    except ImportError:
        raise SettingsError(
            "on: ray needs the package of that name: pip install 'bertsmith[cluster]'; local needs none"
        ) from None
