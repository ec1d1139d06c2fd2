"""Times taken in turns, as ratios with intervals; what the machine is. Knows no engine."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch

PACKAGES = ("bertsmith", "torch", "transformers", "tokenizers", "openvino", "nncf", "onnxruntime")
NUM_DRAWS = 2000


@dataclass(frozen=True)
class Interval:
    """A median and the 95% interval of it, from drawing the rounds again."""

    middle: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.low:.2f} to {self.high:.2f})"


def in_turns(work: Mapping[str, Callable[[], Any]], rounds: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Seconds of each piece of work in each round; in a round all are timed one after another."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for number in range(-warm_up, rounds):
        for name, run in work.items():
            started = time.perf_counter()
            run()
            if number >= 0:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> Interval:
    """How many times faster we are: the median over rounds of their time over ours."""
    return median(np.asarray(theirs) / np.asarray(ours))


def median(values: Sequence[float] | np.ndarray[Any, Any]) -> Interval:
    array = np.asarray(values, dtype=float)
    draws = np.median(np.random.default_rng(0).choice(array, (NUM_DRAWS, len(array))), axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(float(np.median(array)), float(low), float(high))


def machine() -> dict[str, Any]:
    from bertsmith.kernels.library import engine

    return {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "amx": bool(torch.cpu._is_amx_tile_supported()),
        "kernels": engine().reason,
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        return f"{len(names)} x {names[0]}"
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
