"""Held-out scores to the temperature and the thresholds that suit them best. Numbers in, numbers out; knows no task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

COLDEST, HOTTEST = 0.2, 20.0
"""Bounds of a temperature: a few held-out examples, all answered right, would ask for zero."""
FEWEST_DECISIONS = 10
"""With fewer a temperature says nothing and stays 1."""


def fit_temperature(logits: NDArray[Any], labels: NDArray[Any]) -> float:
    """The T for which softmax(logits / T) gives `labels` the greatest likelihood (Guo et al. 2017, section 4.2).

    logits: [n, L]; labels: [n] indices. 1 for fewer than ten examples. The order of the labels, so every answer, stays
    as it was.
    """
    from scipy.special import logsumexp

    rows, known = np.asarray(logits, dtype=float), np.asarray(labels, dtype=int)
    right = rows[np.arange(len(known)), known]
    return likeliest_temperature(lambda beta: float(np.mean(logsumexp(beta * rows, axis=1) - beta * right)), known.size)


def fit_binary_temperature(logits: NDArray[Any], targets: NDArray[Any]) -> float:
    """The T for which sigmoid(logits / T) gives `targets` (0 or 1, or between) the greatest likelihood.

    Both of any one shape: all labels of a multi-label model share the temperature. 1 for fewer than ten examples.
    """
    scores, known = np.asarray(logits, dtype=float).ravel(), np.asarray(targets, dtype=float).ravel()
    return likeliest_temperature(
        lambda beta: float(np.mean(np.logaddexp(0.0, beta * scores) - beta * scores * known)), known.size
    )


def best_threshold(scores: NDArray[Any], known: NDArray[Any]) -> float:
    """The threshold t for which "yes where score >= t" has the greatest F1; 0.5 where no row is a yes.

    scores: [n] probabilities; known: [n] of 0 and 1. Lies half way between two scores; of equally good ones the
    nearest to 0.5.
    """
    order = np.argsort(-np.asarray(scores, dtype=float), kind="stable")
    ranked, truth = np.asarray(scores, dtype=float)[order], np.asarray(known, dtype=float)[order]
    if not truth.sum():
        return 0.5
    f1 = 2 * np.cumsum(truth) / (np.arange(1, len(truth) + 1) + truth.sum())
    following = np.append(ranked[1:], min(0.0, ranked[-1]))
    cuts = (ranked + following) / 2
    possible = np.append(ranked[1:] < ranked[:-1], True)  # equal scores fall on one side
    best = possible & (f1 >= f1[possible].max() - 1e-12)
    return float(min(cuts[best], key=lambda cut: abs(cut - 0.5)))


def likeliest_temperature(loss: Callable[[float], float], num_decisions: int) -> float:
    """1 / beta for the beta of the least loss, which is convex in beta (and not in the temperature).

    1 for fewer than ten decisions.
    """
    from scipy.optimize import minimize_scalar

    if num_decisions < FEWEST_DECISIONS:
        return 1.0
    found = minimize_scalar(loss, bounds=(1 / HOTTEST, 1 / COLDEST), method="bounded", options={"xatol": 1e-6})
    return float(1 / found.x)
