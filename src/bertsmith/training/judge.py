"""When to evaluate, which evaluation is the best, and when to give up. Knows metrics by name and sign, no task."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bertsmith.errors import BertsmithError, SettingsError, nearest
from bertsmith.files import reason_of

Metrics = Mapping[str, float]


class TrainingError(BertsmithError):
    """Training cannot go on: a loss that is not a number, say."""


@dataclass(frozen=True)
class Hooks:
    """What a trainer asks its caller for. evaluate: the network's metrics now. keep: save it, it is the best so far.

    finish: with the result, after the last step; a run that is stopped there does it again when it goes on.
    """

    evaluate: Callable[[], Metrics] | None = None
    keep: Callable[[int, Metrics], None] | None = None
    finish: Callable[[Any], None] | None = None


@dataclass
class Judge:
    """signs: for each metric 1 where higher is better, -1 where lower is. metric: the one that decides.

    every_steps: how often to evaluate. patience: give up after so many evaluations without a better one. note: takes
    what a user should read. The best is the best of those that could be kept.
    """

    hooks: Hooks
    signs: Mapping[str, int]
    metric: str | None
    every_steps: int
    patience: int | None
    note: Callable[[str], None] = print
    best_step: int | None = None
    best_metrics: Metrics | None = None
    evaluations: list[tuple[int, Metrics]] = field(default_factory=list)
    _without_gain: int = 0
    _was_told: bool = False

    def __post_init__(self) -> None:
        if self.metric is None:
            self.metric = next(iter(self.signs))
        if self.metric not in self.signs:
            raise SettingsError(f"metric_for_best_model: no metric {self.metric!r}; {nearest(self.metric, self.signs)}")

    @property
    def should_stop(self) -> bool:
        return self.patience is not None and self._without_gain >= self.patience

    def is_due(self, step: int, num_steps: int) -> bool:
        """Whether the weights after `step` steps are to be evaluated, and have not been."""
        if self.hooks.evaluate is None or (self.evaluations and self.evaluations[-1][0] == step):
            return False
        return step > 0 and (step % self.every_steps == 0 or step == num_steps)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it, as JSON."""
        best = None if self.best_metrics is None else dict(self.best_metrics)
        evaluations = [[step, dict(metrics)] for step, metrics in self.evaluations]
        return {"best_step": self.best_step, "best": best, "evaluations": evaluations, "without": self._without_gain}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self.best_step, self.best_metrics, self._without_gain = state["best_step"], state["best"], state["without"]
        self.evaluations = [(step, metrics) for step, metrics in state["evaluations"]]

    def evaluate(self, step: int) -> Metrics:
        """Evaluate now; keep the network if none was better. Raises `TrainingError` for a metric that is no number."""
        assert self.hooks.evaluate is not None
        assert self.metric is not None
        metrics = self.hooks.evaluate()
        if self.metric not in metrics:
            raise SettingsError(
                f"metric_for_best_model: {self.metric!r} is not measured here; {nearest(self.metric, metrics)}"
            )
        if not math.isfinite(metrics[self.metric]):
            raise TrainingError(
                f"step {step}: {self.metric} is {metrics[self.metric]}, so that no model can be chosen by it"
            )
        self.evaluations.append((step, metrics))
        sign = self.signs[self.metric]
        if self.best_metrics is None or sign * metrics[self.metric] > sign * self.best_metrics[self.metric]:
            self._without_gain = 0
            self._keep(step, metrics)
        else:
            self._without_gain += 1
        return metrics

    def _keep(self, step: int, metrics: Metrics) -> None:
        """Or, where the disk has no room, leave the one that was kept before; that is told once."""
        try:
            if self.hooks.keep is not None:
                self.hooks.keep(step, metrics)
        except OSError as error:
            if not self._was_told:
                self.note(
                    f"warning: step {step}: the best model so far could not be saved: {reason_of(error)}; training "
                    "goes on, and what was saved before is as it was"
                )
            self._was_told = True
        else:
            self.best_step, self.best_metrics = step, metrics

    def settle(self) -> None:
        """After the last step, where none could be kept: the weights of the last evaluation, or the disk's error."""
        if self.best_step is None and self.evaluations and self.hooks.keep is not None:
            step, metrics = self.evaluations[-1]
            self.hooks.keep(step, metrics)
            self.best_step, self.best_metrics = step, metrics
