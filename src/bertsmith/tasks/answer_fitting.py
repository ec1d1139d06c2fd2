"""What held-out questions teach about answers: when to give none, and how sure to be. Numbers in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bertsmith.calibration import likeliest_temperature


def best_no_answer_threshold(odds: NDArray[np.float64], gains: NDArray[np.float64]) -> float:
    """The threshold t for which answering all questions with odds <= t gains most; of equally good ones nearest to 0.

    gains: [n], what an answer adds to the score beside no answer. Lies half way between two odds.
    """
    order = np.argsort(odds, kind="stable")
    ranked = odds[order]
    totals = np.append(0.0, np.cumsum(gains[order]))
    edges = np.concatenate([[min(ranked[0], 0.0) - 1], ranked, [max(ranked[-1], 0.0) + 1]])
    possible = np.concatenate([[True], ranked[1:] > ranked[:-1], [True]])
    best = possible & (totals >= totals[possible].max() - 1e-12)
    return float(min(((edges[:-1] + edges[1:]) / 2)[best], key=abs))


def fit_candidates_temperature(rows: Sequence[NDArray[np.float64]], right: NDArray[np.float64]) -> float:
    """The temperature for which the likeliest candidate's probability is the best bet on its being `right`."""
    answered = np.array([len(row) > 0 for row in rows])
    if not answered.any():
        return 1.0
    table = np.full((len(rows), max(map(len, rows))), -np.inf)
    for place, row in enumerate(rows):
        table[place, : len(row)] = row - row.max(initial=-np.inf)
    table, right = table[answered], right[answered]

    def loss(beta: float) -> float:
        probability = np.clip(1 / np.exp(beta * table).sum(axis=1), 1e-12, 1 - 1e-12)
        return float(-np.mean(np.where(right == 1, np.log(probability), np.log1p(-probability))))

    return likeliest_temperature(loss, len(table))
