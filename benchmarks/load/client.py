"""Asks a server on this machine, in a process of its own: one job as JSON on stdin, what came of it on stdout.

Open loop: requests leave at the times that a Poisson process of a fixed seed says, whether or not earlier ones are
answered, and latency counts from those times, so that a server that stalls cannot slow down who asks (coordinated
omission). Closed loop: so many ask, each again as soon as it is answered. Standard library and uvloop alone, to leave
the processor to the server. Requests, connections and seconds are bounded, and the address is 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

HOST = "127.0.0.1"
MAX_REQUESTS = 100_000
MAX_CONNECTIONS = 2000


@dataclass(frozen=True)
class Job:
    """bodies: a file with a JSON list of request bodies. rate: requests a second; None: closed loop of `concurrency`.

    timeout_seconds: after which an answer is no longer waited for.
    """

    port: int
    path: str
    bodies: str
    seconds: float
    seed: int = 0
    rate: float | None = None
    concurrency: int = 16
    timeout_seconds: float = 10.0


@dataclass
class Asked:
    """latencies_ms: of answers with status 200, from the scheduled time; of those unanswered the time that was waited.

    num_other: statuses beside 200, 429, 503; num_unanswered: timed out or cut off. late_ms: the 99th percentile of how
    late the client itself was. cpu_seconds: of the client.
    """

    seconds: float = 0.0
    num_sent: int = 0
    num_ok: int = 0
    num_rejected: int = 0
    num_other: int = 0
    num_unanswered: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    waited_ms: list[float] = field(default_factory=list)
    late_ms: float = 0.0
    cpu_seconds: float = 0.0


class Connection:
    """One kept-alive HTTP/1.1 connection."""

    def __init__(self, port: int):
        self.port = port
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def ask(self, request: bytes) -> int:
        """The answer's status; its body is read and dropped."""
        if self.writer is None or self.writer.is_closing():
            self.reader, self.writer = await asyncio.open_connection(HOST, self.port)
        assert self.reader is not None
        self.writer.write(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        fields = dict(line.split(b":", 1) for line in head.lower().split(b"\r\n")[1:] if b":" in line)
        await self.reader.readexactly(int(fields[b"content-length"]))
        if fields.get(b"connection", b"").strip() == b"close":
            self.close()
        return int(head[9:12])

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


class Client:
    def __init__(self, job: Job):
        self.job, self.asked = job, Asked()
        bodies = json.loads(Path(job.bodies).read_text(encoding="utf-8"))
        self.requests = [_request(job.path, json.dumps(body).encode()) for body in bodies]
        self.idle: list[Connection] = []
        self.room = asyncio.Semaphore(MAX_CONNECTIONS)
        self.late: list[float] = []

    async def run(self) -> Asked:
        started = time.perf_counter()
        await (self._open(started) if self.job.rate is not None else self._closed(started))
        self.asked.seconds = time.perf_counter() - started
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self.asked.cpu_seconds = usage.ru_utime + usage.ru_stime
        self.asked.late_ms = sorted(self.late)[int(0.99 * len(self.late))] if self.late else 0.0
        return self.asked

    async def _open(self, started: float) -> None:
        assert self.job.rate is not None
        rng, due, tasks = random.Random(self.job.seed), started, set()
        for number in range(MAX_REQUESTS):
            due += rng.expovariate(self.job.rate)
            if due - started > self.job.seconds:
                break
            if (ahead := due - time.perf_counter()) > 0:
                await asyncio.sleep(ahead)
            self.late.append(max(0.0, time.perf_counter() - due) * 1000)
            task = asyncio.create_task(self._one(self.requests[number % len(self.requests)], due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        if tasks:
            await asyncio.wait(tasks)

    async def _closed(self, started: float) -> None:
        async def repeat(place: int) -> None:
            while time.perf_counter() - started < self.job.seconds and self.asked.num_sent < MAX_REQUESTS:
                await self._one(self.requests[place % len(self.requests)], time.perf_counter())
                place += self.job.concurrency

        await asyncio.gather(*(repeat(place) for place in range(self.job.concurrency)))

    async def _one(self, request: bytes, due: float) -> None:
        self.asked.num_sent += 1
        connection: Connection | None = None
        try:
            async with asyncio.timeout(self.job.timeout_seconds), self.room:
                connection = self.idle.pop() if self.idle else Connection(self.job.port)
                status = await connection.ask(request)
            self.idle.append(connection)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError, KeyError):
            if connection is not None:
                connection.close()
            self.asked.num_unanswered += 1
            self.asked.waited_ms.append((time.perf_counter() - due) * 1000)
            return
        if status == 200:
            self.asked.num_ok += 1
            self.asked.latencies_ms.append((time.perf_counter() - due) * 1000)
        elif status in (429, 503):
            self.asked.num_rejected += 1
        else:
            self.asked.num_other += 1


def _request(path: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def main() -> None:
    job = Job(**json.load(sys.stdin))
    try:
        import uvloop

        run = uvloop.run
    except ImportError:
        run = asyncio.run

    async def work() -> Asked:
        return await Client(job).run()

    json.dump(asdict(run(work())), sys.stdout)


if __name__ == "__main__":
    main()
