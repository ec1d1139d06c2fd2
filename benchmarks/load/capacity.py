"""How much a server can take: the highest rate of requests with a bounded 99th percentile, and what lies beyond."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from load.client import Asked, Job
from load.servers import Server, watched

CLIENT = Path(__file__).resolve().parent / "client.py"
PATH = "/v1/embeddings"
MAX_FAILED = 0.001
"""Share of requests that may be rejected or unanswered at a rate that a server is said to hold."""
MAX_RATE = 4000.0
SETTLE_SECONDS = 45


@dataclass(frozen=True)
class Plan:
    """How long each part takes and what is asked. levels: of the capacity, for the table."""

    bodies: Path
    bound_ms: float = 250.0
    warm_seconds: float = 4.0
    closed_seconds: float = 6.0
    trial_seconds: float = 8.0
    num_trials: int = 6
    level_seconds: float = 20.0
    levels: tuple[float, ...] = (0.5, 1.0, 2.0)
    concurrency: int = 64


@dataclass(frozen=True)
class Trial:
    """rate: asked for, requests a second; throughput: answered with 200.

    p50_ms, p99_ms: of what was answered and of what was given up, as long as it was waited for; None: nothing was.
    *_cpu_cores: processor seconds a second of server and client. memory_mib: at the start, at the end, and the most.
    """

    rate: float | None
    throughput: float
    p50_ms: float | None
    p99_ms: float | None
    num_sent: int
    num_rejected: int
    num_other: int
    num_unanswered: int
    client_late_ms: float
    server_cpu_cores: float
    client_cpu_cores: float
    memory_mib: tuple[float, float, float]

    @property
    def failed(self) -> float:
        return (self.num_rejected + self.num_other + self.num_unanswered) / max(1, self.num_sent)

    def holds(self, bound_ms: float) -> bool:
        return self.p99_ms is not None and self.p99_ms <= bound_ms and self.failed <= MAX_FAILED


def ask(server: Server, plan: Plan, seconds: float, *, rate: float | None = None, seed: int = 0) -> Trial:
    """One run of the client against the server."""
    job = Job(server.port, PATH, str(plan.bodies), seconds, seed, rate, plan.concurrency)
    with watched(server) as watch:
        done = subprocess.run(
            [sys.executable, str(CLIENT)],
            input=json.dumps(asdict(job)).encode(),
            stdout=subprocess.PIPE,
            timeout=seconds + job.timeout_seconds + 60,
        )
    if done.returncode:
        raise SystemExit(f"the client ended with {done.returncode}; what it said is above")
    asked = Asked(**json.loads(done.stdout))
    times = sorted([*asked.latencies_ms, *asked.waited_ms])
    memory = watch.memory_mib
    return Trial(
        rate,
        asked.num_ok / asked.seconds,
        _quantile(times, 0.5),
        _quantile(times, 0.99),
        asked.num_sent,
        asked.num_rejected,
        asked.num_other,
        asked.num_unanswered,
        asked.late_ms,
        watch.cpu_seconds / asked.seconds,
        asked.cpu_seconds / asked.seconds,
        (memory[0], memory[-1], max(memory)),
    )


def measure(server: Server, plan: Plan) -> dict[str, Any]:
    """The capacity in requests a second, the trials that found it, and what happens at the levels."""
    ask(server, plan, plan.warm_seconds)
    closed = ask(server, plan, plan.closed_seconds)
    if not closed.throughput:
        raise SystemExit(f"the server answers nothing: {closed}")
    low, high = 0.0, min(MAX_RATE, 1.25 * closed.throughput)
    best: Trial | None = None
    trials = []
    for number in range(plan.num_trials):
        rate = (low + high) / 2 if low else 0.6 * high
        trial = ask(server, plan, plan.trial_seconds, rate=rate, seed=number)
        trials.append(trial)
        if trial.holds(plan.bound_ms):
            low, best = rate, trial
        else:
            high = rate
        _settle(server, plan)
    capacity = 0.0 if best is None or best.rate is None else best.rate
    levels = [
        {"level": level, **asdict(ask(server, plan, plan.level_seconds, rate=level * capacity, seed=100))}
        for level in plan.levels
        if capacity
    ]
    return {
        "capacity": capacity,
        "p99_ms": None if best is None else best.p99_ms,
        "closed": asdict(closed),
        "trials": [asdict(trial) for trial in trials],
        "levels": levels,
    }


def _settle(server: Server, plan: Plan) -> None:
    """Until what an overloaded server still computes for nobody is done: one request is answered fast again."""
    until = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < until:
        trial = ask(server, Plan(plan.bodies, concurrency=1), 0.2)
        if trial.p99_ms is not None and trial.p99_ms < plan.bound_ms and not trial.failed:
            return


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else None
