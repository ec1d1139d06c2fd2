from __future__ import annotations

import numpy as np
import pytest

from bertsmith.evaluation.compare import compare, compare_metrics, mcnemar
from bertsmith.evaluation.intervals import Marked, Marks

RNG = np.random.default_rng(0)


def mean_of(marks: Marks) -> dict[str, float]:
    return {"mean": float(marks[:, 0].mean()), "loss": float(1 - marks[:, 0].mean())}


def marked(right: np.ndarray) -> Marked:
    return Marked(mean_of, right.astype(float)[:, None])


def test_mcnemar_by_hand() -> None:
    # Six rows disagree, one against five: 2 * (C(6, 0) + C(6, 1)) / 2^6 = 14 / 64.
    assert mcnemar(1, 5) == 14 / 64
    assert mcnemar(3, 3) == mcnemar(0, 0) == 1.0
    # Beyond a thousand rows the approximation takes over without a step.
    assert mcnemar(470, 529) == pytest.approx(mcnemar(471, 530), abs=2e-3)


def test_a_comparison_is_paired() -> None:
    # Both are right on nine of ten rows; on the last row of each ten only the first one is.
    first, second = [True] * 100, ([True] * 9 + [False]) * 10
    comparison = compare(first, second)
    assert (comparison.only_first, comparison.only_second) == (10, 0)
    assert comparison.difference.value == pytest.approx(0.1)
    assert comparison.p_value == 2 / 2**10
    assert comparison.verdict == "better"
    assert compare(second, first).verdict == "worse"
    assert compare(first, first).verdict == "no difference shown"


def test_metrics_are_compared_on_the_same_rows() -> None:
    # Half of the rows are right for both: apart, the models' intervals overlap by far; on the same rows one is better.
    right = RNG.random(400) < 0.5
    more = right.copy()
    more[np.flatnonzero(~right)[:12]] = True
    found = compare_metrics([marked(more)], [marked(right)], {"mean": 1, "loss": -1})
    assert found["mean"].difference.value == pytest.approx(12 / 400)
    assert found["mean"].first - found["mean"].second == pytest.approx(12 / 400)
    # The textbook interval of the mean of 12 ones in 400 rows: 0.03 +- 1.96 * sqrt(0.03 * 0.97 / 400).
    assert found["mean"].difference.low == pytest.approx(0.03 - 0.0167, abs=0.003)
    assert found["mean"].difference.high == pytest.approx(0.03 + 0.0167, abs=0.003)
    assert (found["mean"].verdict, found["loss"].verdict) == ("better", "better")
    assert found["loss"].difference.value < 0
    turned = compare_metrics([marked(right)], [marked(more)], {"mean": 1, "loss": -1})
    assert (turned["mean"].verdict, turned["loss"].verdict) == ("worse", "worse")
    same = compare_metrics([marked(right)], [marked(right)], {"mean": 1})
    assert same["mean"].verdict == "no difference shown"


def test_seeds_are_drawn_as_well() -> None:
    # A thousand rows leave little doubt of each run, and the first model's runs differ from one another by far more.
    first = [marked(RNG.random(1000) < p) for p in (0.5, 0.7, 0.9)]
    second = [marked(RNG.random(1000) < 0.65) for _ in range(3)]
    found = compare_metrics(first, second, {"mean": 1})["mean"]
    assert found.first == pytest.approx(0.7, abs=0.03)
    assert found.difference.high - found.difference.low > 0.2
    assert found.verdict == "no difference shown"
    assert compare_metrics(first[2:], second, {"mean": 1})["mean"].verdict == "better"


def test_a_metric_that_one_model_lacks_is_left_out() -> None:
    other = Marked(lambda marks: {"mean": 0.0}, np.zeros((5, 1)))
    assert set(compare_metrics([marked(np.ones(5))], [other], {"mean": 1, "loss": -1})) == {"mean"}
