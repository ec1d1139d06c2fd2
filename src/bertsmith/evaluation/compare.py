"""Whether one model is better than another on the same rows, or the difference is noise. Knows marks, no model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from bertsmith.evaluation.intervals import Interval, Marked, draw, interval_of, mean_interval

Verdict: TypeAlias = Literal["better", "worse", "no difference shown"]


@dataclass(frozen=True, slots=True)
class MetricComparison:
    """One metric of two models (or the means over the seeds of each) on the same rows.

    difference: the first minus the second, with its 95% interval. higher_is_better: the sense of the metric.
    """

    first: float
    second: float
    difference: Interval
    higher_is_better: bool = True

    @property
    def verdict(self) -> Verdict:
        """Of the first model; "no difference shown" where the interval holds zero."""
        return _verdict(self.difference, self.higher_is_better)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One model against another on the same rows.

    difference: accuracy of the first minus that of the second. only_first, only_second: rows that only one of them got
    right. p_value: exact two-sided McNemar test of these two numbers, which takes rows for independent.
    """

    difference: Interval
    only_first: int
    only_second: int
    p_value: float

    @property
    def verdict(self) -> Verdict:
        """Of the first model; "no difference shown" where the interval holds zero."""
        return _verdict(self.difference)


def compare_metrics(
    first: Sequence[Marked], second: Sequence[Marked], metrics: Mapping[str, int], *, seed: int = 0
) -> dict[str, MetricComparison]:
    """Paired bootstrap of two models, each with the marks of one run or of several that differ by their seeds.

    Every draw takes the same examples for both and, of several runs, as many again, drawn too. metrics: 1 where higher
    is better, -1 where lower is; those that one of the models lacks are left out.
    """
    means = [_means(side) for side in (first, second)]
    names = [name for name in metrics if all(name in mean for mean in means)]
    ours, theirs = draw([first, second], names, seed=seed)
    return {
        name: MetricComparison(
            means[0][name],
            means[1][name],
            interval_of(means[0][name] - means[1][name], ours[name] - theirs[name]),
            metrics[name] > 0,
        )
        for name in names
    }


def compare(
    first_correct: Sequence[bool],
    second_correct: Sequence[bool],
    groups: Sequence[str] | None = None,
    *,
    seed: int = 0,
) -> Comparison:
    """Compare two models by right and wrong, row by row; `groups` names each row's source."""
    first, second = np.asarray(first_correct, dtype=bool), np.asarray(second_correct, dtype=bool)
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    difference = mean_interval(first.astype(float) - second.astype(float), groups, seed=seed)
    return Comparison(difference, only_first, only_second, mcnemar(only_first, only_second))


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p-value that two models that disagree on these rows are equally often right (McNemar 1947).

    >>> mcnemar(1, 5)
    0.21875
    """
    total = only_first + only_second
    tail = sum(math.comb(total, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, float(2 * tail / 2**total)) if total < 1000 else _mcnemar_of_many(only_first, only_second)


def _mcnemar_of_many(only_first: int, only_second: int) -> float:
    """The normal approximation with continuity correction: two thousand exact binomials buy no further digit."""
    distance = max(0.0, abs(only_first - only_second) - 1) / math.sqrt(only_first + only_second)
    return math.erfc(distance / math.sqrt(2))


def _verdict(difference: Interval, higher_is_better: bool = True) -> Verdict:
    low, high = (difference.low, difference.high) if higher_is_better else (-difference.high, -difference.low)
    if low > 0:
        return "better"
    return "worse" if high < 0 else "no difference shown"


def _means(runs: Sequence[Marked]) -> dict[str, float]:
    metrics = [run.metrics_of(run.marks) for run in runs]
    shared = [name for name in metrics[0] if all(name in run for run in metrics)]
    return {name: math.fsum(run[name] for run in metrics) / len(metrics) for name in shared}
