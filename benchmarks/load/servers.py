"""Servers as processes: started, asked whether they are ready, watched, stopped. Knows commands, no model."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from bertsmith.kernels.library import engine

HERE = Path(__file__).resolve().parent
START_SECONDS, STOP_SECONDS = 180, 20
TICKS = os.sysconf("SC_CLK_TCK")
PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20


def commands(model: Path) -> dict[str, list[str]]:
    """By name: who answers /v1/embeddings, without the port."""
    bertsmith = [sys.executable, "-m", "bertsmith", "serve", str(model), "--host", "127.0.0.1"]
    peer = [sys.executable, str(HERE / "peer_server.py"), str(model), "--engine"]
    int8 = {"bertsmith, int8": [*bertsmith, "--precision", "int8"]} if engine().library is not None else {}
    return {
        "bertsmith": bertsmith,
        **int8,
        "transformers, no batching": [*peer, "transformers", "--batching", "none"],
        "transformers, dynamic batching": [*peer, "transformers", "--batching", "dynamic"],
        "sentence-transformers, dynamic batching": [*peer, "sentence-transformers", "--batching", "dynamic"],
    }


@dataclass
class Server:
    port: int
    process: subprocess.Popen[bytes]

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory_mib(self) -> float:
        """Resident."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * PAGE_MIB

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False


@contextmanager
def running(command: Sequence[str], log: Path) -> Iterator[Server]:
    """A server that is ready; it is stopped at the end, by force if need be. Its output goes to `log`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        server = Server(port, _start([*command, "--port", str(port)], output))
        try:
            _wait(server, log)
            yield server
        finally:
            _stop(server.process)


def _start(command: list[str], output: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)


def _wait(server: Server, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while not server.is_ready():
        if server.process.poll() is not None:
            raise SystemExit(f"the server ended with {server.process.returncode}: {_tail(log)}")
        if time.monotonic() > until:
            raise SystemExit(f"the server was not ready within {START_SECONDS} s: {_tail(log)}")
        time.sleep(0.2)


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2000:]


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@dataclass
class Watch:
    """Memory of a server over time, MiB, twice a second, and its processor time."""

    memory_mib: list[float] = field(default_factory=list)
    cpu_seconds: float = 0.0


@contextmanager
def watched(server: Server) -> Iterator[Watch]:
    watch, done, before = Watch(), threading.Event(), server.cpu_seconds()

    def look() -> None:
        while not done.is_set():
            watch.memory_mib.append(server.memory_mib())
            done.wait(0.5)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        done.set()
        thread.join()
        watch.cpu_seconds = server.cpu_seconds() - before
