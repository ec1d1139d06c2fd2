"""The learning rate, by hand and by its properties."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.training.schedule import ScheduleName, learning_rate_fraction

SCHEDULES = get_args(ScheduleName)


@pytest.mark.parametrize(
    ("schedule", "fractions"),
    [
        # 10 steps, 2 of warm-up: 1/3, 2/3, then from 1 down over the 8 that are left.
        ("linear", [1 / 3, 2 / 3, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]),
        # the last 20% of 10 steps are two: 2/2 and 1/2.
        ("trapezoid", [1 / 3, 2 / 3, 1, 1, 1, 1, 1, 1, 1, 1 / 2]),
        # (1 + cos(pi k / 8)) / 2 for k = 0, 4 at steps 2 and 6.
        ("cosine", [1 / 3, 2 / 3, 1, None, None, None, 0.5, None, None, None]),
        ("constant", [1 / 3, 2 / 3, *[1] * 8]),
    ],
)
def test_ten_steps_by_hand(schedule: ScheduleName, fractions: list[float | None]) -> None:
    for step, expected in enumerate(fractions):
        if expected is not None:
            assert learning_rate_fraction(schedule, step, 10, 2) == pytest.approx(expected)


@given(st.sampled_from(SCHEDULES), st.integers(1, 400), st.data())
def test_rises_then_never_rises_again_and_stays_within_the_peak(
    schedule: ScheduleName, num_steps: int, data: st.DataObject
) -> None:
    warmup = data.draw(st.integers(0, num_steps - 1))
    values = [learning_rate_fraction(schedule, step, num_steps, warmup) for step in range(num_steps)]
    assert all(0 < value <= 1 for value in values)
    assert values[:warmup] == sorted(values[:warmup])
    assert values[warmup:] == sorted(values[warmup:], reverse=True)
    assert values[warmup] == 1 or schedule == "trapezoid"
