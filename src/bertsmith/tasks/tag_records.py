"""Requests and answers of tagging as files and callers write them: words or a text, tags or spans of characters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertsmith.data.columns import class_name, say_column
from bertsmith.data.readers import Row
from bertsmith.errors import DataError
from bertsmith.tasks.task import Example, FoundColumns, by_place
from bertsmith.text.align import tags_of_spans
from bertsmith.text.tags import Span, word_borders

WORD_FIELDS = ("words", "before", "after")

# What other files call the columns, the likeliest first.
_COLUMNS = {
    "words": ("words", "tokens"),
    "text": ("text", "sentence"),
    "tags": ("tags", "ner_tags", "pos_tags", "upos", "labels", "label", "entities", "spans"),
}


@dataclass(frozen=True, slots=True)
class TagRequest:
    """Words, or a text that is separated into words as BERT does it, at blanks and at punctuation.

    before, after: neighbouring words of the same document, which are read and not tagged.
    """

    words: tuple[str, ...] = ()
    text: str | None = None
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Separated:
    """The words of a request, the text that they stand in, and where: int32 [n, 2], in characters.

    Where the request gives words, the text is those words with a blank between any two.
    """

    words: tuple[str, ...]
    text: str
    borders: NDArray[np.int32]


def separated(request: TagRequest) -> Separated:
    """The words of `request` in their text."""
    if request.text is not None:
        borders = word_borders(request.text)
        return Separated(tuple(request.text[start:end] for start, end in borders.tolist()), request.text, borders)
    lengths = np.array([len(word) for word in request.words], dtype=np.int32)
    ends = np.cumsum(lengths + 1, dtype=np.int32) - 1
    return Separated(request.words, " ".join(request.words), np.stack([ends - lengths, ends], axis=1))


def request_record(record: Any, where: str) -> Any:
    """A record of the fields of `TagRequest`: of a string the text, of a list the words; strings of words separated."""
    if isinstance(record, str):
        return {"text": record}
    if isinstance(record, list):
        return {"words": record}
    if isinstance(record, tuple):
        record = by_place(record, ("words", "text", "before", "after"), where)
    if not isinstance(record, Mapping):
        return record
    given = {name: value for name, value in record.items() if value is not None}
    return given | {name: _words(given[name]) for name in WORD_FIELDS if isinstance(given.get(name), str)}


def joined(examples: Sequence[Example[TagRequest]], max_words: int) -> list[Example[TagRequest]]:
    """Examples that follow each other in a document as one, up to `max_words` words; their answers are tags.

    One follows another where it has the other's words before it.
    """
    groups: list[list[Example[TagRequest]]] = []
    num_words = 0
    for example in examples:
        num_words += len(example.request.words)
        if groups and num_words <= max_words and _follows(groups[-1][-1].request, example.request):
            groups[-1].append(example)
        else:
            groups.append([example])
            num_words = len(example.request.words)
    return [_as_one(group) for group in groups]


def _follows(first: TagRequest, second: TagRequest) -> bool:
    words = first.words
    return bool(words) and second.text is None and second.before[-len(words) :] == words


def _as_one(group: Sequence[Example[TagRequest]]) -> Example[TagRequest]:
    first, last = group[0].request, group[-1].request
    if first is last:
        return group[0]
    words = tuple(word for example in group for word in example.request.words)
    tags = [tag for example in group for tag in example.answer]
    return Example(TagRequest(words, None, first.before, last.after), tags, group[0].where)


def check_request(request: TagRequest, where: str) -> TagRequest:
    """The request, if it is about words or about a text."""
    if bool(request.words) == (request.text is not None):
        found = "both" if request.words else "neither"
        raise DataError(f"{where}: expected 'words' (a list of one or more) or a 'text', found {found}")
    return request


def tags_of(value: Any, request: TagRequest, where: str) -> tuple[str, ...]:
    """One tag a word from an answer: a list of tags, or of spans of the text, {"start", "end", "label"} each.

    Spans count characters, of the words joined by blanks where there is no text; they may hold blanks at their ends,
    but no part of a word, and no two may share a word. Raises `DataError` naming `where`.
    """
    values = _words(value) if isinstance(value, str) else value
    if not isinstance(values, list | tuple):
        raise DataError(f"{where}: expected a list of tags or of spans: found {value!r:.80}")
    words = separated(request)
    if any(isinstance(item, Mapping | list | tuple) for item in values) or (not values and request.text is not None):
        return _span_tags(values, words, where)
    if len(values) != len(words.words):
        hint = (
            "" if request.text is None else "; a text has words at every blank and punctuation, else give its 'words'"
        )
        counts = f"{len(words.words)} words but {len(values)} tags; every word needs one{hint}"
        raise DataError(f"{where}: words and tags of different number: {counts}")
    tags = tuple(class_name(item) or "" for item in values)
    if "" in tags:
        place = tags.index("")
        raise DataError(
            f"{where}: a word without a tag: word {place + 1}, {words.words[place]!r:.40}, has {values[place]!r:.40}"
        )
    return tags


def find_tag_columns(rows: Sequence[Row], given: Mapping[str, str], *, labelled: bool) -> FoundColumns:
    """Columns by the names that they usually have; spans are looked for in a text where there is one."""
    known = dict.fromkeys(name for row in rows for name in row.values)
    found: dict[str, str] = {name: name for name in ("before", "after") if name in known}
    for name, columns in _COLUMNS.items():
        match = [column for column in (given.get(name), *columns) if column in known]
        if match and (labelled or name != "tags"):
            found[name] = str(match[0])
    if "words" in found and "text" in found:
        spans = "tags" in found and _holds_spans(rows, found["tags"])
        wanted = "text" if "words" not in given and ("text" in given or spans) else "words"
        del found["words" if wanted == "text" else "text"]
    if "words" not in found and "text" not in found:
        names = ", ".join(map(repr, known))
        raise DataError(f"{rows[0].path}: no column for 'words' or 'text' among {names}; {say_column('words')}")
    return FoundColumns(found, ", ".join(f"{name}: column {column!r}" for name, column in found.items()))


def _holds_spans(rows: Sequence[Row], column: str) -> bool:
    values: Any = next((value for row in rows if (value := row.values.get(column))), None)
    return isinstance(values, list | tuple) and not isinstance(values[0], str | int)


def _words(value: str) -> list[Any]:
    """The words of a cell of a table: a JSON list, else what blanks separate."""
    if value.startswith("[") and value.endswith("]"):
        try:
            values = json.loads(value)
        except (ValueError, RecursionError):
            return value.split()
        return list(values)
    return value.split()


def _span_tags(values: Sequence[Any], words: Separated, where: str) -> tuple[str, ...]:
    spans = [_span(value, len(words.text), where) for value in values]
    found = tags_of_spans(words.borders, [(span.start, span.end) for span in spans], [span.type for span in spans])
    for problem, indices in (
        ("holds no word of the text", found.wordless),
        ("shares a word with another span", found.overlapping),
        ("cuts a word, which is tagged as a whole", found.widened),
    ):
        for index in indices:
            start, end = spans[index].start, spans[index].end
            raise DataError(f"{where}: a span that {problem}: {start} to {end}, {words.text[start:end]!r:.40}")
    return tuple(found.tags)


def _span(value: Any, num_characters: int, where: str) -> Span:
    """A labelled span of characters, {"start", "end", "label"} or the three in a list."""
    try:
        start, end, label = (value[key] for key in ("start", "end", "label")) if isinstance(value, Mapping) else value
        start, end, kind = int(start), int(end), class_name(label)
    except (KeyError, TypeError, ValueError):
        shape = '{"start": 0, "end": 4, "label": "PER"}'
        raise DataError(f"{where}: no span of a text: {value!r:.80}, where one is {shape}") from None
    if not kind or not 0 <= start < end <= num_characters:
        problem = "is not within its text" if kind else "has no label"
        raise DataError(f"{where}: a span that {problem}: {start} to {end} of {num_characters} characters")
    return Span(kind, start, end)
