"""How answers are compared: SQuAD's and CMRC 2018's definitions, worked by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.metrics.answers import Scoring, cmrc_segments, normalized, score_answer


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("The Eiffel Tower", "eiffel tower"),
        ("a.m.", "am"),  # marks go first, so the article within is part of a word by then
        ("an A-Team", "ateam"),
        ("A, the an", ""),
        ("  two\tblanks\n", "two blanks"),
        ("Théâtre — an “act”", "théâtre — “act”"),  # ASCII marks alone are dropped
        ("ANOTHER theory", "another theory"),
        ("vitamin a", "vitamin"),
        ("", ""),
    ],
)
def test_normalization(text: str, plain: str) -> None:
    assert normalized(text) == plain


@pytest.mark.parametrize(
    ("answer", "known", "f1", "exact"),
    [
        ("the Tower.", ["tower"], 1.0, 1.0),
        # Two of three words given, two of two known: 2 * 2 / (3 + 2).
        ("red brick house", ["brick house"], 0.8, 0.0),
        # A word counts as often as it occurs in both: 2 * 1 / (2 + 1).
        ("to to", ["to"], 2 / 3, 0.0),
        # The best of several for each measure by itself.
        ("in 1066", ["1066", "in the year 1066"], 0.8, 0.0),
        ("1066", ["in 1066", "1066"], 1.0, 1.0),
        ("north", ["south"], 0.0, 0.0),
        # None is known: only none is right.
        ("", [], 1.0, 1.0),
        ("something", [], 0.0, 0.0),
        ("", ["something"], 0.0, 0.0),
        # An answer of articles alone is none, and stands back behind others.
        ("the", [], 1.0, 1.0),
        ("", ["the", "house"], 0.0, 0.0),
    ],
)
def test_squad_by_hand(answer: str, known: list[str], f1: float, exact: float) -> None:
    score = score_answer(answer, known)
    assert score.f1 == pytest.approx(f1)
    assert score.exact_match == exact


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("北京大学", ["北", "京", "大", "学"]),
        ("1998年，北京。", ["1998", "年", "北", "京"]),
        ("NBA 全明星", ["nba", "全", "明", "星"]),
        ("3.5公里", ["3.5", "公", "里"]),
        ("a-b", ["ab"]),
        ("，。", []),
    ],
)
def test_cmrc_segments(text: str, segments: list[str]) -> None:
    assert cmrc_segments(text) == segments


@pytest.mark.parametrize(
    ("answer", "known", "f1", "exact"),
    [
        ("北京大学", ["北京大学。"], 1.0, 1.0),
        # The longest run in common is 京大: 2 * 2 / (3 + 3).
        ("东京大", ["京大学"], 2 / 3, 0.0),
        # Two characters in common that do not stand together: 2 * 1 / (2 + 2), where shared words would give 1.
        ("京北", ["北京"], 0.5, 0.0),
        ("上海", ["北京"], 0.0, 0.0),
        ("", [], 1.0, 1.0),
        ("北", [], 0.0, 0.0),
    ],
)
def test_cmrc_by_hand(answer: str, known: list[str], f1: float, exact: float) -> None:
    score = score_answer(answer, known, "cmrc2018")
    assert score.f1 == pytest.approx(f1)
    assert score.exact_match == exact


@pytest.mark.parametrize("scoring", ["squad", "cmrc2018"])
@given(st.text(), st.lists(st.text(min_size=1), min_size=1, max_size=3))
def test_an_answer_that_is_known_is_right_and_none_is_better(scoring: Scoring, text: str, known: list[str]) -> None:
    score = score_answer(text, known, scoring)
    assert 0 <= score.f1 <= 1
    assert score.exact_match in (0, 1)
    if normalized(known[0]):
        assert score_answer(known[0], known, scoring).exact_match == 1
