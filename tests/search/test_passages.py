"""Passages: nothing is left out, none is too long, and their places are right."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from toys import WORDS, toy_tokenizer

from bertsmith.search.documents import Document
from bertsmith.search.passages import PassageSettings, cut_document

TOKENIZER = toy_tokenizer()
texts = st.lists(st.sampled_from([*WORDS[:6], "ba.", "Be.", "。", "今天", "\n\n", "  ", "xyz", "é"]), min_size=1).map(
    " ".join
)


def test_sentences_are_put_together_up_to_the_limit_and_overlap() -> None:
    document = Document("a", "Ba be bi. Bo bu. Da de. Di do.", "ka")
    passages = cut_document(document, TOKENIZER, PassageSettings(passage_tokens=8, overlap_sentences=1))
    assert [document.text[part.start : part.end] for part in passages] == [
        "Ba be bi. Bo bu.",
        "Bo bu. Da de.",
        "Da de. Di do.",
    ]
    assert [TOKENIZER.vocab[piece] for piece in passages[1].pieces] == ["ka", "bo", "bu", "[UNK]", "da", "de", "[UNK]"]


def test_a_long_sentence_is_cut_between_pieces() -> None:
    document = Document("a", "  " + " ".join(WORDS[:20]) + "  ")
    passages = cut_document(document, TOKENIZER, PassageSettings(passage_tokens=8, overlap_sentences=0))
    assert [document.text[part.start : part.end] for part in passages] == [
        " ".join(WORDS[:8]),
        " ".join(WORDS[8:16]),
        " ".join(WORDS[16:20]),
    ]


@given(text=texts, limit=st.integers(8, 20), overlap=st.integers(0, 3))
def test_every_character_is_in_a_passage(text: str, limit: int, overlap: int) -> None:
    passages = cut_document(
        Document("a", text), TOKENIZER, PassageSettings(passage_tokens=limit, overlap_sentences=overlap)
    )
    covered = np.zeros(len(text), dtype=bool)
    for part in passages:
        assert 0 <= part.start < part.end <= len(text)
        assert len(part.pieces) <= limit
        covered[part.start : part.end] = True
    assert not "".join(sign for sign, is_in in zip(text, covered, strict=True) if not is_in).strip()
    starts = [part.start for part in passages]
    assert starts == sorted(set(starts))
