from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertsmith.evaluation.compare import accuracy_interval, compare, mcnemar


def test_mcnemar_by_hand() -> None:
    # Six rows disagree, one against five: 2 * (C(6, 0) + C(6, 1)) / 2^6 = 14 / 64.
    assert mcnemar(1, 5) == 14 / 64
    assert mcnemar(3, 3) == mcnemar(0, 0) == 1.0
    # Beyond a thousand rows the approximation takes over without a step.
    assert mcnemar(470, 529) == pytest.approx(mcnemar(471, 530), abs=2e-3)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=50))
def test_the_interval_holds_the_accuracy(correct: list[bool]) -> None:
    interval = accuracy_interval(correct)
    assert interval.value == sum(correct) / len(correct)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1


def test_the_interval_of_many_rows_is_the_textbook_one() -> None:
    # 1.96 * sqrt(0.5 * 0.5 / 400) = 0.049.
    interval = accuracy_interval([True, False] * 200)
    assert interval.low == pytest.approx(0.451, abs=0.004)
    assert interval.high == pytest.approx(0.549, abs=0.004)


def test_rows_of_one_source_count_as_one() -> None:
    correct = [True] * 100 + [False] * 100
    by_source = accuracy_interval(correct, ["a"] * 100 + ["b"] * 100)
    assert (by_source.low, by_source.high) == (0.0, 1.0)


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
