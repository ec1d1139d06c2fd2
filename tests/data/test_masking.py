"""Masking, drawn as pictures and by its statistics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.data.masking import Masked, MaskingSettings, mask_tokens

MASK, CLS, SEP = 4, 2, 3
ORDINARY = np.arange(5, 100)


def masked(ids: list[int], continues: str, seed: int = 0, **settings: Any) -> Masked:
    """`continues`: one sign a token, `#` where it continues the word before it."""
    array = np.array(ids)
    return mask_tokens(
        array,
        array > MASK,
        np.array([sign == "#" for sign in continues]),
        MaskingSettings.of(settings),
        mask_id=MASK,
        ordinary_ids=ORDINARY,
        rng=np.random.default_rng(seed),
    )


def picture(result: Masked, length: int) -> str:
    return "".join("x" if place in result.places else "." for place in range(length))


#        CLS a  b  ##b c  SEP d  ##d ##d e  SEP
IDS = [CLS, 10, 11, 12, 13, SEP, 14, 15, 16, 17, SEP]
CONT = "...#...##.."


@pytest.mark.parametrize("seed", range(20))
def test_whole_words_are_masked_whole(seed: int) -> None:
    shown = picture(masked(IDS, CONT, seed, mask_unit="word", mask_fraction=0.4), len(IDS))
    assert shown[2] == shown[3]
    assert shown[6] == shown[7] == shown[8]
    assert shown[0] == shown[5] == shown[10] == "."
    assert 1 <= shown.count("x") <= 3


@pytest.mark.parametrize("seed", range(20))
def test_spans_are_runs_of_whole_words(seed: int) -> None:
    ids = [CLS, *range(10, 50), SEP]
    result = masked(ids, "." * len(ids), seed, mask_unit="span", mask_fraction=0.15)
    assert len(result.places) == 6
    runs = np.split(result.places, np.flatnonzero(np.diff(result.places) > 1) + 1)
    assert len(runs) <= 6


def test_spans_are_longer_than_single_words_on_average() -> None:
    ids = [CLS, *range(10, 90), SEP]

    def runs(unit: str) -> float:
        counts = []
        for seed in range(100):
            places = masked(ids, "." * len(ids), seed, mask_unit=unit).places
            counts.append(len(places) / (1 + np.count_nonzero(np.diff(places) > 1)))
        return float(np.mean(counts))

    assert runs("word") < 1.5 < 2.5 < runs("span")


def test_of_the_chosen_80_percent_are_masked_10_random_10_kept() -> None:
    ids = [CLS, *[50] * 20_000, SEP]
    result = masked(ids, "." * len(ids))
    chosen = result.input_ids[result.places]
    # 3,000 chosen tokens: four standard errors of a share of 0.8 are 0.03, of 0.1 are 0.022. A random token is the old
    # one in 1 of 95 cases.
    assert len(chosen) == 3000
    assert np.mean(chosen == MASK) == pytest.approx(0.8, abs=0.03)
    assert np.mean(chosen == 50) == pytest.approx(0.1 + 0.1 / 95, abs=0.022)
    others = chosen[(chosen != MASK) & (chosen != 50)]
    assert others.min() >= 5
    assert len(np.unique(others)) > 50


@given(
    st.lists(st.integers(5, 99), min_size=0, max_size=60),
    st.sampled_from(["token", "word", "span"]),
    st.integers(0, 2**32),
)
def test_labels_are_what_stood_there_and_all_else_is_untouched(words: list[int], unit: str, seed: int) -> None:
    ids = [CLS, *words, SEP]
    result = masked(ids, "." * len(ids), seed, mask_unit=unit, max_masked_tokens=20)
    original = np.array(ids)
    np.testing.assert_array_equal(original[result.places], result.labels)
    untouched = np.setdiff1d(np.arange(len(ids)), result.places)
    np.testing.assert_array_equal(result.input_ids[untouched], original[untouched])
    assert len(result.places) == (min(20, max(1, round(len(words) * 0.15))) if words else 0)
    assert (np.diff(result.places) > 0).all()
