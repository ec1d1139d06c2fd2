"""Passages cover the corpus, keep to their documents and do not depend on who reads them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from toys import ToyCorpus

from bertsmith.data.passages import Passages
from bertsmith.errors import DataError


def test_passages_hold_every_sentence_once_in_order() -> None:
    corpus = ToyCorpus()
    passages = Passages(corpus, max_tokens=20)
    sentences = [sentence.tolist() for passage in passages for sentence in passage.sentences]
    assert sentences == [corpus.sentence(i).tolist() for i in range(200)]
    assert all(a.document <= b.document for a, b in pairwise(passages))


def test_passages_reach_their_length_unless_the_document_ends() -> None:
    passages = Passages(ToyCorpus(), max_tokens=20, short_fraction=0.0)
    lengths = [sum(map(len, passage.sentences)) for passage in passages]
    last = [i == len(passages) - 1 or passages[i + 1].document != passages[i].document for i in range(len(passages))]
    assert all(20 <= length < 20 + 8 for length, end in zip(lengths, last, strict=True) if not end)


def test_some_passages_are_short_on_purpose() -> None:
    whole = Passages(ToyCorpus(200), max_tokens=20, short_fraction=0.0)
    mixed = Passages(ToyCorpus(200), max_tokens=20, short_fraction=0.5)
    assert len(mixed) > 1.1 * len(whole)
    assert [p.document for p in Passages(ToyCorpus(), max_tokens=20)] == [
        p.document for p in Passages(ToyCorpus(), max_tokens=20)
    ]


def test_elsewhere_is_another_document() -> None:
    passages = Passages(ToyCorpus(), max_tokens=20)
    rng = np.random.default_rng(0)
    drawn = {passages.elsewhere(3, rng).document for _ in range(500)}
    assert drawn == set(range(20)) - {3}
    assert Passages(ToyCorpus(num_documents=1), max_tokens=20).elsewhere(0, rng).document == 0


def test_a_corpus_without_tokens_is_refused() -> None:
    with pytest.raises(DataError, match="no sentence"):
        Passages(ToyCorpus(num_documents=0), max_tokens=20)
