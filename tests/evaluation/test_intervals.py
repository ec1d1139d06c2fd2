from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertsmith.evaluation.intervals import Interval, Marked, Marks, bootstrap, mean_interval, num_draws, over_seeds


def mean_of(marks: Marks) -> dict[str, float]:
    return {"mean": float(marks[:, 0].mean())}


def test_the_bootstrap_of_a_mean_is_scipy_s() -> None:
    from scipy.stats import bootstrap as reference

    values = np.random.default_rng(3).gamma(2.0, size=200)
    ours = bootstrap(Marked(mean_of, values[:, None]))["mean"]
    theirs = reference((values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(0))
    assert ours.value == values.mean()
    # A bound is known to about 0.14 of the standard error from 1000 draws.
    error = values.std() / math.sqrt(len(values))
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.3 * error)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.3 * error)


def test_a_seed_gives_one_interval() -> None:
    marked = Marked(mean_of, np.arange(30.0)[:, None])
    assert bootstrap(marked) == bootstrap(marked) != bootstrap(marked, seed=1)


def test_rows_are_drawn_whole() -> None:
    # The second column is the first one doubled: so it stays whatever rows are drawn.
    marks = np.random.default_rng(0).normal(size=(50, 1)) * [1, 2]
    found = bootstrap(Marked(lambda rows: {"ratio": float(rows[:, 1].sum() / rows[:, 0].sum())}, marks))["ratio"]
    assert (found.value, found.low, found.high) == pytest.approx((2, 2, 2))


def test_draws_of_which_nothing_can_be_computed_are_left_out() -> None:
    def share(marks: Marks) -> dict[str, float]:
        return {"share": float(marks[:, 0].mean())} if marks[:, 0].any() else {"share": math.nan}

    found = bootstrap(Marked(share, np.array([[1.0], [0.0]])))["share"]
    assert (found.low, found.high) == (0.5, 1.0)


def test_the_number_of_draws_is_bounded() -> None:
    assert [num_draws(rows) for rows in (0, 10, 4000, 8000, 10**6)] == [1000, 1000, 1000, 500, 200]


@settings(max_examples=10)
@given(st.lists(st.booleans(), min_size=1, max_size=50))
def test_the_interval_holds_the_mean(correct: list[bool]) -> None:
    interval = mean_interval(correct)
    assert interval.value == sum(correct) / len(correct)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1


def test_the_interval_of_many_rows_is_the_textbook_one() -> None:
    # 1.96 * sqrt(0.5 * 0.5 / 400) = 0.049.
    interval = mean_interval([True, False] * 200)
    assert interval.low == pytest.approx(0.451, abs=0.004)
    assert interval.high == pytest.approx(0.549, abs=0.004)


def test_rows_of_one_source_count_as_one() -> None:
    correct = [True] * 100 + [False] * 100
    by_source = mean_interval(correct, ["a"] * 100 + ["b"] * 100)
    assert (by_source.low, by_source.high) == (0.0, 1.0)


def test_the_interval_over_seeds_by_hand() -> None:
    # Standard deviation 0.01 over 3 runs; Student's t with 2 degrees of freedom: 4.3027; 4.3027 * 0.01 / sqrt(3).
    found = over_seeds([0.90, 0.91, 0.92])
    assert found.value == pytest.approx(0.91)
    assert (found.low, found.high) == pytest.approx((0.91 - 0.024842, 0.91 + 0.024842), abs=1e-6)
    assert over_seeds([0.5, 0.5]) == Interval(0.5, 0.5, 0.5)


def test_the_interval_over_seeds_ends_where_the_metric_does() -> None:
    # t of 1 degree of freedom at 97.5% is 12.7062; two values' deviation is their distance over 2 ** 0.5.
    wide = over_seeds([0.9, 0.95])
    assert (wide.low, wide.high) == pytest.approx((0.925 - 12.7062 * 0.025, 0.925 + 12.7062 * 0.025), abs=1e-5)
    assert over_seeds([0.9, 0.95], (0, 1)) == Interval(wide.value, wide.low, 1.0)
    assert over_seeds([0.0, 1.0], (0, 1)) == Interval(0.5, 0.0, 1.0)
