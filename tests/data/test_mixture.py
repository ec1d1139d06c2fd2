"""Mixtures by hand, and what always holds of them: shares, even repetition, the same at any time."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.data.mixture import Mixture, epoch_counts
from bertsmith.data.order import step_samples, steps_per_epoch


def test_an_epoch_by_hand() -> None:
    # 8 and 2 samples with alpha 0.5: shares ~ 2.83 and 1.41, two to one; 8 stand once, so the others have 4 places.
    mixture = Mixture(["abcdefgh", "xy"], alpha=0.5)
    assert mixture.counts.tolist() == [8, 4]
    assert "".join(mixture) == "abcdefghxxyy"
    assert mixture[-1] == "y"
    assert mixture[6:10] == ["g", "h", "x", "x"]
    with pytest.raises(IndexError):
        mixture[12]


def test_ends() -> None:
    assert epoch_counts([900, 100], 1).tolist() == [900, 100]
    assert epoch_counts([900, 100], 0).tolist() == [900, 900]
    # 0.3, as in XLM-R: 900^0.3 = 7.697, 100^0.3 = 3.981; 900 * 3.981 / 7.697 = 465.5.
    assert epoch_counts([900, 100], 0.3).tolist() == [900, 466]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=5), st.floats(0, 1))
def test_every_sample_comes_and_evenly(sizes: list[int], alpha: float) -> None:
    mixture = Mixture([[(part, n) for n in range(size)] for part, size in enumerate(sizes)], alpha)
    times = Counter(mixture)
    for part, size in enumerate(sizes):
        of_part = [times[part, n] for n in range(size)]
        assert max(of_part) - min(of_part) <= 1
        assert sum(of_part) == mixture.counts[part]
        assert min(of_part) >= 1
    largest = int(np.argmax(sizes))
    assert mixture.counts[largest] == sizes[largest]


def test_the_parts_of_each_step_are_those_of_the_shares() -> None:
    mixture = Mixture([["big"] * 900, ["small"] * 100], alpha=0.5)
    drawn: Counter[str] = Counter()
    for step in range(steps_per_epoch(len(mixture), 32)):
        epoch, places = step_samples(step, len(mixture), 32, seed=3)
        assert epoch == 0
        drawn.update(mixture[place] for place in places.tolist())
    assert drawn == {"big": 900, "small": 300}
