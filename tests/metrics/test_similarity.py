"""Agreement of similarities with what is known: by hand, and against trying every threshold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.metrics.similarity import accuracy_threshold, correlations, rank_credit


def test_ties_in_spearman_have_their_mean_rank() -> None:
    # Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: covariance 4.5, variances 4.5 and 5, so 4.5 / sqrt(22.5).
    values = correlations(np.array([1.0, 2.0, 2.0, 9.0]), np.array([1.0, 2.0, 3.0, 4.0]))
    assert values["spearmanr"] == pytest.approx(4.5 / 22.5**0.5)
    # Deviations -2.5, -1.5, -1.5, 5.5 and -1.5, -0.5, 0.5, 1.5.
    assert values["pearson"] == pytest.approx(12.0 / (41.0 * 5.0) ** 0.5)


def test_a_constant_correlates_with_nothing() -> None:
    assert correlations(np.ones(3), np.arange(3.0)) == {"spearmanr": 0.0, "pearson": 0.0}


def test_credit_by_ranks() -> None:
    assert rank_credit(np.array([0.1, 0.5, 0.9]), np.array([0.0, 5.0, 3.0])).tolist() == [1.0, 0.5, 0.5]


def test_the_best_threshold_by_hand() -> None:
    # Right from 0.9: 3 of 4; from 0.8: 4 of 4.
    assert accuracy_threshold(np.array([0.9, 0.1, 0.8, 0.3]), np.array([1.0, 0.0, 1.0, 0.0])) == 0.8


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=20))
def test_no_threshold_is_better(rows: list[tuple[int, bool]]) -> None:
    similarities, alike = np.array(rows, dtype=float).T
    found = accuracy_threshold(similarities, alike)
    accuracies = [np.mean((similarities >= t) == (alike > 0.5)) for t in [*similarities, np.inf]]
    assert np.mean((similarities >= found) == (alike > 0.5)) == pytest.approx(max(accuracies))
