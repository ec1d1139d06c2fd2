"""Tagged sentences in columns, a word a line: CoNLL-2003 and its kin, and CoNLL-U. Knows no task and no tag set.

Columns are divided by tabs where a line holds one, else by spaces; blank lines divide sentences. A line `-DOCSTART-`
(CoNLL-U: a comment `# newdoc`) begins a document. What comes before the first one belongs to no document.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bertsmith.data.lines import Fault, Reading, decode, mended, raw_lines, sift, too_long
from bertsmith.data.readers import Row
from bertsmith.errors import DataError
from bertsmith.files import bare_suffix

CONTEXT_WORDS = 128
_DOCUMENT = "-DOCSTART-"
_NEW_DOCUMENT = re.compile(r"#\s*newdoc\b")
_NO_WORD = re.compile(r"\d+[-.]\d+")  # CoNLL-U: a token of several words (3-4), or a word that is not written (3.1)


@dataclass(frozen=True, slots=True)
class _Format:
    """Places of word and tag among the columns, and their number; None: as in the file's first line."""

    word: int
    tag: int
    num_columns: int | None = None


_PLAIN, _CONLLU = _Format(0, -1), _Format(1, 3, 10)


def read_conll(path: Path, reading: Reading) -> Iterator[Row]:
    """The sentences of `path`, a row each.

    Values: `words` (the first column; CoNLL-U: FORM), `tags` (the last one; CoNLL-U: UPOS; absent where there is one
    column alone), `before` and `after` (up to 128 words of the same document on either side, empty where the file
    marks no documents), and every column under its number, from `"1"`. Each is a list of strings.

    Raises `DataError` for a file without sentences and for sentences with lines that have more or fewer columns than
    the file's first, or an empty word: the first ten are named; `Reading` tells how to leave them out.
    """
    found = False
    for row in _with_neighbours(path, sift(_sentences(path, reading), reading)):
        found = True
        yield row
    if not found:
        skipped = f"; skipped: {dict(reading.skipped)}" if reading.skipped else ""
        raise DataError(f"{path}: expected sentences, a word a line and its tag beside it, found none{skipped}")


@dataclass(slots=True)
class _Sentence:
    """Lines of cells, the first at `line`; `document` is counted from 1, 0 before the first mark."""

    number: int
    document: int
    line: int
    cells: list[list[str]] = field(default_factory=list)
    fault: Fault | None = None


def _format(path: Path) -> _Format:
    return _CONLLU if bare_suffix(path) == ".conllu" else _PLAIN


def _sentences(path: Path, reading: Reading) -> Iterator[_Sentence | Fault]:
    """The sentences in order; of a bad one its first fault."""
    form = _format(path)
    document = number = 0
    sentence: _Sentence | None = None
    for line, text, fault in _lines(path, reading):
        cells = _cells(text)
        is_mark = bool(_NEW_DOCUMENT.match(text)) if form.word else cells[0] == _DOCUMENT
        document += is_mark
        if is_mark or (not text.strip() and fault is None):
            if sentence is not None:
                yield sentence.fault or sentence
            sentence = None
            continue
        if form.word and (text.startswith("#") or _NO_WORD.fullmatch(cells[0])):
            continue
        if sentence is None:
            number += 1
            sentence = _Sentence(number, document, line)
        if form.num_columns is None:
            form = replace(form, num_columns=len(cells))
        if fault is None or fault.mendable:
            fault = _flaw(path, line, cells, form) or fault
        if fault is None or mended(fault, reading):
            sentence.cells.append(cells)
        else:
            sentence.fault = sentence.fault or fault
    if sentence is not None:
        yield sentence.fault or sentence


def _lines(path: Path, reading: Reading) -> Iterator[tuple[int, str, Fault | None]]:
    name, long_line = str(path), 0
    for number, data, part, _ in raw_lines(path, reading):
        where = f"{name}, line {number}"
        text, fault = decode(data, where)
        if not part:
            yield number, text, fault
        elif number != long_line:
            long_line = number
            yield number, text, replace(too_long(where, reading), mendable=False)


def _cells(text: str) -> list[str]:
    # Other white space than these two can be a word: the ideographic space of Chinese text, say.
    return text.split("\t") if "\t" in text else [cell for cell in text.split(" ") if cell] or [""]


def _flaw(path: Path, line: int, cells: list[str], form: _Format) -> Fault | None:
    if len(cells) != form.num_columns:
        expected = "CoNLL-U has" if form.word else "the file's first line has"
        detail = f"{len(cells)} where {expected} {form.num_columns}"
        return Fault(f"{path}, line {line}", "wrong number of columns", detail)
    if not cells[form.word] or not cells[form.tag]:
        return Fault(f"{path}, line {line}", "a word or a tag is empty")
    return None


def _with_neighbours(path: Path, sentences: Iterable[_Sentence]) -> Iterator[Row]:
    """A row for each sentence, as soon as enough words after it are known."""
    form = _format(path)
    before: list[str] = []
    document = 0
    waiting: list[tuple[_Sentence, list[str]]] = []  # sentences of one document, and their words
    for sentence in sentences:
        if sentence.document != document or not document:
            while waiting:
                yield _row(path, form, before, waiting)
            before, document = [], sentence.document
        waiting.append((sentence, [cells[form.word] for cells in sentence.cells]))
        while sum(len(words) for _, words in waiting[1:]) >= CONTEXT_WORDS:
            yield _row(path, form, before, waiting)
    while waiting:
        yield _row(path, form, before, waiting)


def _row(path: Path, form: _Format, before: list[str], waiting: list[tuple[_Sentence, list[str]]]) -> Row:
    """The row of the first sentence that waits, which then counts among the words before the next."""
    sentence, words = waiting.pop(0)
    columns = [list(column) for column in zip(*sentence.cells, strict=True)]
    after = [word for _, following in waiting for word in following][:CONTEXT_WORDS]
    values: dict[str, Any] = {"words": words, "before": before.copy(), "after": after}
    if len(columns) > 1:
        values["tags"] = columns[form.tag]
    values |= {str(number): column for number, column in enumerate(columns, start=1)}
    before += words
    del before[:-CONTEXT_WORDS]
    return Row(values, path, sentence.number, sentence.line)
