"""Files cut into spans that several readers can read, each record in exactly one of them. Knows no reader's work.

A span begins and ends where the format lets a reader begin: after a line, a record, a document. What cannot be entered
in the middle (packed files, prose that is one document, formats that are one object) stays whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path

from bertsmith.data.delimited import delimited_borders
from bertsmith.data.documents import DocumentFormat
from bertsmith.data.lines import BLOCK_BYTES, Border, Reading, Span, first_lines, raw_lines
from bertsmith.files import COMPRESSIONS, bare_suffix, sha256

JSON_LINES = (".jsonl", ".ndjson", ".json")
Spans = list[Span | None]
"""In the file's order; None is the whole file."""


def row_spans(path: Path, reading: Reading, num_rows: int) -> Spans:
    """Spans of so many rows of a table, or lines of a `.txt` file; the last one may have fewer."""
    borders = _lines(path, reading, lambda line: True) if bare_suffix(path) == ".txt" else _table(path, reading)
    numbered = bare_suffix(path) == ".txt"
    return _cut(path, borders, lambda begin, at: (at.line - begin.line if numbered else at.row - begin.row) >= num_rows)


def document_spans(path: Path, reading: Reading, found: DocumentFormat, num_bytes: int) -> Spans:
    """Spans of whole documents of at least so many bytes, of Parquet of one group of rows; the last one may be less."""
    if bare_suffix(path) == ".parquet":
        return _cut(path, _table(path, reading), lambda begin, at: True)
    return _cut(path, _DOCUMENTS[found](path, reading), lambda begin, at: at.byte - begin.byte >= num_bytes)


def fingerprint(path: Path, span: Span | None) -> str:
    """SHA-256 of all that reading the span depends on: its bytes, and the head of a file that tells how to read it.

    So a mended line changes the fingerprint of its own span, and as a rule of no other.
    """
    if span is None:
        return sha256(path)
    if bare_suffix(path) == ".parquet":
        return hashlib.sha256(f"{sha256(path)} {span.begin.byte} {span.until.byte}".encode()).hexdigest()
    head = first_lines(path) if bare_suffix(path) in (".csv", ".tsv") else []
    found = hashlib.sha256("\n".join(head).encode("utf-8", "surrogatepass"))
    with path.open("rb") as file:
        file.seek(span.begin.byte)
        for start in range(span.begin.byte, span.until.byte, BLOCK_BYTES):
            found.update(file.read(min(BLOCK_BYTES, span.until.byte - start)))
    return found.hexdigest()


def _cut(path: Path, borders: Iterable[Border], is_enough: Callable[[Border, Border], bool]) -> Spans:
    if path.suffix.lower() in COMPRESSIONS:
        return [None]
    cuts, last = [Border()], None
    for last in borders:
        if is_enough(cuts[-1], last):
            cuts.append(last)
    if last is not None and cuts[-1] != last:
        cuts.append(last)
    if len(cuts) <= 2:
        return [None]
    size = path.stat().st_size
    if bare_suffix(path) != ".parquet":
        cuts[-1] = cuts[-1]._replace(byte=size)  # what stands behind the last record is read too, if only to be refused
    return [Span(begin, until) for begin, until in pairwise(cuts)]


def _lines(path: Path, reading: Reading, is_last: Callable[[bytes], bool]) -> Iterator[Border]:
    """After each line that ends a record."""
    for line in raw_lines(path, reading):
        if line.end is not None and is_last(line.data):
            yield Border(line.end, line.number)


def _json_lines(path: Path, reading: Reading) -> Iterator[Border]:
    row = 0
    for line in raw_lines(path, reading):
        if line.end is not None:
            row += bool(line.data.strip()) or line.part
            yield Border(line.end, line.number, row)


def _parquet(path: Path, reading: Reading) -> Iterator[Border]:
    import pyarrow.parquet

    found = pyarrow.parquet.read_metadata(path)
    row = 0
    for group in range(found.num_row_groups):
        row += found.row_group(group).num_rows
        yield Border(group + 1, 0, row)


def _table(path: Path, reading: Reading) -> Iterator[Border]:
    suffix = bare_suffix(path)
    if suffix == ".parquet":
        return _parquet(path, reading)
    return _json_lines(path, reading) if suffix in JSON_LINES else delimited_borders(path, reading)


def _no_borders(path: Path, reading: Reading) -> Iterator[Border]:
    return iter(())


_DOCUMENTS: dict[DocumentFormat, Callable[[Path, Reading], Iterator[Border]]] = {
    "sentences": lambda path, reading: _lines(path, reading, lambda line: not line.strip()),
    "lines": lambda path, reading: _lines(path, reading, lambda line: True),
    "files": _no_borders,
    "wiki": lambda path, reading: _lines(path, reading, lambda line: line.strip() == b"</doc>"),
    "table": _table,
}
