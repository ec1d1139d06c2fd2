"""Splits: shares of every class, equal texts together, the same for the same seed whatever the order."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.data.split import leaked, split_rows
from bertsmith.errors import DataError


def test_every_class_gives_its_share() -> None:
    texts = [f"text {i}" for i in range(1000)]
    labels = ["a"] * 500 + ["b"] * 300 + ["c"] * 200
    split = split_rows(texts, labels, 0.1, seed=1)
    assert Counter(labels[i] for i in split.validation) == {"a": 50, "b": 30, "c": 20}
    assert split.warnings() == []


def test_the_seed_decides_and_the_order_of_rows_does_not() -> None:
    texts = [f"text {i}" for i in range(200)]
    labels = [str(i % 3) for i in range(200)]
    first = {texts[i] for i in split_rows(texts, labels, 0.2, seed=1).validation}
    again = split_rows(texts[::-1], labels[::-1], 0.2, seed=1)
    assert {texts[::-1][i] for i in again.validation} == first
    assert {texts[i] for i in split_rows(texts, labels, 0.2, seed=2).validation} != first


@given(
    st.lists(st.tuples(st.integers(0, 12), st.sampled_from("abc")), min_size=12, max_size=60),
    st.floats(0.05, 0.6),
    st.integers(0, 5),
)
def test_both_sides_hold_all_rows_and_share_no_text(rows: list[tuple[int, str]], fraction: float, seed: int) -> None:
    spellings = ["Text {}", "text  {}", " TEXT {}"]
    texts = [spellings[i % 3].format(number) for i, (number, _) in enumerate(rows)]
    labels = [label for _, label in rows]
    # A text of its own for each class, so that there is always something to split off.
    texts += [f"{label} {i}" for label in "abc" for i in range(4)]
    labels += [label for label in "abc" for _ in range(4)]
    split = split_rows(texts, labels, fraction, seed)
    assert sorted([*split.train, *split.validation]) == list(range(len(texts)))
    assert leaked([texts[i] for i in split.train], [texts[i] for i in split.validation]) == 0
    assert len(split.validation) <= max(1, round(fraction * len(texts)))


def test_classes_with_one_text_stay_in_training_and_are_named() -> None:
    texts = [f"text {i}" for i in range(20)] + ["alone"]
    split = split_rows(texts, ["a"] * 20 + ["rare"], 0.5, seed=0)
    assert 20 in split.train
    assert split.warnings() == ["classes with a single text, all in training: 'rare'"]
    assert split.warnings(told=["rare"]) == []


def test_small_classes_and_repeated_texts_are_told() -> None:
    texts = [f"text {i}" for i in range(97)] + ["one", "two", "TEXT 0"]
    split = split_rows(texts, ["a"] * 97 + ["small"] * 2 + ["a"], 0.1, seed=0)
    assert split.warnings() == [
        "classes without a validation row, being too small: 'small'",
        "1 rows repeat the text of another; equal texts were kept on one side",
    ]
    assert split.warnings(told=["small"]) == split.warnings()[1:]


def test_rows_without_classes_split_as_one() -> None:
    split = split_rows([f"text {i}" for i in range(50)], None, 0.1, seed=0)
    assert (len(split.train), len(split.validation)) == (45, 5)
    assert split.validation.dtype == np.int64


@pytest.mark.parametrize("texts", [["one"], ["same", "Same", "same "], []])
def test_too_few_texts_are_refused(texts: list[str]) -> None:
    with pytest.raises(DataError, match="too few to split off 10% for validation; give a validation file"):
        split_rows(texts, ["a"] * len(texts), 0.1, seed=0)


def test_leakage_is_counted_up_to_case_space_and_unicode_form() -> None:
    assert leaked(["Ein  Café", "x"], ["ein cafe\u0301 ", "ein cafe", "X", "X"]) == 3
