"""Requests and answers of tagging as files and callers write them: words or a text, tags or spans of characters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertsmith.data.columns import class_name
from bertsmith.data.readers import Row
from bertsmith.errors import DataError
from bertsmith.tasks.task import FoundColumns
from bertsmith.text.spans import pieces_within
from bertsmith.text.tags import Span, word_borders, write_tags

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


def request_record(record: Any) -> Any:
    """A record of the fields of `TagRequest`: of a string the text, of a list the words; strings of words separated."""
    if isinstance(record, str):
        return {"text": record}
    if isinstance(record, list):
        return {"words": record}
    if isinstance(record, tuple):
        record = dict(zip(("words", "text", "before", "after"), record, strict=False))
    if not isinstance(record, Mapping):
        return record
    given = {name: value for name, value in record.items() if value is not None}
    return given | {name: _words(given[name]) for name in WORD_FIELDS if isinstance(given.get(name), str)}


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
        raise DataError(f"{where}: expected a list of tags or of spans, found {value!r:.80}")
    words = separated(request)
    if any(isinstance(item, Mapping | list | tuple) for item in values) or (not values and request.text is not None):
        return tuple(write_tags(_spans(values, words, where), len(words.words), "BIO"))
    if len(values) != len(words.words):
        raise DataError(f"{where}: {len(words.words)} words but {len(values)} tags; every word needs one")
    tags = tuple(class_name(item) or "" for item in values)
    if "" in tags:
        place = tags.index("")
        raise DataError(f"{where}: word {place + 1}, {words.words[place]!r:.40}, has no tag: {values[place]!r:.40}")
    return tags


def find_tag_columns(rows: Sequence[Row], given: Mapping[str, str], *, labelled: bool) -> FoundColumns:
    """Columns by the names that they usually have; spans are looked for in a text where there is one."""
    known = dict.fromkeys(name for row in rows for name in row.values)
    found = {name: column for name in ("before", "after") if (column := name) in known}
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
        raise DataError(f"{rows[0].path}: no column for 'words' or 'text' among {names}; say which it is")
    return FoundColumns(found, ", ".join(f"{name}: column {column!r}" for name, column in found.items()))


def _holds_spans(rows: Sequence[Row], column: str) -> bool:
    values = next((value for row in rows if (value := row.values.get(column))), [])
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


def _spans(values: Sequence[Any], words: Separated, where: str) -> list[Span]:
    spans = sorted((_span(value, words, where) for value in values), key=lambda span: span.start)
    for first, second in pairwise(spans):
        if second.start < first.end:
            shared = words.words[second.start]
            raise DataError(f"{where}: the word {shared!r:.40} is in two spans, {first.type!r} and {second.type!r}")
    return spans


def _span(value: Any, words: Separated, where: str) -> Span:
    try:
        start, end, label = (value[key] for key in ("start", "end", "label")) if isinstance(value, Mapping) else value
        start, end, kind = int(start), int(end), class_name(label)
    except (KeyError, TypeError, ValueError):
        shape = '{"start": 0, "end": 4, "label": "PER"}'
        raise DataError(f"{where}: expected a span such as {shape}, found {value!r:.80}") from None
    inside = pieces_within(words.borders, start, end) if 0 <= start < end <= len(words.text) else None
    if inside is None or not kind:
        problem = "has no label" if inside else f"holds no word of the text of {len(words.text)} characters"
        raise DataError(f"{where}: the span {start} to {end} {problem}: {value!r:.80}")
    first, last = inside
    left, right = int(words.borders[first, 0]), int(words.borders[last, 1])
    if left < start or right > end:
        raise DataError(
            f"{where}: the span {start} to {end}, {words.text[start:end]!r:.40}, cuts a word, and words are tagged: "
            f"write {min(left, start)} to {max(right, end)}"
        )
    return Span(kind, first, last + 1)
