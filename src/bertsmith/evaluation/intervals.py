"""How sure a figure is: 95% intervals by drawing examples again (Efron and Tibshirani 1993, chapter 13), or over seeds.

Knows rows of numbers and what is computed of them, no model and no task.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Marks: TypeAlias = NDArray[np.float64]
MetricsOf: TypeAlias = Callable[[Marks], Mapping[str, float]]
Samples: TypeAlias = dict[str, NDArray[np.float64]]

BOUNDS = (0.025, 0.975)
MAX_DRAWS, MIN_DRAWS = 1000, 200
MAX_ROWS_DRAWN = 4_000_000
"""Rows in all draws together: with it the interval of a metric takes seconds, whatever the number of examples."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and the bounds of its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Marked:
    """One model's marks, a row for each example, and what makes metrics of any selection of them."""

    metrics_of: MetricsOf
    marks: Marks


def num_draws(num_rows: int) -> int:
    """Draws of a bootstrap over so many rows: 1000 up to 4,000 rows, then fewer, 200 from 20,000 on."""
    return max(MIN_DRAWS, min(MAX_DRAWS, MAX_ROWS_DRAWN // max(1, num_rows)))


def bootstrap(marked: Marked, *, seed: int = 0, max_draws: int = MAX_DRAWS) -> dict[str, Interval]:
    """The metrics of all rows, each with the middle 95% of its values over rows drawn with replacement."""
    values = marked.metrics_of(marked.marks)
    samples = draw([[marked]], values, seed=seed, max_draws=max_draws)[0]
    return {name: interval_of(value, samples[name]) for name, value in values.items()}


def draw(
    sides: Sequence[Sequence[Marked]],
    names: Sequence[str] | Mapping[str, object],
    *,
    seed: int = 0,
    max_draws: int = MAX_DRAWS,
) -> list[Samples]:
    """For each side, draw by draw, its metrics on the same rows for all sides; all have marks of the same rows.

    A side is a model, or several that differ by their seeds: these are drawn again too, and their mean counts.
    """
    num_rows = len(sides[0][0].marks)
    assert all(len(marked.marks) == num_rows for side in sides for marked in side), "one row for each example"
    rng = np.random.default_rng(seed)
    drawn: list[list[dict[str, float]]] = [[] for _ in sides]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a draw may lack a class, or vary in nothing
        for _ in range(min(max_draws, num_draws(num_rows * max(map(len, sides))))):
            rows = rng.integers(num_rows, size=num_rows)
            for side, samples in zip(sides, drawn, strict=True):
                chosen = rng.integers(len(side), size=len(side)) if len(side) > 1 else np.zeros(1, dtype=int)
                metrics = {i: side[i].metrics_of(side[i].marks[rows]) for i in np.unique(chosen).tolist()}
                samples.append({name: _mean([metrics[i].get(name, math.nan) for i in chosen]) for name in names})
    return [{name: np.array([sample[name] for sample in samples]) for name in names} for samples in drawn]


def interval_of(value: float, samples: NDArray[np.float64]) -> Interval:
    """`value` and the bounds of the middle 95% of `samples`; draws of which nothing could be computed are left out."""
    finite = samples[np.isfinite(samples)]
    low, high = np.quantile(finite, BOUNDS) if finite.size else (value, value)
    return Interval(float(value), float(low), float(high))


def mean_interval(values: Sequence[float] | Marks, groups: Sequence[str] | None = None, *, seed: int = 0) -> Interval:
    """The mean of `values` with its interval over 10,000 draws.

    Rows of one source (a module, an author, a document) resemble each other: with `groups`, the name of each row's
    source, whole sources are drawn.
    """
    rows = np.asarray(values, dtype=float)
    assert len(rows), "an interval needs at least one row"
    _, group = np.unique(np.arange(len(rows)) if groups is None else np.asarray(groups), return_inverse=True)
    totals, sizes = np.bincount(group, weights=rows).astype(float), np.bincount(group)
    rng = np.random.default_rng(seed)
    means = np.concatenate([_drawn_means(totals, sizes, rng, 100) for _ in range(100)])
    return interval_of(float(rows.mean()), means)


def over_seeds(values: Sequence[float], bounds: tuple[float, float] = (-math.inf, math.inf)) -> Interval:
    """The mean of a figure over runs that differ by their seed, with Student's t-interval (n - 1 degrees of freedom).

    bounds: the least and the greatest value that the figure can have; the interval, which with two runs reaches nine of
    their standard deviations to each side, ends there.

    >>> over_seeds([0.9, 0.91, 0.92])  # doctest: +ELLIPSIS
    Interval(value=0.91, low=0.885..., high=0.934...)
    >>> over_seeds([0.9, 0.95], (0, 1))  # doctest: +ELLIPSIS
    Interval(value=0.925, low=0.607..., high=1.0)
    """
    from scipy.stats import t

    runs = np.asarray(values, dtype=float)
    assert len(runs) > 1, "an interval over seeds needs two runs or more"
    reach = float(t.ppf(BOUNDS[1], len(runs) - 1) * runs.std(ddof=1) / math.sqrt(len(runs)))
    mean = float(runs.mean())
    return Interval(mean, max(float(bounds[0]), mean - reach), min(float(bounds[1]), mean + reach))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _drawn_means(
    totals: NDArray[np.float64], sizes: NDArray[np.intp], rng: np.random.Generator, num_draws: int
) -> NDArray[np.float64]:
    drawn = rng.integers(len(totals), size=(num_draws, len(totals)))
    means: NDArray[np.float64] = totals[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return means
