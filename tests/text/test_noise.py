"""Small changes of texts: what they are, and what they leave alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.text.noise import (
    NEIGHBOURS,
    TextChange,
    changes,
    end_changed,
    lower,
    mistyped,
    swapped,
    title,
    typos,
    upper,
    word_dropout,
)
from bertsmith.text.tags import word_borders

ALL = changes(1.0, 0.5)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_neighbours_on_the_keyboard() -> None:
    assert NEIGHBOURS["g"] == "bfhtvy"
    assert NEIGHBOURS["q"] == "aw"
    assert NEIGHBOURS["m"] == "jkn"
    assert all(letter in NEIGHBOURS[other] for letter, beside in NEIGHBOURS.items() for other in beside)


def test_two_letters_change_places() -> None:
    assert {swapped("abc", rng(i)) for i in range(20)} == {"bac", "acb"}
    assert swapped("aaa", rng()) == "aaa"


def test_a_letter_becomes_one_beside_it_in_its_case() -> None:
    assert {mistyped("Q", rng(i)) for i in range(20)} == {"A", "W"}
    assert mistyped("城市", rng()) == "城市"


@pytest.mark.parametrize("seed", range(3))
def test_as_many_words_get_a_typo_as_are_asked_for(seed: int) -> None:
    text = " ".join(["alphabet"] * 4000)
    changed = typos(0.1).apply(text, rng(seed)).split()
    share = sum(word != "alphabet" for word in changed) / 4000
    assert abs(share - 0.1) < 4 * (0.1 * 0.9 / 4000) ** 0.5


def test_dropped_words_leave_the_others_and_one_at_least() -> None:
    assert word_dropout(0.99).apply("a b c", rng()) in ("a", "b", "c")
    kept = word_dropout(0.5).apply("one two three four five six", rng()).split()
    assert 0 < len(kept) < 6
    assert [word for word in ["one", "two", "three", "four", "five", "six"] if word in kept] == kept
    assert word_dropout(0.0).apply("one  two", rng()) == "one  two"


def test_case_and_the_end_of_a_text() -> None:
    assert upper("Straße ﬁx") == "STRAßE ﬁX"
    assert lower("İstanbul X") == "İstanbul x"
    assert title("it's NASA, mAc") == "It's Nasa, Mac"
    assert [end_changed(text) for text in ("So what?!", "So what", "...", "")] == ["So what", "So what.", "...", ""]


@given(st.text(max_size=60), st.integers(0, 5))
def test_a_change_that_keeps_places_keeps_length_and_words(text: str, seed: int) -> None:
    for change in (typos(1.0), *ALL):
        changed = change.apply(text, rng(seed))
        if change.keeps_places:
            assert len(changed) == len(text)
            assert word_borders(changed).tolist() == word_borders(text).tolist()


@given(st.text(max_size=60))
def test_a_change_is_a_function_of_what_it_draws(text: str) -> None:
    for change in ALL:
        assert change.apply(text, rng(1)) == change.apply(text, rng(1))


def test_names_differ() -> None:
    assert len({change.name for change in ALL}) == len(ALL)
    assert all(isinstance(change, TextChange) and change.what for change in ALL)
