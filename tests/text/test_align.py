"""Characters, words and pieces, each found from the others: by hand, and on any Unicode."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bertsmith.text.align import WordTags, pieces_within, span_of_pieces, tags_of_spans
from bertsmith.text.tags import word_borders
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.windows import pieces_of

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCAB = [*SPECIAL, "un", "##aff", "##able", *"abciße中", *("##" + letter for letter in "abci"), "s", "'", ".", "it"]
TOKENIZER = Tokenizer.from_vocab(VOCAB)

ANY_TEXT = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from("abcIİßé \u0301\u200b\u0345ſ中豈.,'\t"), max_size=30
)


def test_pieces_of_a_span() -> None:
    # "unaffable a": un 0-2, ##aff 2-5, ##able 5-9; a 10-11
    (text,) = pieces_of(TOKENIZER, ["unaffable a"])
    for (start, end), expected in {
        (0, 2): (0, 0),
        (0, 3): (0, 1),
        (4, 6): (1, 2),
        (8, 11): (2, 3),
        (9, 10): None,  # the blank
        (3, 3): None,  # no character at all
        (11, 20): None,
        (0, 99): (0, 3),
    }.items():
        assert pieces_within(text.offsets, start, end) == expected, (start, end)
    assert pieces_within([], 0, 5) is None
    assert pieces_within([(0, 2), (2, 5), (6, 9)], 4, 7) == (1, 2)


def test_the_span_of_pieces() -> None:
    (text,) = pieces_of(TOKENIZER, ["unaffable a"])
    assert span_of_pieces(text.offsets, 1, 3) == (2, 11)
    assert span_of_pieces([(0, 2), (2, 5), (6, 9)], 1, 2) == (2, 9)


def test_tags_by_hand() -> None:
    # words:  It 0-2  ' 2-3  s 3-4  a 5-6  b 7-8
    words = word_borders("It's a b").tolist()
    assert tags_of_spans(words, [], []) == WordTags(["O"] * 5, [], [], [])
    assert tags_of_spans(words, [(7, 8), (0, 4)], ["LOC", "PER"]) == WordTags(
        ["B-PER", "I-PER", "I-PER", "O", "B-LOC"], [], [], []
    )
    assert tags_of_spans([(0, 3), (4, 8), (9, 11)], [(0, 8), (9, 10)], ["PER", "LOC"]) == WordTags(
        ["B-PER", "I-PER", "B-LOC"], [1], [], []
    )
    # Blanks around a word widen nothing; one letter of "It" is taken as the word.
    assert tags_of_spans(words, [(1, 2), (4, 7)], ["X", "Y"]) == WordTags(["B-X", "O", "O", "B-Y", "O"], [0], [], [])
    assert tags_of_spans(words, [(6, 7), (3, 3), (8, 9)], ["X", "Y", "Z"]).wordless == [1, 0, 2]
    # Neighbours of one label stay two.
    assert tags_of_spans(words, [(5, 6), (7, 8)], ["X", "X"]).tags[3:] == ["B-X", "B-X"]


def test_of_overlapping_spans_the_earlier_and_longer_stays() -> None:
    words = [(0, 1), (2, 3), (4, 5)]
    assert tags_of_spans(words, [(2, 5), (0, 3)], ["X", "Y"]) == WordTags(["B-Y", "I-Y", "O"], [], [], [0])
    assert tags_of_spans(words, [(0, 1), (0, 3)], ["X", "Y"]) == WordTags(["B-Y", "I-Y", "O"], [], [], [0])
    # Both cut one word: the spans do not overlap, the words do.
    assert tags_of_spans([(0, 4)], [(0, 2), (2, 4)], ["X", "Y"]) == WordTags(["B-X"], [0], [], [1])


@given(ANY_TEXT, st.data())
def test_pieces_to_characters_and_back(text: str, data: st.DataObject) -> None:
    (whole,) = pieces_of(TOKENIZER, [text])
    for offsets in (whole.offsets, word_borders(text)):
        if len(offsets):
            first = data.draw(st.integers(0, len(offsets) - 1))
            last = data.draw(st.integers(first, len(offsets) - 1))
            start, end = span_of_pieces(offsets, first, last)
            found = pieces_within(offsets, start, end)
            # Pieces that one character became, as an ellipsis may, are found together.
            assert found is not None
            assert found[0] <= first <= last <= found[1]
            assert span_of_pieces(offsets, *found) == (start, end)


BOUNDARIES = st.lists(st.integers(0, 40), unique=True, max_size=12).map(sorted)


@given(BOUNDARIES.map(lambda marks: list(zip(marks[::2], marks[1::2], strict=False))), BOUNDARIES)
def test_every_span_is_tagged_or_told(words: list[tuple[int, int]], marks: list[int]) -> None:
    spans = list(pairwise(marks))
    found = tags_of_spans(words, spans, [str(index) for index in range(len(spans))])
    begun = {int(tag[2:]) for tag in found.tags if tag.startswith("B-")}
    assert sorted([*begun, *found.wordless, *found.overlapping]) == list(range(len(spans)))
    assert set(found.widened) <= begun
    for index in begun:
        span = spans[index]
        touched = [tag for word, tag in zip(words, found.tags, strict=True) if word[0] < span[1] and word[1] > span[0]]
        assert touched == [f"B-{index}"] + [f"I-{index}"] * (len(touched) - 1)
