"""What a server counts, for Prometheus: requests, their time, batches, the queue, what was cut. No texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Measures:
    """Of one server; each has a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        named: Any = {"registry": self.registry}
        self.requests = Counter("bertsmith_requests", "Answered requests.", ["route", "status"], **named)
        self.seconds = Histogram(
            "bertsmith_request_seconds", "From a request to its answer.", ["route"], buckets=SECONDS, **named
        )
        self.inputs = Counter("bertsmith_inputs", "Inputs that a model answered.", ["model"], **named)
        self.tokens = Counter("bertsmith_tokens", "Tokens that a model read.", ["model"], **named)
        self.cut = Counter("bertsmith_cut_inputs", "Inputs of which something was not read.", ["model"], **named)
        self.batches = Counter("bertsmith_batches", "Forward passes.", **named)
        self.batch_tokens = Histogram(
            "bertsmith_batch_tokens", "Tokens of a forward pass.", buckets=[2**n for n in range(4, 15)], **named
        )
        self.batch_seconds = Histogram("bertsmith_batch_seconds", "Of a forward pass.", buckets=SECONDS, **named)

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A number that is asked for when the measures are read."""
        Gauge(name, text, registry=self.registry).set_function(value)

    def batch(self, tokens: int, windows: int, seconds: float) -> None:
        self.batches.inc()
        self.batch_tokens.observe(tokens)
        self.batch_seconds.observe(seconds)

    def text(self) -> bytes:
        """All of them in Prometheus' format."""
        return generate_latest(self.registry)
