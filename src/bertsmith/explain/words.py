"""The words of a request and which of them each token of its windows belongs to. Knows `Task`, never a task.

Shapes: W words of all texts, L tokens of a window.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertsmith.data.batch import Window
from bertsmith.tasks.task import Task
from bertsmith.text.align import Span
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.tracing import ReadText, TracingTokenizer

BESIDE = "read beside"
"""The name of a text that is no field of the request: a prompt, or a document's words around those asked about; of
further ones with a number behind it."""


@dataclass(frozen=True, slots=True)
class NamedText:
    """A text by the request's field that holds it."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Word:
    """start, end: its characters in the text with the number `text`."""

    word: str
    start: int
    end: int
    text: int


@dataclass(frozen=True, eq=False)
class WordMap:
    """texts: those of the request, then what was read beside them. words: all that have pieces, in the order of the
    texts. tokens: of each window, [L], the number of each token's word; -1 for special tokens.
    """

    texts: tuple[NamedText, ...]
    words: tuple[Word, ...]
    tokens: tuple[NDArray[np.int64], ...]

    def of_windows(self, numbers: Sequence[int]) -> WordMap:
        """The same of some of the windows, with the words that they hold."""
        tokens = [self.tokens[number] for number in numbers]
        held = np.unique(np.concatenate([row[row >= 0] for row in tokens]))
        places = np.full(len(self.words) + 1, -1)
        places[held] = np.arange(len(held))
        words = tuple(self.words[number] for number in held.tolist())
        return WordMap(self.texts, words, tuple(places[row] for row in tokens))


def map_words(task: Task[Any, Any], request: Any, tokenizer: Tokenizer, windows: Sequence[Window]) -> WordMap:
    """The words of a request, from how the task itself makes windows of it."""
    tracing = TracingTokenizer(tokenizer)
    traced = task.encode(request, tracing, np.random.default_rng(0))
    for window, known in zip(traced, windows, strict=True):
        same = np.array_equal(tracing.plain(window.input_ids), np.asarray(known.input_ids))
        assert same, "the windows of a request are not a function of the request and its pieces"
    texts = named_texts(task, request)
    number_of: dict[tuple[int, int, int], int] = {}
    by_piece: list[int] = []
    taken: set[int] = set()
    for read in tracing.read:
        located = _located(read, texts, taken)
        for word in read.word_ids.tolist():
            by_piece.append(-1 if word < 0 else number_of.setdefault(located[word], len(number_of)))
    order = sorted(number_of)
    ranks = {place: rank for rank, place in enumerate(order)}
    rank_of = np.array([*(ranks[place] for place in number_of), -1])
    ranked = rank_of[np.array([*by_piece, -1], dtype=np.int64)]
    words = tuple(Word(texts[text].text[start:end], start, end, text) for text, start, end in order)
    return WordMap(tuple(texts), words, tuple(ranked[tracing.pieces(window.input_ids)] for window in traced))


def named_texts(task: Task[Any, Any], request: Any) -> list[NamedText]:
    """What the task reads of a request, by the names of its fields."""
    held = {field.name: getattr(request, field.name) for field in fields(request)}
    names: list[tuple[str, str]] = []
    for name, value in held.items():
        if isinstance(value, str):
            names.append((name, value))
        elif isinstance(value, tuple | list) and all(isinstance(part, str) for part in value):
            names += [(f"{name} {place}", part) for place, part in enumerate(value) if len(value) > 1]
            names.append((name, " ".join(value)))
    found = []
    for text in task.texts(request):
        place = next((place for place, (_, value) in enumerate(names) if value == text), None)
        found.append(NamedText("text" if place is None else names.pop(place)[0], text))
    return found


def _located(read: ReadText, texts: list[NamedText], taken: set[int]) -> Mapping[int, tuple[int, int, int]]:
    """Of each word of what was read the text, start and end; `texts` grows where a word is in none of them.

    taken: those of `texts` that stand for something that was read, so that equal ones are told apart.
    """
    spans = read.spans()
    if not isinstance(read.text, str):
        within = _run_of_words(read.text, texts)
        held = {word: (within[0], *within[1][word]) for word in spans if within and word in within[1]}
    else:
        held = {}
        for number, begin in _parts_of(read.text, texts, taken):
            end = begin + len(texts[number].text)
            inside = {word: span for word, span in spans.items() if begin <= span[0] and span[1] <= end}
            held |= {word: (number, start - begin, stop - begin) for word, (start, stop) in inside.items()}
    beside = [word for word in spans if word not in held]
    if beside:
        number = sum(text.name.startswith(BESIDE) for text in texts)
        texts.append(NamedText(f"{BESIDE} {number}" if number else BESIDE, read.as_text))
        held |= {word: (len(texts) - 1, *spans[word]) for word in beside}
    return held


def _parts_of(whole: str, texts: Sequence[NamedText], taken: set[int]) -> list[tuple[int, int]]:
    """Which of the texts stand where in what was read: all of it, or parts without overlap, longer ones first."""
    same = [number for number, named in enumerate(texts) if named.text == whole]
    if same:
        number = next((number for number in same if number not in taken), same[0])
        taken.add(number)
        return [(number, 0)]
    parts: list[tuple[int, int]] = []
    free = [True] * len(whole)
    for number in sorted(range(len(texts)), key=lambda number: -len(texts[number].text)):
        text = texts[number].text
        begin = whole.find(text) if text.strip() else -1
        while begin >= 0:
            if all(free[begin : begin + len(text)]):
                free[begin : begin + len(text)] = [False] * len(text)
                parts.append((number, begin))
                break
            begin = whole.find(text, begin + 1)
    return parts


def _run_of_words(words: Sequence[str], texts: Sequence[NamedText]) -> tuple[int, dict[int, Span]] | None:
    """The run of words that one of the texts consists of, the number of that text, and where it has each of them.

    Of several runs the one nearest to the middle: what stands around it are neighbours.
    """
    # Compared without blanks, as one string: word by word takes minutes where a text says the same word all over.
    bare = [_bare(word) for word in words]
    joined, ends = "".join(bare), list(accumulate(map(len, bare), initial=0))
    found = []
    for number, text in enumerate(_bare(named.text) for named in texts):
        for first, begin in enumerate(ends[:-1]):
            last = bisect_left(ends, begin + len(text))
            if text and last < len(ends) and ends[last] == begin + len(text) and joined.startswith(text, begin):
                found.append((abs(first + last - len(words)), number, first, last))
    for _, number, first, last in sorted(found):
        text = texts[number].text
        places = [place for place, character in enumerate(text) if not character.isspace()]
        spans = {
            word: (places[ends[word] - ends[first]], places[ends[word + 1] - ends[first] - 1] + 1)
            for word in range(first, last)
            if bare[word]
        }
        if all(text[start:end] == words[word].strip() for word, (start, end) in spans.items()):
            return number, spans
    return None


def _bare(text: str) -> str:
    """Without blanks."""
    return "".join(text.split())
