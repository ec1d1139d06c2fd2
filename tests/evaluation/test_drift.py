from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from bertsmith.errors import DataError
from bertsmith.evaluation.drift import Decisions, Drift, Side, Texts, compare_sides


def side(
    seed: int, num: int, *, longer: int = 0, unknown: float = 0.02, sure: float = 6.0, vectors: float = 0.0
) -> Side:
    """Requests of one source; what is given moves it."""
    rng = np.random.default_rng(seed)
    lengths = rng.poisson(12 + longer, num)
    shares = np.array([unknown, *((1 - unknown) * np.full(40, 1 / 40))])
    pieces = csr_array(np.stack([rng.multinomial(length, shares) for length in lengths]).astype(float))
    labels = [(["good", "bad", "dull"][i],) for i in rng.choice(3, num, p=[0.5, 0.3, 0.2])]
    return Side(
        Texts(lengths, "tokens", pieces, unknown=0),
        Decisions(labels, rng.beta(sure, 2, num)),
        rng.normal(size=(num, 6)) + vectors,
    )


def compared(now: Side, **options: Any) -> Drift:
    return compare_sides(side(0, 300), now, **{"alarm_rate": 0.05, **options})


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"longer": 8}, {"length in tokens"}),
        ({"unknown": 0.2}, {"unknown pieces", "pieces"}),
        ({"sure": 1.5}, {"confidence"}),
        ({"vectors": 0.7}, {"vectors", "vectors told apart"}),
    ],
)
def test_what_has_moved_is_named_and_nothing_else(change: dict[str, Any], names: set[str]) -> None:
    found = compared(side(1, 200, **change))
    assert {shift.name for shift in found.shifts if shift.alarm} == names
    assert bool(found.strange) == ("vectors" in names)


def test_other_labels() -> None:
    now = side(1, 200)
    assert now.decisions is not None
    flipped = Decisions([("bad",) if i % 3 else row for i, row in enumerate(now.decisions.labels)])
    found = compared(Side(now.texts, flipped))
    assert {shift.name for shift in found.shifts if shift.alarm} == {"predicted labels"}
    assert list(found.labels) == ["good", "bad", "dull"]
    assert found.labels["bad"][1] > 0.6 > found.labels["bad"][0]


@pytest.mark.parametrize("num", [15, 150])
def test_false_alarms_are_as_rare_as_stated_however_few_the_requests(num: int) -> None:
    """25 comparisons of one source with itself at a rate of 10%: seven alarms or more have a probability of 1%."""
    pairs = [(side(seed, 120), side(1000 + seed, num)) for seed in range(25)]
    assert sum(compare_sides(*pair, alarm_rate=0.1, small_psi=0).alarm for pair in pairs) < 7


def test_a_certain_and_small_change_is_told_without_an_alarm() -> None:
    rng = np.random.default_rng(0)
    many, moved = (Side(Texts(rng.poisson(mean, 6000))) for mean in (12, 12.6))
    found = compare_sides(many, moved)
    length = found.shifts[0]
    assert (length.is_certain, length.alarm) == (True, False)
    assert 0.01 < length.value < 0.1
    assert length.usual is not None
    assert length.usual < 0.01
    assert compare_sides(many, moved, small_psi=0.01).shifts[0].alarm


def test_what_one_side_lacks_is_left_out() -> None:
    rng = np.random.default_rng(0)
    bare = Side(Texts(rng.poisson(12, 50)))
    assert [shift.name for shift in compared(bare).shifts] == ["length in tokens"]


def test_too_few_requests_are_refused() -> None:
    with pytest.raises(DataError, match="now: 9 requests; drift needs 10 or more"):
        compared(side(1, 9))
