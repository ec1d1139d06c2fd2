"""Labels as numbers: a regression."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from bertsmith.baselines import tfidf_ridge
from bertsmith.errors import DataError, SettingsError
from bertsmith.metrics.similarity import correlations
from bertsmith.tasks.label_problems import (
    Array,
    Problem,
    Texts,
    Verdict,
)
from bertsmith.tasks.task import Marks


class Regression(Problem):
    """A number. Its loss is the squared error."""

    metrics: ClassVar = {"spearmanr": 1, "pearson": 1, "mean_squared_error": -1}

    @property
    def num_logits(self) -> int:
        return 1

    def answer(self, value: Any, where: str) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise DataError(f"{where}: not a number: {value!r:.60}") from None
        if not math.isfinite(number) or isinstance(value, bool):
            raise DataError(f"{where}: not a finite number: {value!r:.60}")
        return number

    def learned(self, answers: Sequence[float], places: Sequence[str]) -> dict[str, Any]:
        settings = self.settings
        asked = [name for name in ("balanced", "class_weights", "focal_gamma", "labels") if getattr(settings, name)]
        if asked:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in asked)
            raise SettingsError(
                f"a regression has no labels, so that {', '.join(asked)} would change nothing: leave out {options}, or "
                "choose --problem-type single_label or multi_label"
            )
        if len(set(answers)) < 2:
            raise DataError(f"regression needs different numbers in the training data, found {sorted(set(answers))}")
        return {"mean_value": math.fsum(answers) / len(answers)}

    @property
    def first_bias(self) -> float:
        """The mean: a bias moves by the learning rate in a step, far too little to come from 0 to it in a run."""
        return self.settings.mean_value

    def target(self, answer: float, where: str) -> float:
        return answer

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return (logits.squeeze(-1) - targets) ** 2

    def verdict(self, logits: Array) -> Verdict:
        return Verdict(None, float(logits[0]), {})

    def marks(self, answers: Sequence[float], verdicts: Sequence[Verdict]) -> Marks:
        """[n, 2]: the known and the given number."""
        pairs = [(answer, verdict.score) for answer, verdict in zip(answers, verdicts, strict=True)]
        return np.array(pairs, dtype=float).reshape(-1, 2)

    def metrics_of(self, marks: Marks) -> dict[str, float]:
        """spearmanr: ties have their mean rank; both correlations are 0 where one side is constant."""
        known, given = marks.T
        return {**correlations(known, given), "mean_squared_error": float(((known - given) ** 2).mean())}

    def credit(self, marks: Marks) -> Array:
        """1 for the very number, falling with the distance in units of the known numbers' spread."""
        known, given = marks.T
        spread = float(np.ptp(known)) or 1.0
        nearness: Array = np.clip(1 - np.abs(known - given) / spread, 0.0, 1.0)
        return nearness

    def baselines(self, train: Texts, answers: Sequence[float], test: Texts) -> dict[str, list[Verdict]]:
        mean = math.fsum(answers) / len(answers)
        return {
            "mean": [Verdict(None, mean, {})] * len(test),
            "TF-IDF + ridge regression": [Verdict(None, float(v), {}) for v in tfidf_ridge(train, answers, test)],
        }
