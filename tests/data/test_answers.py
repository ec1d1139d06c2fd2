"""Known answers in the shapes that files have, found where they are said to be or near it."""

from __future__ import annotations

from typing import Any

import pytest

from bertsmith.data.answers import KnownAnswer, known_answers
from bertsmith.errors import DataError

CONTEXT = "Red roses and red wine."


@pytest.mark.parametrize(
    "value",
    [
        {"text": ["red"], "answer_start": [14]},
        {"text": "red", "answer_start": 14},
        [{"text": "red", "answer_start": 14}],
    ],
)
def test_shapes(value: Any) -> None:
    assert known_answers(value, CONTEXT, "row 1") == (KnownAnswer("red", 14, 0),)


@pytest.mark.parametrize("value", [[], {"text": [], "answer_start": []}, "", " "])
def test_no_answer(value: Any) -> None:
    assert known_answers(value, CONTEXT, "row 1") == ()


@pytest.mark.parametrize("value", ["wine", ["wine"], {"text": ["wine"]}, [{"text": "wine"}]])
def test_an_answer_without_its_place_is_looked_for(value: Any) -> None:
    assert known_answers(value, CONTEXT, "row 1") == (KnownAnswer("wine", 18, None),)


@pytest.mark.parametrize(
    ("text", "stated", "found"),
    [
        ("roses", 5, KnownAnswer("roses", 4, 1)),
        ("roses", 3, KnownAnswer("roses", 4, 1)),
        ("r", 5, KnownAnswer("r", 4, 1)),  # the nearest of several, not the first
        ("wine ", 18, KnownAnswer("wine", 18, 0)),  # stands there but for its blank
        ("Red", -3, KnownAnswer("Red", 0, 3)),
        ("wine.", 900, KnownAnswer("wine.", 18, 882)),
    ],
)
def test_an_answer_elsewhere_is_found_again(text: str, stated: int, found: KnownAnswer) -> None:
    assert known_answers([{"text": text, "answer_start": stated}], CONTEXT, "row 1") == (found,)


def test_some_of_several_answers_may_be_in_other_words() -> None:
    value = {"text": ["rosé", "wine"], "answer_start": [14, 18]}
    assert known_answers(value, CONTEXT, "row 1") == (KnownAnswer("rosé", None, None), KnownAnswer("wine", 18, 0))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"text": ["beer", "ale"], "answer_start": [0, 0]}, "row 7: an answer that is not in its context: 'beer'"),
        ({"text": ["red", "wine"], "answer_start": [14]}, "row 7: expected .*answer_start"),
        ({"texts": ["red"]}, "row 7: expected .*answer_start"),
        (12, "row 7: expected"),
        ([{"text": "red", "answer_start": "14"}], "row 7: 'answer_start' is no whole number: '14'"),
        ([{"text": "", "answer_start": 0}], "row 7: an answer without text"),
        ([None], "row 7: an answer without text"),
    ],
)
def test_what_is_no_answer_is_refused(value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        known_answers(value, CONTEXT, "row 7")
