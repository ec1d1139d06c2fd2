"""The memory of words gives the very ids that the tokenizer gives."""

from __future__ import annotations

import json
import lzma
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.text.pieces import PieceCache
from bertsmith.text.tokenizer import Tokenizer

LETTERS = list("abcdeé")
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ab", "##ab", "##cd", ".", "你", *LETTERS]
TOKENS += [f"##{letter}" for letter in LETTERS]
UNITS = ["ab", "abcd", "é", "e\u0301", "\u0301", "Σ", "İ", " ", "  ", "\t", "\n", "\x1c", "\x85", "\u00a0", "\u3000"]
UNITS += ["[MASK]", "[mask]", "你好", "\u200b", ".", "x", "\x00", "\ufffd", "a" * 101]


@pytest.mark.parametrize("lowercase", [True, False])
@given(texts=st.lists(st.lists(st.sampled_from(UNITS) | st.characters(codec="utf-8")).map("".join), max_size=6))
def test_equal_to_the_tokenizer_on_whole_texts(lowercase: bool, texts: list[str]) -> None:
    tokenizer = Tokenizer.from_vocab(TOKENS, lowercase=lowercase)
    cache = PieceCache(tokenizer)
    expected = [ids.tolist() for ids in tokenizer.pieces_batch(texts)]
    assert [ids.tolist() for ids in cache.batch(texts)] == expected
    assert [ids.tolist() for ids in cache.batch(texts)] == expected


def test_forgetting_changes_nothing() -> None:
    tokenizer = Tokenizer.from_vocab(TOKENS)
    cache = PieceCache(tokenizer, max_characters=40)
    for texts in (["ab cd", "abcd"], ["ab é .", "cd"], ["ab cd"]):
        assert [ids.tolist() for ids in cache.batch(texts)] == [ids.tolist() for ids in tokenizer.pieces_batch(texts)]


def test_added_tokens_with_blanks_are_found() -> None:
    spec = Tokenizer.from_vocab([*TOKENS, "[new word]"]).spec
    added = replace(spec.added_tokens[0], content="[new word]")
    tokenizer = Tokenizer(replace(spec, added_tokens=(*spec.added_tokens, added)))
    assert PieceCache(tokenizer).batch(["ab [new word] ab"])[0].tolist() == [5, tokenizer.ids["[new word]"], 5]


@pytest.mark.shared
@pytest.mark.parametrize("language", ["ar", "hi", "ru", "zh"])
def test_equal_on_real_text(shared: Path, language: str) -> None:
    vocabulary = (shared / "vocab/bert-base-cased-vocab.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    tokenizer = Tokenizer.from_vocab(vocabulary, lowercase=language == "ru")
    with lzma.open(shared / f"qa/xquad/xquad.{language}.json.xz") as file:
        articles = json.load(file)["data"]
    texts = [paragraph["context"] for article in articles for paragraph in article["paragraphs"]]
    cache = PieceCache(tokenizer)
    for found, expected in zip(cache.batch(texts), tokenizer.pieces_batch(texts), strict=True):
        assert found.tolist() == expected.tolist()
