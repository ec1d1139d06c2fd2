"""What came of a training run, as far as it went: a checkpoint and a run's folder keep it as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from bertsmith.data.batch import Truncation
from bertsmith.training.judge import Metrics


@dataclass
class TrainingResult:
    """What happened. best_step, best_metrics: of the evaluation that won; None without evaluation.

    tokens_per_second counts real tokens over the time spent in steps, evaluation aside; stalled_seconds: what steps
    waited for their data. truncation: of the samples in the first epoch, so each of them once, as far as it went.
    skipped: steps, counted from 0, that gave no numbers. spikes: steps, counted from 1, far outside what was usual.
    history: (step, losses).
    """

    num_steps: int = 0
    num_tokens: int = 0
    truncation: Truncation = field(default_factory=Truncation)
    seconds: float = 0.0
    stalled_seconds: float = 0.0
    final_loss: float = math.nan
    best_step: int | None = None
    best_metrics: Metrics | None = None
    stopped_early: bool = False
    skipped: list[int] = field(default_factory=list)
    spikes: list[int] = field(default_factory=list)
    history: list[tuple[int, Metrics]] = field(default_factory=list)
    evaluations: list[tuple[int, Metrics]] = field(default_factory=list)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From its JSON."""
        pairs = {name: [(step, figures) for step, figures in values[name]] for name in ("history", "evaluations")}
        return cls(**{**values, **pairs, "truncation": Truncation(**values["truncation"])})

    @property
    def tokens_per_second(self) -> float:
        return self.num_tokens / max(self.seconds, 1e-9)
