"""Whether two samples could come from one source: distances, and how large they are by chance. Knows numbers only.

n, m: rows of the first and the second sample; B: bins; H: width of vectors. A row is what was drawn independently, a
request with all its pieces, say: what chance can do is found by dealing out the rows of both samples anew (a
permutation test: Good 2005, chapter 3). That is exact for samples of any size and for thousands of rare bins, where a
bootstrap of the first sample would never draw what it has not seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import mannwhitneyu

Array: TypeAlias = NDArray[np.float64]
Divergence: TypeAlias = Callable[[Array, Array], Array]

NUM_BINS = 10
EMPTY = 0.5
"""What an empty bin counts as, so that a ratio of shares stays finite."""
DRAWS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Distance:
    """How far two samples are apart. p: the share of draws by chance that are as far apart, this one among them.

    by_chance: the distances of the draws, in order of size.
    """

    value: float
    p: float
    by_chance: Array


def stability_index(first: Array, second: Array) -> Array:
    """Population stability index of counts [..., B]: the sum of (q - p) ln(q / p) over the bins' shares p and q.

    >>> round(float(stability_index(np.array([50.0, 50.0]), np.array([60.0, 40.0]))), 4)
    0.0405
    """
    p, q = _shares(np.maximum(first, EMPTY)), _shares(np.maximum(second, EMPTY))
    value: Array = ((q - p) * np.log(q / p)).sum(axis=-1)
    return value


def jensen_shannon(first: Array, second: Array) -> Array:
    """Jensen-Shannon divergence of counts [..., B], in bits: from 0, the same shares, to 1, nothing in common.

    >>> float(jensen_shannon(np.array([1.0, 1.0, 0.0]), np.array([0.0, 0.0, 5.0])))
    1.0
    """
    p, q = _shares(first), _shares(second)
    middle = (p + q) / 2
    value: Array = ((_plogp(p) + _plogp(q)) / 2 - _plogp(middle)).sum(axis=-1)
    return np.clip(value, 0.0, 1.0)


def edges_of(values: Array, num_bins: int = NUM_BINS) -> Array:
    """Inner borders of bins that hold like shares of `values`; fewer where values repeat."""
    return np.unique(np.quantile(values, np.linspace(0, 1, num_bins + 1)[1:-1]))


def binned(values: Array, edges: Array) -> csr_array:
    """[n, B]: a one in the bin of each value; a value on a border belongs to the bin below it."""
    places = np.searchsorted(edges, values, side="left")
    ones = np.ones(len(values))
    return csr_array((ones, (np.arange(len(values)), places)), shape=(len(values), len(edges) + 1))


def count_distance(
    first: csr_array, second: csr_array, divergence: Divergence, *, num_draws: int, seed: int
) -> Distance:
    """Of the columns' sums of counts [n, B] and [m, B]."""
    from scipy.sparse import vstack

    rows = csr_array(vstack([first, second]))
    rows = csr_array(rows[:, np.flatnonzero(rows.sum(axis=0))])
    total = np.asarray(rows.sum(axis=0), dtype=float)
    num = first.shape[0]

    def distances(is_first: Array) -> Array:
        sums = np.asarray((rows.T @ is_first.T).T, dtype=float)
        return divergence(sums, total - sums)

    return _tested(distances, num, rows.shape[0], num_draws, seed)


def vector_distance(first: Array, second: Array, *, num_draws: int, seed: int) -> Distance:
    """Squared maximum mean discrepancy of vectors [n, H] and [m, H] under a Gaussian kernel (Gretton et al. 2012).

    The kernel's width is the median distance of all pairs.
    """
    rows = np.concatenate([first, second]).astype(float)
    norms = (rows**2).sum(axis=1)
    squares = np.maximum(norms[:, None] + norms[None] - 2 * rows @ rows.T, 0.0)
    middle = float(np.median(squares[np.triu_indices(len(rows), 1)]))
    kernel = np.exp(-squares / (middle or 1.0))

    def distances(is_first: Array) -> Array:
        num = is_first.sum(axis=1, keepdims=True)
        weights = is_first / num - (1 - is_first) / (len(rows) - num)
        value: Array = ((weights @ kernel) * weights).sum(axis=1)
        return value

    return _tested(distances, len(first), len(rows), num_draws, seed)


@dataclass(frozen=True, slots=True)
class ToldApart:
    """How well a classifier tells the samples apart (Lopez-Paz and Oquab 2017).

    auc: area under the ROC curve on rows that it was not trained on: 0.5 by chance, 1 for certain. p: the probability
    of one as high by chance. strangeness: [m], how sure it is that a row is of the second sample, each judged by a
    classifier that was not trained on it.
    """

    auc: float
    p: float
    strangeness: Array


def told_apart(first: Array, second: Array, *, seed: int) -> ToldApart:
    """By logistic regression on vectors [n, H] and [m, H]: trained on one half of the rows, judged on the other."""
    from sklearn.linear_model import LogisticRegression

    rows = np.concatenate([first, second]).astype(float)
    is_second = np.arange(len(rows)) >= len(first)
    half = np.zeros(len(rows), dtype=bool)
    rng = np.random.default_rng(seed)
    for places in (np.flatnonzero(~is_second), np.flatnonzero(is_second)):
        half[rng.permutation(places)[: len(places) // 2]] = True
    scores = np.empty(len(rows))
    for learned in (half, ~half):
        model = LogisticRegression(class_weight="balanced", max_iter=300).fit(rows[learned], is_second[learned])
        scores[~learned] = model.decision_function(rows[~learned])
    judged: Any = mannwhitneyu(scores[~half & is_second], scores[~half & ~is_second], alternative="greater")
    pairs = int((~half & is_second).sum()) * int((~half & ~is_second).sum())
    return ToldApart(float(judged.statistic) / pairs, float(judged.pvalue), scores[is_second])


def _tested(distances: Callable[[Array], Array], num_first: int, num_rows: int, num_draws: int, seed: int) -> Distance:
    """`distances` of indicators [draws, rows] of who is in the first sample: as it is, and dealt out anew."""
    rng = np.random.default_rng(seed)
    as_it_is = (np.arange(num_rows) < num_first).astype(float)
    value = float(distances(as_it_is[None])[0])
    draws = []
    for start in range(0, num_draws, DRAWS_AT_ONCE):
        block = np.tile(as_it_is, (min(DRAWS_AT_ONCE, num_draws - start), 1))
        draws.append(distances(rng.permuted(block, axis=1)))
    by_chance = np.sort(np.concatenate(draws))
    as_far = int((by_chance >= value - 1e-12).sum())
    return Distance(value, (as_far + 1) / (num_draws + 1), by_chance)


def _shares(counts: Array) -> Array:
    total = counts.sum(axis=-1, keepdims=True)
    shares: Array = counts / np.where(total > 0, total, 1.0)
    return shares


def _plogp(shares: Array) -> Array:
    value: Array = shares * np.log2(np.where(shares > 0, shares, 1.0))
    return value
