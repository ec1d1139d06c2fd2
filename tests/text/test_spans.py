"""Spans: the best of all against trying every one, and places of a text in another."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.text.spans import best_spans, nearest_occurrence


@given(st.integers(0, 12), st.integers(1, 15), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_best_spans_are_those_of_trying_all(num_pieces: int, max_pieces: int, num_best: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Few distinct values, so that scores are often equal.
    starts, ends = rng.integers(-3, 4, size=(2, num_pieces)).astype(np.float32)
    may_start = rng.random(num_pieces) < 0.7
    runs = np.sort(rng.integers(0, 2, size=num_pieces))
    spans = best_spans(starts, ends, may_start=may_start, runs=runs, max_pieces=max_pieces, num_best=num_best)
    every = [
        (-(starts[i] + ends[j]), i, j)
        for i, j in product(range(num_pieces), repeat=2)
        if i <= j < i + max_pieces and may_start[i] and runs[i] == runs[j]
    ]
    assert (-spans.scores).tolist() == [score for score, _, _ in sorted(every)[:num_best]]
    chosen = list(zip((-spans.scores).tolist(), spans.first.tolist(), spans.last.tolist(), strict=True))
    assert set(chosen) <= set(every)
    assert chosen == sorted(chosen)


def test_a_span_that_may_not_begin_there_loses_to_a_worse_one() -> None:
    starts = np.array([9, 1, 0], dtype=np.float32)
    ends = np.array([0, 2, 5], dtype=np.float32)
    spans = best_spans(
        starts, ends, may_start=np.array([False, True, True]), runs=np.zeros(3), max_pieces=2, num_best=2
    )
    assert list(zip(spans.first.tolist(), spans.last.tolist(), spans.scores.tolist(), strict=True)) == [
        (1, 2, 6.0),
        (2, 2, 5.0),
    ]


@pytest.mark.parametrize(("stated", "found"), [(-5, 0), (0, 0), (4, 0), (6, 0), (7, 13), (13, 13), (99, 13)])
def test_nearest_occurrence(stated: int, found: int) -> None:
    assert nearest_occurrence("to be or not to be", "to", stated) == found


def test_what_occurs_nowhere() -> None:
    assert nearest_occurrence("to be", "or", 1) is None


@given(st.text("ab", min_size=1), st.text("ab", min_size=1, max_size=3), st.integers(0, 20))
def test_no_occurrence_is_nearer(text: str, part: str, stated: int) -> None:
    places = [place for place in range(len(text)) if text.startswith(part, place)]
    found = nearest_occurrence(text, part, stated)
    assert found in places if places else found is None
    if found is not None:
        assert abs(found - stated) == min(abs(place - stated) for place in places)
