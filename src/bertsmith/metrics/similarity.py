"""How well similarities agree with what is known of the pairs: correlation, threshold, neighbours. Numbers only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def correlations(first: Array, second: Array) -> dict[str, float]:
    """spearmanr, where ties have their mean rank, and pearson; both are 0 where one side is constant."""
    from scipy.stats import pearsonr, spearmanr

    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return {"spearmanr": 0.0, "pearson": 0.0}
    return {
        "spearmanr": float(spearmanr(first, second).statistic),
        "pearson": float(pearsonr(first, second).statistic),
    }


def rank_credit(first: Array, second: Array) -> Array:
    """[n]: 1 for a pair of equal rank on both sides, 0 for one that is first here and last there."""
    from scipy.stats import rankdata

    credit: Array = 1 - np.abs(rankdata(first) - rankdata(second)) / max(1, len(first) - 1)
    return credit


def accuracy_threshold(similarities: Array, alike: Array) -> float:
    """From which similarity on pairs are best called alike, with the most right calls; of several the highest.

    Above all similarities if no call is best.
    """
    order = np.argsort(-similarities, kind="stable")
    ordered = similarities[order]
    gained = np.cumsum(np.where(alike[order] > 0.5, 1, -1))
    # Between equal similarities there is no threshold.
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    best = ends[np.argmax(gained[ends])]
    return float(ordered[best] if gained[best] > 0 else np.nextafter(ordered[0], np.inf))


def mutual_nearest(similarities: NDArray[np.floating[Any]]) -> list[tuple[int, int]]:
    """Of [n, m] the pairs (row, column) whose similarity is the largest of both; of equal ones the first counts.

    Jalili Sabet et al. 2020, section 2.2 (Argmax).

    >>> mutual_nearest(np.array([[0.9, 0.2], [0.8, 0.1], [0.3, 0.4]]))
    [(0, 0), (2, 1)]
    """
    if not similarities.size:
        return []
    columns, rows = similarities.argmax(axis=1), similarities.argmax(axis=0)
    return [(row, int(column)) for row, column in enumerate(columns) if rows[column] == row]
