"""Documents as lists of sentences, from any of the formats in which pre-training text comes. Knows no tokens.

| format | what a document is |
| --- | --- |
| `sentences` | one sentence a line, a blank line between documents |
| `lines` | one document a line; its sentences are found by rules |
| `files` | one document a file: prose, its lines perhaps wrapped, a blank line between paragraphs |
| `wiki` | the lines between `<doc ...>` and `</doc>`, one paragraph each, as WikiExtractor writes them |
| `table` | one row of a CSV, TSV, JSON lines or Parquet file: its text column |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from bertsmith.data.columns import find_columns
from bertsmith.data.lines import Fault, Reading, first_lines, read_lines, sift
from bertsmith.data.readers import TABLE_SUFFIXES, Row, read_table
from bertsmith.errors import DataError, nearest
from bertsmith.files import bare_suffix
from bertsmith.text.sentences import split_sentences

DocumentFormat = Literal["sentences", "lines", "files", "wiki", "table"]

_SAMPLE_ROWS = 1000
_MAX_PARAGRAPH_CHARACTERS = 1 << 20
_MOSTLY = 0.8


@dataclass(frozen=True, slots=True)
class Document:
    """The sentences of one document, none blank, with the file and the line (in a table the row) where it begins."""

    sentences: list[str]
    path: Path
    line: int


@dataclass(frozen=True, slots=True)
class DocumentRules:
    """How files become documents.

    format: one for all files, or None to recognise each file's (`find_format`). text_column: the column of tables, or
    None to find it. What exceeds the two limits is divided, never dropped, and counted in `Reading.divided`.
    """

    format: DocumentFormat | None = None
    text_column: str | None = None
    max_sentence_characters: int = 4096
    max_document_sentences: int = 10_000


@dataclass(frozen=True, slots=True)
class FoundFormat:
    """The format of a file and why it was taken for that."""

    format: DocumentFormat
    reason: str


class _Paragraph(NamedTuple):
    """Sentences of one document, and the line they begin on."""

    line: int
    sentences: list[str]


# A document ends where None comes.
_Paragraphs = Iterator[_Paragraph | Fault | None]


def read_documents(
    paths: Iterable[Path],
    reading: Reading | None = None,
    rules: DocumentRules | None = None,
    on_format: Callable[[Path, FoundFormat], None] | None = None,
) -> Iterator[Document]:
    """The documents of all files in order, in bounded memory; `on_format` hears each file's format before it is read.

    Raises `DataError` for a file that cannot be read or holds no text.
    """
    reading, rules = reading or Reading(), rules or DocumentRules()
    if rules.format is not None and rules.format not in _FORMATS:
        raise DataError(f"unknown document format {rules.format!r}; {nearest(rules.format, _FORMATS)}")
    for path in paths:
        found = FoundFormat(rules.format, "as given") if rules.format else find_format(path)
        if on_format is not None:
            on_format(path, found)
        document = None
        for document in _grouped(path, _FORMATS[found.format](path, reading, rules), reading, rules):
            yield document
        if document is None and reading.span is None:
            skipped = f" after skipping {dict(reading.skipped)}" if reading.skipped else ""
            raise DataError(f"{path}: expected text, found none{skipped}; read as {found.format!r}: {found.reason}")


def find_format(path: Path) -> FoundFormat:
    """The format of a file by its suffix and its first lines, with the reason.

    A table's suffix: `table`. A first line `<doc ...>`: `wiki`. Lines of which most hold one whole sentence, in blocks
    or without blank lines: `sentences`. Lines of which most hold several sentences, without blank lines: `lines`.
    Otherwise: `files`.
    """
    if bare_suffix(path) in TABLE_SUFFIXES:
        return FoundFormat("table", f"a {bare_suffix(path)} file")
    lines = [line.strip() for line in first_lines(path)]
    texts = [line for line in lines if line]
    if not texts:
        return FoundFormat("files", "only blank lines at its head")
    if _is_opening(texts[0]):
        return FoundFormat("wiki", "it begins with <doc ...>")
    num_sentences = [len(split_sentences(text)) for text in texts]
    whole = sum(n == 1 and _is_whole(text) for n, text in zip(num_sentences, texts, strict=True)) / len(texts)
    several = sum(n > 1 for n in num_sentences) / len(texts)
    num_blank = len(lines) - len(texts)
    if whole >= _MOSTLY and num_blank <= len(texts) / 2:
        return FoundFormat("sentences", f"{whole:.0%} of its lines are one whole sentence, {num_blank} are blank")
    if several > 1 / 2 and not num_blank:
        return FoundFormat("lines", f"{several:.0%} of its lines hold several sentences, none is blank")
    return FoundFormat("files", f"prose: {whole:.0%} of its lines are one whole sentence, {num_blank} are blank")


def find_text_column(path: Path, reading: Reading, rules: DocumentRules) -> str:
    """The column of the table `path` that holds its documents, by its first rows; one that is given is only checked."""
    return _text_column(list(islice(read_table(path, reading), _SAMPLE_ROWS)), rules)


def _is_whole(text: str) -> bool:
    """Whether a line that holds one sentence holds all of it: its end would be found without the line's end."""
    return len(split_sentences(f"{text} A")) == 2


def _is_opening(text: str) -> bool:
    return text.startswith("<doc ") and text.endswith(">")


def _sentences(path: Path, reading: Reading, rules: DocumentRules) -> _Paragraphs:
    for line in read_lines(path, reading):
        text = line.text.strip()
        yield _Paragraph(line.number, [text]) if text else None


def _lines(path: Path, reading: Reading, rules: DocumentRules) -> _Paragraphs:
    for line in read_lines(path, reading):
        yield _paragraph(line.number, line.text)
        if not line.part:
            yield None


def _files(path: Path, reading: Reading, rules: DocumentRules) -> _Paragraphs:
    wrapped: list[str] = []
    first, size = 0, 0
    for line in read_lines(path, reading):
        text = line.text.strip()
        if wrapped and (not text or size > _MAX_PARAGRAPH_CHARACTERS):
            yield _paragraph(first, " ".join(wrapped))
            wrapped, size = [], 0
        if text:
            first = first if wrapped else line.number
            wrapped.append(text)
            size += len(text)
    yield _paragraph(first, " ".join(wrapped))


def _wiki(path: Path, reading: Reading, rules: DocumentRules) -> _Paragraphs:
    for line in read_lines(path, reading):
        text = line.text.strip()
        if text == "</doc>" or _is_opening(text):
            yield None
        else:
            yield _paragraph(line.number, text)


def _table(path: Path, reading: Reading, rules: DocumentRules) -> _Paragraphs:
    rows = read_table(path, reading)
    sample: list[Row] = []
    column = rules.text_column
    if column is None or reading.span is None:  # a span may lack what the whole file has
        sample = list(islice(rows, _SAMPLE_ROWS))
        column = _text_column(sample, rules)
    for row in chain(sample, rows):
        text = row.values.get(column)
        if not isinstance(text, str):
            yield Fault(row.where, f"no text in column {column!r}", f"found {text!r:.60}")
            continue
        yield _paragraph(row.number, text)
        yield None


def _text_column(rows: list[Row], rules: DocumentRules) -> str:
    return find_columns(rows, text=rules.text_column, labelled=False).text


_FORMATS: dict[str, Callable[[Path, Reading, DocumentRules], _Paragraphs]] = {
    "sentences": _sentences,
    "lines": _lines,
    "files": _files,
    "wiki": _wiki,
    "table": _table,
}
assert set(_FORMATS) == set(get_args(DocumentFormat))


def _paragraph(line: int, text: str) -> _Paragraph:
    return _Paragraph(line, [text[start:end] for start, end in split_sentences(text)])


def _grouped(path: Path, paragraphs: _Paragraphs, reading: Reading, rules: DocumentRules) -> Iterator[Document]:
    """Documents within the limits of `rules`."""
    sentences: list[str] = []
    first = 0
    for paragraph in sift(chain(paragraphs, [None]), reading):
        if paragraph is None:
            if sentences:
                yield Document(sentences, path, first)
            sentences = []
            continue
        for sentence in paragraph.sentences:
            for piece in _pieces(sentence, reading, rules.max_sentence_characters):
                if len(sentences) == rules.max_document_sentences:
                    reading.divided["document"] += 1
                    yield Document(sentences, path, first)
                    sentences = []
                first = first if sentences else paragraph.line
                sentences.append(piece)


def _pieces(sentence: str, reading: Reading, limit: int) -> Iterator[str]:
    """`sentence`, in pieces of at most `limit` characters, cut at blanks where there are any."""
    if len(sentence) > limit:
        reading.divided["sentence"] += 1
    start = 0
    while len(sentence) - start > limit:
        blank = sentence.rfind(" ", start + 1, start + limit + 1)
        end = blank if blank > 0 else start + limit
        piece = sentence[start:end].strip()
        if piece:
            yield piece
        start = end + (sentence[end] == " ")
    rest = sentence[start:].strip()
    if rest:
        yield rest
