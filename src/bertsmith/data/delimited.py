"""Records of CSV and TSV files; knows where each begins, not what its columns mean.

A CSV is quoted as spreadsheets do and separated by commas, or by semicolons or tabs where its header holds no comma. A
TSV is read as GLUE writes it, where a quote is a character like any other, unless its header or first rows can only be
quoted fields. A `Layout` decides instead where more is known of a file: it may have no header, too.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bertsmith.data.lines import Border, Fault, Reading, decode, first_lines, mended, raw_lines, too_long
from bertsmith.errors import DataError, SettingsError
from bertsmith.files import bare_suffix

_LONGEST_NAME = 40  # characters; a longer header cell is a text, so the file has no header
NAMES_WAY_OUT = (
    "put a first line with names into the file, such as text and label, or say them: --column-names text label"
)
_NUMBER = re.compile(r"[-+]?\d+([.,]\d+)?")


@dataclass(frozen=True, slots=True)
class Layout:
    """What is known of a file beforehand; the rest is found out.

    names: its columns; then it has no header, and its first line is a record. num_optional: how many of the last ones
    a record may lack. delimiter: a single character. quoted: whether a quote at the start of a field opens it.
    """

    names: tuple[str, ...] = ()
    num_optional: int = 0
    delimiter: str | None = None
    quoted: bool | None = None


def read_delimited(
    path: Path, reading: Reading, layout: Layout | None = None
) -> Iterator[tuple[int, dict[str, str]] | Fault]:
    """Each record's first line and its cells by column, or what is wrong with it. Blank lines are passed over.

    Without a `layout`, the names of the columns are those that `reading` has, if any, else those of the header.
    Raises `DataError` where the rest cannot be read: no header, a name twice, a quoted field that does not close.
    """
    layout = layout or Layout(reading.column_names)
    dialect = _sniff(path, layout)
    cells_of = _cells(path, reading, dialect)
    names = list(layout.names)
    if not names:
        begins_later = reading.span is not None and reading.span.begin.byte > 0
        head = next(_cells(path, Reading(), dialect) if begins_later else cells_of, None)
        if head is None:
            raise DataError(f"{path}: expected a header and rows, found no text")
        names = _header(path, head)
    elif len(set(names)) < len(names) or "" in names:
        raise SettingsError(f"expected different names for the columns of {path.name}, not {', '.join(names)}")
    fewest = len(names) - layout.num_optional
    expected = f"{len(names)} names are given" if layout.names else f"the header has {len(names)}"
    for line, cells, fault, _, _ in cells_of:
        if fault is not None and not mended(fault, reading):
            yield fault
        elif not fewest <= len(cells) <= len(names):
            detail = f"{len(cells)} where {expected}; {dialect}"
            yield Fault(f"{path}, line {line}", "wrong number of fields", detail)
        else:
            yield line, dict(zip(names, cells, strict=False))


def delimited_borders(path: Path, reading: Reading) -> Iterator[Border]:
    """The end of each record that `read_delimited` gives, or finds a fault in."""
    layout = Layout(reading.column_names)
    records = _cells(path, reading, _sniff(path, layout))
    if not layout.names:
        next(records, None)
    for row, record in enumerate(records, start=1):
        yield Border(record.end, record.last_line, row)


@dataclass(frozen=True, slots=True)
class _Dialect:
    delimiter: str
    quoted: bool

    def __str__(self) -> str:
        return f"separated by {self.delimiter!r}, {'quoted' if self.quoted else 'without quoting'}"


class _Cells(NamedTuple):
    line: int
    cells: list[str]
    fault: Fault | None
    last_line: int
    end: int


class _Feed:
    """Decoded lines for `csv.reader`, which takes them one at a time; remembers the place and what was wrong."""

    def __init__(self, path: Path, reading: Reading):
        self._lines = raw_lines(path, reading)
        self._path = path
        self._reading = reading
        self.number = 0 if reading.span is None else reading.span.begin.line
        self.end = 0
        self.fault: Fault | None = None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number = line.number
        where = f"{self._path}, line {line.number}"
        if line.part or line.end is None:
            raise DataError(str(too_long(where, self._reading)))
        self.end = line.end
        text, fault = decode(line.data, where)
        self.fault = self.fault or fault
        return text + "\n"


def _cells(path: Path, reading: Reading, dialect: _Dialect) -> Iterator[_Cells]:
    # The limit is one for the whole process; the lines are bounded before.
    csv.field_size_limit(max(csv.field_size_limit(), reading.max_line_bytes))
    feed = _Feed(path, reading)
    if dialect.quoted:
        records = csv.reader(feed, delimiter=dialect.delimiter, strict=True)
    else:
        records = csv.reader(feed, delimiter=dialect.delimiter, quoting=csv.QUOTE_NONE)
    while True:
        line, feed.fault = feed.number + 1, None
        try:
            cells = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            if feed.number > line or "end of data" in str(error):
                raise DataError(f"{path}, line {line}: a quoted field opens here and does not close: {error}") from None
            fault = Fault(f"{path}, line {line}", "broken quoting", str(error))
            yield _Cells(line, [], fault, feed.number, feed.end)
        else:
            if cells and not (len(cells) == 1 and cells[0].isspace()):
                yield _Cells(line, cells, feed.fault, feed.number, feed.end)


def _header(path: Path, head: _Cells) -> list[str]:
    """The column names; a `DataError` if they are none."""
    if head.fault is not None:
        raise DataError(f"the header cannot be read: {head.fault}")
    names = [cell.strip() for cell in head.cells]
    if not names[0] and len(names) > 1:
        names[0] = "unnamed"  # the index that pandas writes
    for name in names:
        if not name or len(name) > _LONGEST_NAME or _NUMBER.fullmatch(name):
            raise DataError(
                f"{path}, line {head.line}: expected a header, found {name[:_LONGEST_NAME]!r} in place of a column's "
                f"name; {NAMES_WAY_OUT}"
            )
        if names.count(name) > 1:
            raise DataError(f"{path}, line {head.line}: the header names the column {name!r} twice; rename one")
    return names


def _sniff(path: Path, layout: Layout) -> _Dialect:
    """Separator and quoting, by the rules at the head of this file."""
    lines = [line for line in first_lines(path) if line.strip()]
    by_suffix = "\t" if bare_suffix(path) == ".tsv" else None
    in_head = next((sign for sign in ",;\t" if lines and sign in lines[0]), ",")
    delimiter = layout.delimiter or by_suffix or in_head
    if layout.quoted is not None:
        return _Dialect(delimiter, layout.quoted)
    return _Dialect(delimiter, quoted=_must_be_quoted(lines) if by_suffix else True)


def _must_be_quoted(lines: list[str]) -> bool:
    """Whether every field that begins with a quote is a well-formed quoted one, and some can be nothing else."""
    if lines and all(_is_quoted(cell) for cell in lines[0].split("\t")):
        return True
    opened = [cell for line in lines for cell in line.split("\t") if cell.startswith('"')]
    return all(map(_is_quoted, opened)) and any('""' in cell[1:-1] for cell in opened)


def _is_quoted(cell: str) -> bool:
    return len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in cell[1:-1].replace('""', "")
