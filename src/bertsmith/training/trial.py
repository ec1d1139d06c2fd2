"""Steps that are really run to time them, and how many fit into a time. Nothing of them stays in the weights."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bertsmith.model.flops import counted_flops
from bertsmith.runtime.processes import processes
from bertsmith.runtime.progress import Phase, Progress
from bertsmith.tasks.task import Task
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.training.result import TrainingResult
from bertsmith.training.settings import TrainingSettings
from bertsmith.training.trainer import train

Clock = Callable[[], float]
WARM_UP_STEPS = 2
"""Steps before the timed ones: the first ones take memory from the system."""
LEAST_STEPS, MOST_STEPS = 3, 50
MOST_TRAINING_STEPS = 1_000_000_000


@dataclass(frozen=True)
class Trial:
    """step_seconds: from step to step, waiting for data included. num_tokens, flops: of those steps, in all."""

    step_seconds: tuple[float, ...]
    num_tokens: int
    flops: int

    @property
    def num_steps(self) -> int:
        return len(self.step_seconds)

    @property
    def seconds(self) -> float:
        """Of one step, on average."""
        return sum(self.step_seconds) / self.num_steps


class _StopWatch(Progress):
    """Silent; the time at the start of training and after each step."""

    def __init__(self, clock: Clock):
        super().__init__()
        self.clock = clock
        self.times: list[float] = []

    def opened(self, phase: Phase) -> None:
        self.times.append(self.clock())

    drawn = opened


def run_trial(
    task: Task[Any, Any],
    network: nn.Module,
    tokenizer: Tokenizer,
    samples: Sequence[Any],
    settings: TrainingSettings,
    *,
    seconds: float,
    clock: Clock = time.perf_counter,
) -> Trial:
    """Time the first steps of `train` with the same arguments, for about so many seconds, with a learning rate of 0.

    Weights and random numbers are as before. Raises what `train` raises.
    """
    unmoved = dict.fromkeys((name for name, _ in network.named_parameters()), 0.0)

    def run(num_steps: int) -> tuple[list[float], TrainingResult]:
        watch = _StopWatch(clock)
        chosen = settings.model_copy(update={"max_steps": num_steps, "max_minutes": None, "non_finite": "skip"})
        result = train(task, network, tokenizer, samples, chosen, rate_factors=unmoved, progress=watch)
        return [after - before for before, after in zip(watch.times, watch.times[1:], strict=False)], result

    device = next(network.parameters()).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        first, _ = run(WARM_UP_STEPS)
        fitting = max(LEAST_STEPS, min(MOST_STEPS, int(seconds / max(first[-1], 1e-9)) - WARM_UP_STEPS))
        num_steps = processes().from_first(lambda: fitting)  # a step is one of all processes
        with counted_flops(network) as flops:
            times, result = run(num_steps)
    network.zero_grad(set_to_none=True)
    return Trial(tuple(times), result.num_tokens, flops.total)


def steps_within(seconds: float, step_seconds: float, time_aside: Callable[[int], float]) -> int:
    """Steps that end within `seconds`, where one more would not, at least 1; time_aside: of the evaluations of so many.

    >>> steps_within(100, step_seconds=1, time_aside=lambda num_steps: 5 * (num_steps // 20))
    80
    """
    steps = range(1, min(MOST_TRAINING_STEPS, int(seconds / max(step_seconds, 1e-9)) + 2))
    found = bisect_right(steps, seconds, key=lambda num_steps: num_steps * step_seconds + time_aside(num_steps))
    return max(1, found)
