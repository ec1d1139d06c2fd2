"""Dictionaries of phrases: marks by hand, clashes and other faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertsmith.data.phrases import Phrases, read_phrases
from bertsmith.errors import DataError
from bertsmith.text.tokenizer import Tokenizer

WORDS = ("mayor", "of", "new", "york", "jersey", "##s", "in")
TOKENIZER = Tokenizer.from_vocab(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])


def read(folder: Path, text: str) -> Phrases:
    (folder / "phrases.tsv").write_text(text, encoding="utf-8")
    return read_phrases(folder / "phrases.tsv", TOKENIZER)


def picture(phrases: Phrases, text: str) -> list[str]:
    """For each piece what it continues: p a phrase, e an entity, b both, . neither."""
    (ids,) = TOKENIZER.pieces_batch([text])
    return [{0: ".", 2: "p", 4: "e", 6: "b"}[mark] for mark in phrases.marks(ids).tolist()]


def test_the_longest_phrase_and_the_entity_within_it(tmp_path: Path) -> None:
    phrases = read(tmp_path, "New York\tentity\nmayor of New York\tphrase\n\nmayor of\n")
    #                                                              mayor of new york
    assert picture(phrases, "mayor of New York") == [".", "p", "p", "b"]
    assert picture(phrases, "in New York") == [".", ".", "b"]
    assert picture(phrases, "mayor of New Jersey") == [".", "p", ".", "."]


def test_only_whole_words(tmp_path: Path) -> None:
    phrases = read(tmp_path, "new york")
    assert picture(phrases, "new yorks in new york") == [".", ".", ".", ".", ".", "p"]


def test_the_same_entry_twice_is_one(tmp_path: Path) -> None:
    phrases = read(tmp_path, "New York\tentity\nnew york\tentity\n")
    assert [entry.text for entry in phrases.entries] == ["New York"]


def test_clashing_entries_are_told_with_their_lines(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, "New York\tentity\nmayor of\nnew york\n")
    assert str(caught.value) == (
        f"{tmp_path / 'phrases.tsv'}, line 3: 'new york' is of kind 'phrase', and line 1 has 'New York', the same to "
        "the tokenizer, of kind 'entity'; leave one of the two out"
    )


def test_all_faults_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, "New York\tentitty\nBoston\n\u200b\tentity\n")
    first, second, third = str(caught.value).splitlines()
    assert first.endswith("line 1: unknown kind 'entitty'; did you mean 'entity'?")
    assert "line 2: 'Boston' is [UNK], in whole or in part" in second
    assert "has no tokens" in third
    with pytest.raises(DataError, match=r"line 1: 'new \[MASK\]' has \[MASK\], which is no word"):
        read(tmp_path, "new [MASK]\n")
    with pytest.raises(DataError, match="expected phrases, one a line, found none"):
        read(tmp_path, "\n")
