"""Words and their characters, whatever a task makes of its texts before it reads them."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import WORDS, toy_tokenizer

from bertsmith.explain.words import BESIDE, WordMap, map_words
from bertsmith.tasks import TASKS
from bertsmith.text.tracing import TracingTokenizer
from bertsmith.text.windows import WindowSettings, cut_windows, pieces_of


def mapped(name: str, record: Any, **settings: Any) -> WordMap:
    task = TASKS[name].from_dict(settings, "test")
    request = task.request(record)
    windows = task.encode(request, toy_tokenizer(), np.random.default_rng(0))
    return map_words(task, request, toy_tokenizer(), windows)


def said(found: WordMap) -> list[tuple[str, str, int, int]]:
    return [(found.texts[word.text].name, word.word, word.start, word.end) for word in found.words]


def test_words_of_one_text() -> None:
    found = mapped("classification", " Ba, dess! ", labels=["a", "b"])
    assert said(found) == [("text", "Ba", 1, 3), ("text", ",", 3, 4), ("text", "dess", 5, 9), ("text", "!", 9, 10)]
    assert [row.tolist() for row in found.tokens] == [[-1, 0, 1, 2, 2, 2, 3, -1]]


def test_a_word_in_several_windows_is_one_word() -> None:
    found = mapped("classification", "ba be bi bo bu da", labels=["a", "b"], max_length=6, stride=2)
    assert [row.tolist() for row in found.tokens] == [[-1, 0, 1, 2, 3, -1], [-1, 2, 3, 4, 5, -1]]
    assert [word.word for word in found.of_windows([1]).words] == ["bi", "bo", "bu", "da"]
    assert found.of_windows([1]).tokens[0].tolist() == [-1, 0, 1, 2, 3, -1]


def test_a_pair_of_equal_texts_is_told_apart() -> None:
    found = mapped("classification", ("ba be", "ba be"), labels=["a", "b"])
    assert [(text.name, text.text) for text in found.texts] == [("text", "ba be"), ("text_pair", "ba be")]
    assert found.tokens[0].tolist() == [-1, 0, 1, -1, 2, 3, -1]


def test_a_prompt_stands_beside_the_text() -> None:
    found = mapped("embedding", ("ba be", "bo"), prompt="da: ")
    assert ("text", "be", 3, 5) in said(found)
    assert ("text_pair", "bo", 0, 2) in said(found)
    beside = [(name, word) for name, word, *_ in said(found) if name.startswith(BESIDE)]
    assert beside == [(name, word) for name in (BESIDE, f"{BESIDE} 1") for word in ("da", ":")]


def test_a_question_joined_to_each_choice_is_one_question() -> None:
    record = {"question": "ba be", "choices": ["be", "bi bo"], "context": "da"}
    found = mapped("multiple_choice", record)
    names = {text.text: text.name for text in found.texts}
    assert names == {"ba be": "question", "da": "context", "be": "choices 0", "bi bo": "choices 1"}
    assert len(found.words) == 2 + 1 + 1 + 2
    first, second = found.tokens
    assert first[3:5].tolist() == second[3:5].tolist()
    assert said(found)[first[5]] == ("choices 0", "be", 0, 2)


def test_a_tagged_text_keeps_its_own_characters_among_its_neighbours() -> None:
    record = {"text": "ba,be  bi", "before": ["da", "ba"], "after": ["bi"]}
    found = mapped("token_classification", record, labels=["O", "B-A"], context_tokens=8)
    assert [one for one in said(found) if one[0] == "text"] == [
        ("text", "ba", 0, 2),
        ("text", ",", 2, 3),
        ("text", "be", 3, 5),
        ("text", "bi", 7, 9),
    ]
    assert [word for name, word, *_ in said(found) if name == BESIDE] == ["da", "ba", "bi"]


def test_a_tagged_text_is_told_from_neighbours_that_say_the_same() -> None:
    record = {"text": "ba  ba\nba ", "before": ["ba", "ba"], "after": ["ba", "ba"]}
    found = mapped("token_classification", record, labels=["O", "B-A"], context_tokens=8)
    assert said(found)[:3] == [("text", "ba", 0, 2), ("text", "ba", 4, 6), ("text", "ba", 7, 9)]
    assert found.tokens[0].tolist() == [-1, 3, 4, 0, 1, 2, 5, 6, -1]


def test_a_long_tagged_text_takes_steps_as_its_words_not_as_their_square() -> None:
    def num_calls(num_words: int) -> int:
        calls = []
        request = {"text": "ba " * num_words}
        sys.setprofile(lambda frame, event, argument: calls.append(event) if event.endswith("call") else None)
        try:
            mapped("token_classification", request, labels=["O", "B-A"])
        finally:
            sys.setprofile(None)
        return len(calls)

    first, second, third = (num_calls(number) for number in (500, 1_000, 1_500))
    assert third - second < 1.5 * (second - first)


def test_given_words_stand_in_a_text_of_blanks() -> None:
    found = mapped("token_classification", {"words": ["ba", "b-d", "be"]}, labels=["O", "B-A"])
    assert said(found) == [("words", "ba", 0, 2), ("words", "b-d", 3, 6), ("words", "be", 7, 9)]


def test_a_mask_in_a_text_is_no_word() -> None:
    found = mapped("pretraining", "ba [MASK] be")
    assert said(found) == [("text", "ba", 0, 2), ("text", "be", 10, 12)]
    assert found.tokens[0].tolist() == [-1, 0, -1, 1, -1]


def test_reranking_names_each_passage() -> None:
    found = mapped("reranking", {"query": ["ba", "be"], "passages": ["be", "bi"]})
    assert [text.name for text in found.texts] == ["query 0", "query 1", "passages 0", "passages 1"]


WORD = st.sampled_from([*WORDS, "bass", "x", ",", "\u00e9", "\u65e5\u672c", "\u200b", "  "])


@given(words=st.lists(WORD, max_size=40), max_length=st.integers(4, 12), name=st.sampled_from(["windows", "head_tail"]))
def test_traced_windows_are_the_windows(words: list[str], max_length: int, name: Any) -> None:
    text, tokenizer = " ".join(words), toy_tokenizer()
    tracing = TracingTokenizer(tokenizer)
    settings = WindowSettings(max_length=max_length, stride=1, truncation=name)
    plain, traced = (cut_windows(one, pieces_of(one, [text]), settings) for one in (tokenizer, tracing))
    for known, window in zip(plain, traced, strict=True):
        assert tracing.plain(window.input_ids).tolist() == known.input_ids.tolist()
        assert (tracing.pieces(window.input_ids) < 0).tolist() == np.isin(known.input_ids, (2, 3)).tolist()
    for start, end in tracing.read[0].spans().values():
        assert 0 <= start < end <= len(text)


def test_a_tracing_tokenizer_leaves_the_other_as_it_was() -> None:
    tokenizer = toy_tokenizer()
    TracingTokenizer(tokenizer).encode("ba be")
    assert tokenizer.encode("ba be").input_ids.tolist() == [2, 5, 6, 3]


@pytest.mark.parametrize("text", ["", "  "])
def test_a_text_without_pieces_has_no_words(text: str) -> None:
    assert mapped("classification", text, labels=["a", "b"]).words == ()
