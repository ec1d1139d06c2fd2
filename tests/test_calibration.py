from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.calibration import HOTTEST, best_threshold, fit_binary_temperature, fit_temperature


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_logits_that_were_scaled_are_scaled_back(factor: float) -> None:
    # Labels are drawn from softmax(logits): logits multiplied by a factor need that factor as temperature.
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=2, size=(20_000, 4))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    assert fit_temperature(factor * logits, labels) == pytest.approx(factor, rel=0.05)


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_binary_logits_that_were_scaled_are_scaled_back(factor: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=2, size=(10_000, 3))
    targets = logits + rng.logistic(size=logits.shape) > 0
    assert fit_binary_temperature(factor * logits, targets) == pytest.approx(factor, rel=0.05)


def test_two_classes_and_their_difference_have_one_temperature() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(300, 2))
    labels = rng.integers(2, size=300)
    both = fit_temperature(logits, labels)
    assert both == pytest.approx(fit_binary_temperature(logits[:, 1] - logits[:, 0], labels), rel=1e-3)


def test_little_data_gives_a_bounded_temperature() -> None:
    assert fit_temperature(np.empty((0, 2)), np.empty(0)) == 1.0
    assert fit_binary_temperature(np.empty(0), np.empty(0)) == 1.0
    assert fit_temperature(np.array([[0.5, 0.0]] * 9), np.zeros(9)) == 1.0
    assert fit_temperature(np.array([[0.5, 0.0]] * 10), np.zeros(10)) == pytest.approx(0.2, rel=1e-3)
    assert fit_temperature(np.array([[0.5, 0.0]] * 10), np.ones(10)) == pytest.approx(HOTTEST, rel=1e-3)


def test_the_best_threshold_by_hand() -> None:
    # Yes from 0.4 on: 3 given, 2 of 2 right, F1 4/5. Yes from 0.8 on: 1 given, 1 of 2 right, F1 2/3.
    assert best_threshold(np.array([0.1, 0.4, 0.5, 0.8]), np.array([0, 1, 0, 1])) == pytest.approx(0.25)
    assert best_threshold(np.array([0.1, 0.2, 0.9]), np.array([0, 0, 1])) == pytest.approx(0.55)
    assert best_threshold(np.array([0.1, 0.2]), np.array([0, 0])) == 0.5
    assert best_threshold(np.array([0.3, 0.3]), np.array([1, 1])) == pytest.approx(0.15)


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.7, 0.9]), st.booleans()), min_size=1, max_size=20))
def test_no_other_threshold_is_better(rows: list[tuple[float, bool]]) -> None:
    scores, known = (np.array(column) for column in zip(*rows, strict=True))

    def f1(threshold: float) -> float:
        given = scores >= threshold
        return float(2 * (given & known).sum() / max(1, given.sum() + known.sum()))

    assert f1(best_threshold(scores, known)) >= max(map(f1, (0, 0.15, 0.3, 0.6, 0.8, 1))) - 1e-12
