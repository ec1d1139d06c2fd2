"""How sure a score is, and whether one model is better than another on the same rows. Knows right and wrong only.

Rows of one source (a module, an author, a document) resemble each other, so intervals come from drawing whole sources
again (a bootstrap over groups); where every row is its own source that is the ordinary bootstrap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NUM_DRAWS = 10_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and the bounds between which 95% of its bootstrap draws lie."""

    value: float
    low: float
    high: float


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
    def verdict(self) -> str:
        """ "better", "worse", or "no difference shown" where the interval holds zero."""
        if self.difference.low > 0:
            return "better"
        return "worse" if self.difference.high < 0 else "no difference shown"


def accuracy_interval(correct: Sequence[bool], groups: Sequence[str] | None = None, *, seed: int = 0) -> Interval:
    """Accuracy with its 95% interval; `groups` names each row's source."""
    return _mean_interval(np.asarray(correct, dtype=float), groups, seed)


def compare(
    first_correct: Sequence[bool],
    second_correct: Sequence[bool],
    groups: Sequence[str] | None = None,
    *,
    seed: int = 0,
) -> Comparison:
    """Compare two models row by row; `groups` names each row's source."""
    first, second = np.asarray(first_correct, dtype=bool), np.asarray(second_correct, dtype=bool)
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    difference = _mean_interval(first.astype(float) - second.astype(float), groups, seed)
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


def _mean_interval(values: NDArray[np.float64], groups: Sequence[str] | None, seed: int) -> Interval:
    assert len(values), "an interval needs at least one row"
    _, group = np.unique(np.arange(len(values)) if groups is None else np.asarray(groups), return_inverse=True)
    totals, sizes = np.bincount(group, weights=values).astype(float), np.bincount(group)
    rng = np.random.default_rng(seed)
    means = np.concatenate([_drawn_means(totals, sizes, rng, 1000) for _ in range(NUM_DRAWS // 1000)])
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))


def _drawn_means(
    totals: NDArray[np.float64], sizes: NDArray[np.intp], rng: np.random.Generator, num_draws: int
) -> NDArray[np.float64]:
    drawn = rng.integers(len(totals), size=(num_draws, len(totals)))
    means: NDArray[np.float64] = totals[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return means
