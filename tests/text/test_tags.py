"""Tags: equal to seqeval's reading in both of its modes, written validly, words as BERT separates them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import toy_tokenizer

from bertsmith.errors import DataError
from bertsmith.text.tags import (
    Scheme,
    Span,
    detect_scheme,
    grammar_of,
    read_spans,
    read_spans_strictly,
    repaired,
    scheme_labels,
    word_borders,
    write_tags,
)

LABELS: dict[Scheme, tuple[str, ...]] = {
    scheme: scheme_labels(["O", "B-PER", "B-LOC"], scheme) for scheme in ("BIO", "BIOES")
}
SEQUENCES = {scheme: st.lists(st.sampled_from(labels), max_size=12) for scheme, labels in LABELS.items()}
SCHEMES = pytest.mark.parametrize("scheme", ["BIO", "BIOES"])


@pytest.mark.peers
def test_every_short_sequence_reads_as_in_seqevals_default_mode() -> None:
    from seqeval.metrics.sequence_labeling import get_entities

    for tags in product(LABELS["BIOES"], repeat=4):
        assert [(kind, start, end - 1) for kind, start, end in read_spans(tags)] == get_entities(list(tags)), tags


@pytest.mark.peers
@SCHEMES
def test_every_short_sequence_reads_as_in_seqevals_strict_mode(scheme: Scheme) -> None:
    from seqeval.scheme import IOB2, IOBES, Entities

    sequences = [list(tags) for tags in product(LABELS[scheme], repeat=4)]
    known = Entities(sequences, {"BIO": IOB2, "BIOES": IOBES}[scheme]).entities
    for tags, entities in zip(sequences, known, strict=True):
        expected = [(entity.tag, entity.start, entity.end) for entity in entities]
        assert [tuple(span) for span in read_spans_strictly(tags, scheme)] == expected, tags


@SCHEMES
@given(st.data())
def test_a_repaired_sequence_is_valid_and_means_the_same(scheme: Scheme, data: st.DataObject) -> None:
    tags = data.draw(SEQUENCES["BIOES"])
    mended = repaired(tags, scheme)
    assert read_spans(mended) == read_spans_strictly(mended, scheme) == read_spans(tags)
    assert repaired(mended, scheme) == mended
    labels = LABELS[scheme]
    assert grammar_of(labels, scheme).admits(np.array([labels.index(tag) for tag in mended], dtype=np.intp))


@SCHEMES
def test_the_grammar_admits_what_repair_leaves_alone_and_nothing_else(scheme: Scheme) -> None:
    labels = LABELS[scheme]
    grammar = grammar_of(labels, scheme)
    for sequence in product(range(len(labels)), repeat=3):
        tags = [labels[index] for index in sequence]
        assert grammar.admits(np.array(sequence)) == (repaired(tags, scheme) == tags), tags


def test_iob1_becomes_iob2() -> None:
    # IOB1 writes B- only where a span follows another of its type
    assert repaired(["I-PER", "I-PER", "B-PER", "O", "I-LOC"], "BIO") == ["B-PER", "I-PER", "B-PER", "O", "B-LOC"]


def test_spans_are_written_in_either_scheme() -> None:
    spans = [Span("A", 0, 1), Span("B", 1, 4)]
    assert write_tags(spans, 5, "BIO") == ["B-A", "B-B", "I-B", "I-B", "O"]
    assert write_tags(spans, 5, "BIOES") == ["S-A", "B-B", "I-B", "E-B", "O"]


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        (["O", "B-PER", "I-PER"], "BIO"),
        (["O", "I-PER"], "BIO"),
        (["O", "S-PER"], "BIOES"),
        (["NOUN", "VERB", "O"], "plain"),
        (["B-PER.NOM", "B-X-Y"], "BIO"),
        (["O"], "plain"),
    ],
)
def test_schemes_are_told_from_the_tags(tags: list[str], scheme: Scheme) -> None:
    assert detect_scheme(tags) == scheme


def test_tags_that_are_prefixed_in_part_are_refused() -> None:
    with pytest.raises(DataError, match=r"in part only: 'L-PER', 'PER' are not; .*BILOU's L- is E-"):
        detect_scheme(["O", "B-PER", "PER", "L-PER"])


def test_labels_hold_every_prefix_of_every_type() -> None:
    assert scheme_labels(["O", "I-B", "B-A"], "BIO") == ("O", "B-A", "I-A", "B-B", "I-B")
    assert scheme_labels(["I-A"], "BIOES") == ("O", "B-A", "I-A", "E-A", "S-A")
    assert scheme_labels(["VERB", "NOUN", "VERB"], "plain") == ("NOUN", "VERB")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("U.S. don\u00adt", ["U", ".", "S", ".", "don\u00adt"]),
        ("中国abc", ["中", "国", "abc"]),
        ("a \x01 b\u200bc", ["a", "b\u200bc"]),
        (" \t\n", []),
    ],
)
def test_words_are_where_bert_separates_them(text: str, words: list[str]) -> None:
    assert [text[start:end] for start, end in word_borders(text).tolist()] == words


@given(st.text("bade ,.中\x01é\u0301\n", max_size=30))
def test_words_one_by_one_have_the_pieces_of_the_text(text: str) -> None:
    tokenizer = toy_tokenizer()
    words = [text[start:end] for start, end in word_borders(text).tolist()]
    ids = tokenizer.encode(words, None).input_ids if words else tokenizer.encode("").input_ids
    assert ids.tolist() == tokenizer.encode(text).input_ids.tolist()


def test_half_a_character_is_no_text() -> None:
    with pytest.raises(DataError, match=r"lone surrogate '\\ud83d' at character 3"):
        word_borders("ba \ud83d")
