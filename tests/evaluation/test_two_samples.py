from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from bertsmith.evaluation.two_samples import (
    binned,
    count_distance,
    edges_of,
    jensen_shannon,
    stability_index,
    told_apart,
    vector_distance,
)

COUNTS = st.lists(st.integers(0, 50), min_size=4, max_size=4).filter(any).map(lambda c: np.array(c, dtype=float))


def test_stability_index_by_hand() -> None:
    """Shares 0.2, 0.3, 0.5 and 0.3, 0.3, 0.4: 0.1 ln(3/2) + 0 - 0.1 ln(4/5)."""
    value = stability_index(np.array([20.0, 30.0, 50.0]), np.array([3.0, 3.0, 4.0]))
    assert value == pytest.approx(0.1 * math.log(1.5) - 0.1 * math.log(0.8))
    assert stability_index(np.array([7.0, 7.0]), np.array([1.0, 1.0])) == 0


def test_an_empty_bin_counts_as_half_a_row() -> None:
    value = stability_index(np.array([10.0, 0.0]), np.array([5.0, 5.0]))
    p, q = np.array([10, 0.5]) / 10.5, np.array([0.5, 0.5])
    assert value == pytest.approx(((q - p) * np.log(q / p)).sum())


@given(COUNTS, COUNTS)
def test_divergences_are_symmetric_and_bounded(first: np.ndarray, second: np.ndarray) -> None:
    for divergence in (stability_index, jensen_shannon):
        assert divergence(first, second) == pytest.approx(divergence(second, first))
        assert divergence(first, first) == pytest.approx(0, abs=1e-9)
        assert divergence(first, second) >= 0
    assert jensen_shannon(first, second) <= 1


def test_jensen_shannon_is_scipys() -> None:
    from scipy.spatial.distance import jensenshannon

    first, second = np.array([1.0, 5.0, 2.0, 0.0]), np.array([3.0, 3.0, 0.0, 4.0])
    assert jensen_shannon(first, second) == pytest.approx(jensenshannon(first, second, base=2) ** 2)


def test_bins_hold_like_shares_and_borders_belong_below() -> None:
    values = np.arange(100.0)
    assert np.asarray(binned(values, edges_of(values)).sum(axis=0)).tolist() == [10] * 10
    assert binned(np.array([1.0, 2.0, 2.5]), np.array([2.0])).toarray().tolist() == [[1, 0], [1, 0], [0, 1]]
    assert len(edges_of(np.zeros(50))) == 1


def test_probabilities_are_those_of_all_ways_to_deal() -> None:
    """Two rows of one kind and two of another: of the six ways to deal them into pairs, two keep them apart."""
    kinds = csr_array(np.array([[1.0, 0.0], [1.0, 0.0]])), csr_array(np.array([[0.0, 1.0], [0.0, 1.0]]))
    found = count_distance(*kinds, jensen_shannon, num_draws=6000, seed=0)
    assert found.value == 1
    assert found.p == pytest.approx(1 / 3, abs=0.03)


def test_rows_are_dealt_whole() -> None:
    """A hundred equal counts in one row are one thing that happened, not a hundred."""
    first = csr_array(np.array([[100.0, 0.0]] * 3 + [[0.0, 100.0]] * 3))
    second = csr_array(np.array([[100.0, 0.0]] * 2 + [[0.0, 100.0]] * 4))
    assert count_distance(first, second, stability_index, num_draws=500, seed=0).p > 0.5


def test_vectors() -> None:
    rng = np.random.default_rng(0)
    first, same, moved = rng.normal(size=(80, 8)), rng.normal(size=(60, 8)), rng.normal(size=(60, 8)) + 0.8
    assert vector_distance(first, same, num_draws=200, seed=0).p > 0.05
    assert vector_distance(first, moved, num_draws=200, seed=0).p == 1 / 201
    assert told_apart(first, same, seed=0).p > 0.05
    apart = told_apart(first, moved, seed=0)
    assert apart.auc > 0.85
    assert apart.p < 1e-4
    assert apart.strangeness.shape == (60,)
