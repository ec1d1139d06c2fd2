"""Metric definitions of classification on golden cases, and beside scikit-learn's and scipy's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertsmith.tasks import TASKS
from bertsmith.tasks.classification import Classification

LABELS = ("a", "b", "c", "d")


def task(**settings: Any) -> Classification:
    return Classification(Classification.Settings.of({"labels": LABELS, **settings}))


REGRESSION = Classification(Classification.Settings.of({"problem_type": "regression"}))


def metrics(task: Classification, *rows: tuple[float, ...]) -> dict[str, float]:
    return task.metrics_of(np.array(rows, dtype=float))


def test_macro_f1_leaves_out_classes_that_are_neither_known_nor_given() -> None:
    # a: 1 of 1 given right, 1 of 2 known found, F1 2/3. b: 1 of 2 given right, 1 of 1 found, F1 2/3. c, d: absent.
    found = metrics(task(), (0, 0), (0, 1), (1, 1))
    assert found["f1_macro"] == pytest.approx(2 / 3)
    assert found["accuracy"] == pytest.approx(2 / 3)


def test_macro_f1_counts_a_class_that_is_given_but_not_known_as_zero() -> None:
    # a: 1 of 1 given right, 1 of 2 known found, F1 2/3. c is given once and never known: F1 0.
    assert metrics(task(), (0, 0), (0, 2))["f1_macro"] == pytest.approx((2 / 3 + 0) / 2)


def test_a_label_that_the_model_does_not_know_is_an_error_of_its_own_class() -> None:
    found = metrics(task(), (0, 0), (-1, 0))
    assert found["accuracy"] == 0.5
    assert found["f1_macro"] == pytest.approx((2 / 3 + 0) / 2)


def test_f1_of_two_labels_is_that_of_the_second() -> None:
    # Second label: 2 of 3 given right, 2 of 2 found: F1 4/5.
    found = metrics(task(labels=("no", "yes")), (0, 0), (0, 1), (1, 1), (1, 1))
    assert found["f1"] == pytest.approx(4 / 5)
    assert metrics(task(labels=("no", "yes")), (0, 0))["f1"] == 0


def test_matthews_correlation_by_hand() -> None:
    # 2 right yes, 1 right no, 1 wrong yes: (2 * 1 - 1 * 0) / sqrt(3 * 2 * 2 * 1) = 2 / sqrt(12).
    rows = (0, 0), (0, 1), (1, 1), (1, 1)
    assert metrics(task(labels=("no", "yes")), *rows)["matthews_correlation"] == pytest.approx(2 / 12**0.5)
    assert metrics(task(), (0, 0), (1, 0))["matthews_correlation"] == 0.0


@pytest.mark.filterwarnings("ignore:A single label was found")
@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_one_label_of_several_as_scikit_learn_has_it(rows: list[tuple[int, int]]) -> None:
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    known, guessed = zip(*rows, strict=True)
    assert metrics(task(), *rows) == pytest.approx(
        {
            "accuracy": accuracy_score(known, guessed),
            "f1_macro": f1_score(known, guessed, average="macro", zero_division=0.0),
            "matthews_correlation": matthews_corrcoef(known, guessed),
        }
    )


@settings(max_examples=25)
@given(st.lists(st.tuples(*[st.booleans()] * 8), min_size=1, max_size=20))
def test_several_labels_as_scikit_learn_has_them(rows: list[tuple[bool, ...]]) -> None:
    from sklearn.metrics import accuracy_score, f1_score

    known, guessed = np.split(np.array(rows, dtype=int), 2, axis=1)
    assert metrics(task(problem_type="multi_label"), *rows) == pytest.approx(
        {
            "f1_micro": f1_score(known, guessed, average="micro", zero_division=0.0),
            "f1_macro": f1_score(known, guessed, average="macro", zero_division=0.0),
            "exact_match": accuracy_score(known, guessed),
        }
    )


def test_ties_in_spearman_have_their_mean_rank() -> None:
    # Known ranks 1, 2.5, 2.5, 4; given ranks 1.5, 1.5, 3, 4. Their deviations from 2.5 are (-1.5, 0, 0, 1.5) and
    # (-1, -1, 0.5, 1.5): covariance 3.75, squares 4.5 each.
    found = metrics(REGRESSION, (1, 0.1), (2, 0.1), (2, 0.5), (3, 0.9))
    assert found["spearmanr"] == pytest.approx(3.75 / 4.5)


def test_correlations_with_a_constant_are_zero() -> None:
    assert metrics(REGRESSION, (1, 0.3), (2, 0.3))["spearmanr"] == 0
    assert metrics(REGRESSION, (1, 0.3), (2, 0.3))["pearson"] == 0
    assert metrics(REGRESSION, (1, 0.5))["mean_squared_error"] == 0.25


@pytest.mark.parametrize(
    ("name", "metric", "bounds"),
    [
        ("classification", "accuracy", (0, 1)),
        ("classification", "matthews_correlation", (-1, 1)),
        ("embedding", "spearmanr", (-1, 1)),
        ("pretraining", "perplexity", (0, math.inf)),
    ],
)
def test_every_metric_has_bounds(name: str, metric: str, bounds: tuple[float, float]) -> None:
    assert TASKS[name]().metric_bounds(metric) == bounds


def test_the_error_of_a_regression_has_no_upper_bound() -> None:
    task = TASKS["classification"].from_dict({"problem_type": "regression"}, "test")
    assert task.metric_bounds("mean_squared_error") == (0, math.inf)
    assert task.metric_bounds("pearson") == (-1, 1)
