"""Sentences: worked examples in several scripts, and what holds for every text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.text.sentences import split_sentences

# Each list is a text's sentences; the text is the list joined by single blanks.
SPACED = [
    ["Dr. J. Smith paid 3.50 dollars.", "Why?", "Nobody knows!"],
    ["He lives in the U.S. Army base.", "The army left the U.S.", "The end."],
    ['"What?" he said.', "(See Fig. 3.)", "Then... nothing.", "It was 12.", "We left."],
    ["1. Introduction.", "Version 2.0 is out.", "Visit www.example.org today."],
    ["Das ist z.B. Berlin.", "Am 3. Oktober kam Dr. Weiß.", "Er blieb bis 1999.", "Punkt."],
    ["M. Dupont arrive.", "Mme. Curie part.", "¿Qué hora es?", "¡Las tres!"],
    ["Это г. Москва.", "Он родился в 1799 г. в Москве.", "Правда?"],
    ["कैसे हो?", "मैं डॉ. शर्मा हूँ।", "ठीक है।"],
    ["كيف حالك؟", "أنا بخير.", "شكرا!"],
    ["یہ کتاب ہے۔", "وہ کہاں ہے؟"],
    ["Wait…", "What?!", "Yes."],
    ["See No. 5 and pp. 3 on Jan. 3.", "He loved art.", "The museum closed."],
]
# No blank follows their marks: the text is the list joined by nothing.
UNSPACED = [
    ["今天很好。", "明天呢？", "好！"],
    ["他说：“好吧。”", "然后走了。"],
    ["「はい。」と言った。", "そうだ。"],
    ["好吃!", "很快?", "是的"],
]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [(" ".join(sentences), sentences) for sentences in SPACED] + [("".join(found), found) for found in UNSPACED],
)
def test_worked_examples(text: str, sentences: list[str]) -> None:
    assert [text[start:end] for start, end in split_sentences(text)] == sentences


def test_a_blank_line_ends_a_sentence_and_a_single_newline_does_not() -> None:
    text = "A title\n\nIt is wrapped\nhere. Next\n \t\nlast"
    assert [text[start:end] for start, end in split_sentences(text)] == [
        "A title",
        "It is wrapped\nhere.",
        "Next",
        "last",
    ]


@pytest.mark.parametrize("text", ["", "   \n \n\t"])
def test_nothing_gives_nothing(text: str) -> None:
    assert split_sentences(text) == []


@given(st.text(alphabet=st.sampled_from(list('aA1 .!?…"”)(\n\t。！？」と中।؟۔-')), max_size=60) | st.text(max_size=60))
def test_spans_are_ordered_trimmed_and_lose_nothing_but_white_space(text: str) -> None:
    spans = split_sentences(text)
    borders = [border for span in spans for border in span]
    assert borders == sorted(borders)
    assert all(text[start:end] == text[start:end].strip() != "" for start, end in spans)
    assert "".join(re.sub(r"\s", "", text[start:end]) for start, end in spans) == re.sub(r"\s", "", text)


@pytest.mark.parametrize(
    "unit", ["!", "\n", ". ", "A. ", '."', "。", "." + " " * 50 + "-" * 50, "\n ", "x", "a.", "(" * 30 + ". "]
)
def test_long_runs_of_anything_take_linear_time(unit: str) -> None:
    # With quadratic time, so many characters would take minutes.
    text = unit * (200_000 // len(unit))
    assert all(start < end for start, end in split_sentences(text))
