"""Character spans, words and pieces of one text, each told in terms of the others. Knows positions, no ids and no task.

Shapes: n pieces or words. `offsets` is [n, 2] throughout: start and end of each piece, or of each word, in characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Span: TypeAlias = tuple[int, int]  # characters: start, and one past the end
Offsets: TypeAlias = NDArray[Any] | Sequence[Span]


@dataclass(frozen=True, slots=True)
class WordTags:
    """Spans as tags over words.

    tags: `B-` and a label at the first word of a span, `I-` and it at the others, `O` where there is none. What the
    tags do not say as the spans did, by their indices: widened, where a span began or ended inside a word, which now
    has it whole; wordless, where it touches no word; overlapping, where a word that it touches is another's: of two the
    one that starts earlier stays, of those that start together the longer.
    """

    tags: list[str]
    widened: list[int]
    wordless: list[int]
    overlapping: list[int]


def pieces_within(offsets: Offsets, start: int, end: int) -> tuple[int, int] | None:
    """The first and the last piece, or word, that share a character with [start, end) of the text; None if none does.

    offsets: ascending, as the tokenizer gives them.

    >>> pieces_within([(0, 2), (2, 5), (6, 9)], 4, 7)
    (1, 2)
    """
    bounds = np.asarray(offsets).reshape(-1, 2)
    first = int(np.searchsorted(bounds[:, 1], start, side="right"))
    last = int(np.searchsorted(bounds[:, 0], end, side="left")) - 1
    return (first, last) if start < end and first <= last else None


def span_of_pieces(offsets: Offsets, first: int, last: int) -> Span:
    """The characters from the start of piece, or word, `first` to the end of `last`, what stands between included.

    >>> span_of_pieces([(0, 2), (2, 5), (6, 9)], 1, 2)
    (2, 9)
    """
    return int(offsets[first][0]), int(offsets[last][1])


def tags_of_spans(words: Offsets, spans: Sequence[Span], labels: Sequence[str]) -> WordTags:
    """Tags over `words` from labelled character spans, in any order; `widened` and its like say what is lost.

    >>> tags_of_spans([(0, 3), (4, 8), (9, 11)], [(0, 8), (9, 10)], ["PER", "LOC"])
    WordTags(tags=['B-PER', 'I-PER', 'B-LOC'], widened=[1], wordless=[], overlapping=[])
    """
    found = WordTags(["O"] * len(words), [], [], [])
    for index in sorted(range(len(spans)), key=lambda index: (spans[index][0], -spans[index][1])):
        start, end = spans[index]
        touched = pieces_within(words, start, end)
        if touched is None:
            found.wordless.append(index)
            continue
        first, last = touched
        if any(tag != "O" for tag in found.tags[first : last + 1]):
            found.overlapping.append(index)
            continue
        found.tags[first : last + 1] = [f"B-{labels[index]}"] + [f"I-{labels[index]}"] * (last - first)
        whole = span_of_pieces(words, first, last)
        if whole[0] < start or whole[1] > end:
            found.widened.append(index)
    return found
