"""`bertsmith serve` in a process of its own, with toy models, and clients that behave well or badly. Loopback only."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_SECONDS = 60
PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Served:
    """A server that is ready."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """One request on its own connection. Raises `OSError` or `HTTPException` where there is no whole answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json", **headers})
            answer = connection.getresponse()
            return Answer(answer.status, answer.read())
        finally:
            connection.close()

    def post(self, path: str, value: Any) -> Answer:
        return self.ask("POST", path, json.dumps(value).encode())

    def memory_mib(self) -> float:
        """Resident."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * PAGE_MIB

    def num_open_files(self) -> int:
        """Connections among them."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)


def raw_request(path: str, *headers: str) -> bytes:
    """The head of a POST of JSON, as it goes over the wire; its body follows."""
    lines = [f"POST {path} HTTP/1.1", "Host: a", "Content-Type: application/json", *headers, "", ""]
    return "\r\n".join(lines).encode()


@contextmanager
def served(arguments: Sequence[str | Path], log: Path) -> Iterator[Served]:
    """A server of its own for the block; whatever is left of it at the end is killed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "bertsmith", "serve", *map(str, arguments), "--port", str(port)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        server = Served(port, process, log)
        try:
            _wait(server)
            yield server
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()


def _wait(server: Served) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        assert server.process.poll() is None, server.log.read_text()[-3000:]
        assert time.monotonic() < until, server.log.read_text()[-3000:]
        try:
            if server.ask("GET", "/readyz").status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.05)


def toy_artifacts(folder: Path) -> list[Path]:
    """A saved model of every task, with random weights; each is called after its task."""
    import torch
    from toys import toy_config, toy_task, toy_tokenizer

    from bertsmith.artifact import Artifact, save_artifact
    from bertsmith.tasks import TASKS

    for name in TASKS:
        torch.manual_seed(0)
        task = toy_task(name).task
        save_artifact(folder / name, Artifact(task, task.build(toy_config()), toy_tokenizer()))
    return [folder / name for name in TASKS]
