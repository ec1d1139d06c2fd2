"""The tokenizer against a plain-Python one on any Unicode, by hand on small vocabularies, and on texts that hurt."""

from __future__ import annotations

import threading
import unicodedata
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_tokenizer import ReferenceTokenizer

from bertsmith.errors import DataError, FileFormatError, SettingsError
from bertsmith.text.tokenizer import Tokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCAB = [*SPECIAL, "un", "##aff", "##able", "a", "b", "c", "##a", "##b", "##c", "##s", "the", "é", "e", "!", "中", "?"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_vocab(VOCAB)


def test_a_pair_by_hand(tokenizer: Tokenizer) -> None:
    # ids:      [CLS] un ##aff ##able ! [SEP] the [MASK] [SEP]
    # positions in "Unaffable!": 0-2 2-5 5-9 9-10; in "THE [MASK]": 0-3 4-10
    encoding = tokenizer.encode("Unaffable!", "THE [MASK]")
    assert encoding.input_ids.tolist() == [2, 5, 6, 7, 18, 3, 15, 4, 3]
    assert encoding.token_type_ids.tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 1]
    assert encoding.offsets.tolist() == [[0, 0], [0, 2], [2, 5], [5, 9], [9, 10], [0, 0], [0, 3], [4, 10], [0, 0]]
    assert encoding.sequence_ids == [None, 0, 0, 0, 0, None, 1, 1, None]
    assert encoding.word_ids == [None, 0, 0, 0, 1, None, 0, 1, None]
    assert encoding.num_cut_tokens == 0
    assert encoding.input_ids.dtype == encoding.token_type_ids.dtype == np.int32


def test_attributes(tokenizer: Tokenizer) -> None:
    assert tokenizer.vocab == VOCAB
    assert tokenizer.vocab_size == len(VOCAB)
    assert (tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id) == (
        0,
        1,
        2,
        3,
        4,
    )
    assert tokenizer.special_ids == (0, 1, 2, 3, 4)
    assert [VOCAB[i] for i in np.flatnonzero(tokenizer.is_continuation)] == [t for t in VOCAB if t.startswith("##")]
    assert tokenizer.lowercase


def test_offsets_count_characters_of_the_callers_string(tokenizer: Tokenizer) -> None:
    # One astral character, a decomposed accent and a control character that vanish, an ideograph without blanks.
    text = "𝒳 e\u0301\x07中a"
    encoding = tokenizer.encode(text)
    spans = [text[start:end] for start, end in encoding.offsets[1:-1].tolist()]
    assert encoding.input_ids[1:-1].tolist() == [1, 17, 19, 8]
    assert spans[0] == "𝒳"
    assert spans[2:] == ["中", "a"]
    assert spans[1][0] == "e"


def test_words_given_by_the_caller(tokenizer: Tokenizer) -> None:
    encoding = tokenizer.encode(["unaffable", "a!", ""])
    assert encoding.word_ids == [None, 0, 0, 0, 1, 1, None]
    assert encoding.offsets.tolist() == [[0, 0], [0, 2], [2, 5], [5, 9], [0, 1], [1, 2], [0, 0]]


@pytest.mark.parametrize(
    ("first", "second", "max_length", "expected"),
    # Longest first leaves each text the same share; an odd piece goes to the longer, of equals to the second.
    [(6, 2, 8, (3, 2)), (2, 6, 8, (2, 3)), (5, 5, 8, (2, 3)), (9, 5, 8, (3, 2)), (5, 9, 8, (2, 3)), (1, 9, 3, (0, 0))],
)
def test_longest_first(
    tokenizer: Tokenizer, first: int, second: int, max_length: int, expected: tuple[int, int]
) -> None:
    encoding = tokenizer.encode("a " * first, "b " * second, max_length=max_length)
    assert encoding.num_pieces == expected
    assert encoding.num_cut_tokens == first + second - sum(expected)
    assert len(encoding) == max_length
    assert encoding.input_ids.tolist() == [2, *[8] * expected[0], 3, *[9] * expected[1], 3]
    assert len(encoding.offsets) == len(encoding.word_ids) == len(encoding.sequence_ids) == max_length


def test_truncating_one_text_only(tokenizer: Tokenizer) -> None:
    for truncation, expected in [("only_first", (1, 4)), ("only_second", (4, 1))]:
        (encoding,) = tokenizer.encode_batch(["a a a a"], ["b b b b"], max_length=8, truncation=truncation)
        assert (encoding.num_pieces, encoding.num_cut_tokens) == (expected, 3)
    with pytest.raises(DataError, match="text 1: 1 and 9 tokens cannot be cut to 5 by 'only_first'"):
        tokenizer.encode_batch(["a", "a"], ["b", "b " * 9], max_length=8, truncation="only_first")


def test_single_texts_are_cut_and_counted(tokenizer: Tokenizer) -> None:
    encoding = tokenizer.encode("a b c a b c", max_length=5)
    assert encoding.input_ids.tolist() == [2, 8, 9, 10, 3]
    assert encoding.num_cut_tokens == 3
    assert encoding.offsets.tolist() == [[0, 0], [0, 1], [2, 3], [4, 5], [0, 0]]


def test_without_special_tokens(tokenizer: Tokenizer) -> None:
    (encoding,) = tokenizer.encode_batch(["a b"], ["c"], add_special_tokens=False)
    assert encoding.input_ids.tolist() == [8, 9, 10]
    assert encoding.token_type_ids.tolist() == [0, 0, 1]
    assert encoding.sequence_ids == [0, 0, 1]
    assert [ids.tolist() for ids in tokenizer.pieces_batch(["a b", "", "c"])] == [[8, 9], [], [10]]


def test_decode(tokenizer: Tokenizer) -> None:
    encoding = tokenizer.encode("unaffable!")
    assert tokenizer.decode(encoding.input_ids) == "unaffable!"
    assert tokenizer.decode(encoding.input_ids, skip_special_tokens=False) == "[CLS] unaffable! [SEP]"
    with pytest.raises(DataError, match=r"id 99 is not in the vocabulary of 21 tokens"):
        tokenizer.decode([99])


def test_nothing_and_only_unknown_characters(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("").input_ids.tolist() == [2, 3]
    assert tokenizer.encode("", "").input_ids.tolist() == [2, 3, 3]
    assert tokenizer.encode("\0\x07\ufffd\u200b").input_ids.tolist() == [2, 3]
    assert tokenizer.encode("ж 字").input_ids.tolist() == [2, 1, 1, 3]
    assert tokenizer.encode_batch([]) == []


@pytest.mark.parametrize(
    ("text", "num_pieces"),
    [
        pytest.param("a " * 1_000_000, 1_000_000, marks=pytest.mark.slow),
        ("a " * 100_000, 100_000),
        ("a" * 1_000_000, 1),  # one word of more than 100 characters
        ("a" + "\u0301" * 300_000, 1),  # combining marks vanish
        ("a" + "\u0315\u0300" * 150_000, 1),  # in an order that normalization must sort
        ("ﷺ" * 100_000, 1),  # one character, 18 under compatibility normalization
    ],
    ids=["a million tokens", "many tokens", "one long word", "combining marks", "unsorted marks", "18-fold growth"],
)
def test_texts_that_hurt(tokenizer: Tokenizer, text: str, num_pieces: int) -> None:
    encoding = tokenizer.encode(text, max_length=128)
    assert sum(encoding.num_pieces) + encoding.num_cut_tokens == num_pieces
    assert len(encoding) == min(128, num_pieces + 2)


def test_what_is_no_text_is_refused_by_its_index(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match=r"text 1: lone surrogate '\\ud83d' at character 2"):
        tokenizer.encode_batch(["fine", "a \ud83d"])
    with pytest.raises(DataError, match="pair 1: lone surrogate"):
        tokenizer.encode_batch(["a", "b"], ["a", "\udc00"])
    with pytest.raises(DataError, match="text 2: expected a string, found int"):
        tokenizer.encode_batch(["a", "b", 3])  # type: ignore[list-item]
    with pytest.raises(DataError, match="text 0: expected a string, found NoneType"):
        tokenizer.encode(None)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="text 1: expected a list of words, as the first is, found str"):
        tokenizer.encode_batch([["a"], "b"])
    with pytest.raises(DataError, match="2 texts but 1 pairs"):
        tokenizer.encode_batch(["a", "b"], ["c"])
    with pytest.raises(SettingsError, match="max_length is 2 tokens, fewer than the 3 special ones"):
        tokenizer.encode("a", "b", max_length=2)
    with pytest.raises(SettingsError, match="did you mean 'longest_first'"):
        tokenizer.encode_batch(["a"], truncation="longest")  # type: ignore[arg-type]


def test_threads_with_different_lengths_do_not_meet(tokenizer: Tokenizer) -> None:
    wrong: list[int] = []

    def work(max_length: int) -> None:
        for _ in range(200):
            lengths = {len(encoding) for encoding in tokenizer.encode_batch(["a b c a b c"] * 8, max_length=max_length)}
            if lengths != {max_length}:
                wrong.append(max_length)

    threads = [threading.Thread(target=work, args=(max_length,)) for max_length in (3, 4, 5, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([*SPECIAL, "a", "b", "a"], "token 'a' stands at id 5 and at id 7"),
        (SPECIAL[:4], r"no \[MASK\] among the 4 tokens"),
        ([*SPECIAL, "a\nb"], "cannot hold a line break"),
        ([*SPECIAL, "\ud800"], "lone surrogate"),
    ],
)
def test_vocabularies_that_cannot_work(tokens: list[str], message: str) -> None:
    with pytest.raises(FileFormatError, match=message):
        Tokenizer.from_vocab(tokens)


def test_the_fingerprint_tells_tokenizers_apart(tokenizer: Tokenizer) -> None:
    assert tokenizer.fingerprint == Tokenizer.from_vocab(VOCAB).fingerprint
    others = [
        Tokenizer.from_vocab(VOCAB, lowercase=False),
        Tokenizer.from_vocab(VOCAB, strip_accents=False),
        Tokenizer.from_vocab(VOCAB, handle_chinese_chars=False),
        Tokenizer.from_vocab([*VOCAB, "x"]),
    ]
    assert len({tokenizer.fingerprint, *(other.fingerprint for other in others)}) == 5


# Characters of every kind that BERT treats in a way of its own, and any that all Unicode versions since 3.2 agree on:
# the two sides carry different ones.
ODD = [
    *"\t\n\r \x0b\x0c\x1c\x85\xa0\u2028\u3000\0\ufffd\u200b\u00ad!$+^`~«»。，中字㐀豈éÉe\u0301İıßΣςſKÅŁ가ﷺᾂ\u0344",
    "[MASK]",
    "##",
]
SETTLED = [
    character
    for character in map(chr, [*range(0xD800), *range(0xF900, 0x30000)])
    if unicodedata.ucd_3_2_0.category(character) == unicodedata.category(character) != "Cn"
]
ANY_TEXT = st.lists(st.sampled_from(ODD) | st.sampled_from(SETTLED), max_size=40).map("".join)


@settings(deadline=None, max_examples=150)
@given(ANY_TEXT, st.booleans(), st.sampled_from([None, True, False]))
def test_ids_equal_the_plain_tokenizer(text: str, lowercase: bool, strip_accents: bool | None) -> None:
    characters = sorted(
        {c.lower() if lowercase else c for c in unicodedata.normalize("NFD", text) + text} - set(" \n\r")
    )
    # Every second character gets pieces, so that known, unknown and longer pieces all occur.
    pieces = [prefix + character for character in characters[::2] for prefix in ("", "##")]
    vocab = list(dict.fromkeys([*SPECIAL, *pieces, *(a + b for a, b in pairwise(characters))]))
    vocab = [token for token in vocab if "\n" not in token and "\r" not in token]
    tokenizer = Tokenizer.from_vocab(vocab, lowercase=lowercase, strip_accents=strip_accents)
    reference = ReferenceTokenizer(vocab, lowercase, strip_accents)
    assert tokenizer.pieces_batch([text])[0].tolist() == reference.encode(text)


@settings(deadline=None)
@given(st.text("aAéÉ ,.", max_size=30))
def test_offsets_point_at_what_became_the_piece(text: str) -> None:
    vocab = [*SPECIAL, "a", "e", "##a", "##e", ",", ".", "ea", "##ae"]
    tokenizer = Tokenizer.from_vocab(vocab)
    encoding = tokenizer.encode(text)
    for number, (start, end) in zip(encoding.input_ids[1:-1].tolist(), encoding.offsets[1:-1].tolist(), strict=True):
        assert text[start:end].lower().replace("é", "e") == vocab[number].removeprefix("##")
