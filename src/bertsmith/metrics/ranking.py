"""How good an order of candidates is: ndcg, reciprocal rank, average precision. Knows numbers, not what is ranked.

Shapes: c candidates of one query, n queries, H width of a vector. A query without a relevant candidate counts as 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.floating]

_BLOCK_QUERIES = 512


def ndcg(relevance: Floats, scores: Floats, k: int = 10) -> float:
    """Normalized discounted cumulative gain of the first `k` of [c] candidates (Järvelin and Kekäläinen 2002).

    The gain is the relevance itself, the discount log2(rank + 1); equal scores share the mean of their gains: as
    scikit-learn's `ndcg_score`, which also averages over all orders of ties (McSherry and Najork 2008).
    """
    discounts = 1 / np.log2(np.arange(2, len(relevance) + 2))
    discounts[k:] = 0
    best = float(np.sort(relevance)[::-1] @ discounts)
    if best <= 0:
        return 0.0
    _, group, sizes = np.unique(-scores, return_inverse=True, return_counts=True)
    gains = np.bincount(group, weights=relevance) / sizes
    return float(np.repeat(gains, sizes) @ discounts) / best


def reciprocal_rank(relevance: Floats, scores: Floats, k: int = 10) -> float:
    """1 / the rank of the first relevant of [c] candidates, 0 below rank `k`; of equals the irrelevant come first."""
    found = np.flatnonzero(_in_order(relevance, scores)[:k])
    return 1 / (found[0] + 1) if len(found) else 0.0


def average_precision(relevance: Floats, scores: Floats) -> float:
    """Mean precision at the ranks of the relevant among [c] candidates; of equals the irrelevant come first."""
    ranks = np.flatnonzero(_in_order(relevance, scores)) + 1
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks)) if len(ranks) else 0.0


def _in_order(relevance: Floats, scores: Floats) -> NDArray[np.bool_]:
    """Which ranks hold a relevant candidate."""
    relevant = relevance > 0
    ordered: NDArray[np.bool_] = relevant[np.lexsort((relevant, -scores))]
    return ordered


def reciprocal_ranks_among(
    queries: Floats, answers: Floats, texts: Sequence[tuple[str, str]], negatives: Sequence[Sequence[float]]
) -> NDArray[np.float64]:
    """1 / the rank, by cosine, of each query's answer among all different answers and the query's own negatives: [n].

    queries, answers: [n, H]. texts: what they are vectors of; a query's own text, and answers to the same text in other
    rows, are no competitors. negatives: their cosines with the query. Of equals the answer comes last.
    """
    first_row: dict[str, int] = {}
    answers_of: dict[str, set[str]] = {}
    for row, (query, answer) in enumerate(texts):
        first_row.setdefault(answer, row)
        answers_of.setdefault(query, set()).add(answer)
    column = {answer: place for place, answer in enumerate(first_row)}
    candidates = _unit(answers)[list(first_row.values())]
    vectors = _unit(queries)
    result = np.empty(len(texts))
    for start in range(0, len(texts), _BLOCK_QUERIES):
        cosines = vectors[start : start + _BLOCK_QUERIES] @ candidates.T
        for row, cosine in enumerate(cosines, start):
            query, answer = texts[row]
            own = cosine[column[answer]]
            cosine[[column[text] for text in (answers_of[query] | {query}) & column.keys()]] = -np.inf
            better = np.count_nonzero(cosine >= own) + np.count_nonzero(np.asarray(negatives[row]) >= own)
            result[row] = 1 / (1 + better)
    return result


def _unit(vectors: Floats) -> Floats:
    unit: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit
