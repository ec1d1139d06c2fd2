"""Tables as rows that know where they come from: CSV, TSV, JSON lines, Parquet, plain or packed. Knows no task."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bertsmith.data.delimited import Layout, read_delimited
from bertsmith.data.lines import Fault, Reading, decode, mended, raw_lines, sift, too_long
from bertsmith.errors import DataError, nearest
from bertsmith.files import COMPRESSIONS, bare_suffix, open_bytes

_PARQUET_ROWS = 1024
_SURROGATE = re.compile("[\ud800-\udfff]")


_Record = tuple[int | None, dict[str, Any]]  # the line it begins on, where there are lines; its values by column


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its values by column, the file, its number from 1, and its first line where the file has lines.

    place: where it stands in a file that is nested, as `data[3].paragraphs[0]`.
    """

    values: Mapping[str, Any]
    path: Path
    number: int
    line: int | None = None
    place: str = ""

    @property
    def where(self) -> str:
        """The place for messages: `reviews.csv, row 3 (line 4)`."""
        parts = [*([self.place] if self.place else []), *([f"line {self.line}"] if self.line else [])]
        return f"{self.path}, row {self.number}" + (f" ({', '.join(parts)})" if parts else "")


def read_table(path: Path, reading: Reading | None = None, layout: Layout | None = None) -> Iterator[Row]:
    """The rows of the table `path`, read as its suffix says, one at a time; with a `layout`, as CSV or TSV.

    Values of CSV and TSV are strings, those of JSON lines and Parquet what the file holds. Raises `DataError` for a
    file that is no such table, for one without rows, and for bad rows (ragged, no object, no text): the first ten are
    named; `Reading` tells how to leave them out.
    """
    reading = reading or Reading()
    suffix = bare_suffix(path)
    if layout is None and suffix not in _FORMATS:
        raise DataError(
            f"{path}: {suffix or 'no suffix'} is no table format; {nearest(suffix, _FORMATS)}; each also packed: "
            f"{', '.join(COMPRESSIONS)}"
        )
    records = _FORMATS[suffix](path, reading) if layout is None else read_delimited(path, reading, layout)
    row = None
    before = 0 if reading.span is None else reading.span.begin.row
    for row in sift(_numbered(path, records, before), reading):
        yield row
    if row is None and reading.span is None:
        skipped = f"; skipped: {dict(reading.skipped)}" if reading.skipped else ""
        raise DataError(f"{path}: the table has no rows{skipped}")


def _numbered(path: Path, records: Iterator[_Record | Fault], before: int) -> Iterator[Row | Fault]:
    for number, record in enumerate(records, start=before + 1):
        yield record if isinstance(record, Fault) else Row(record[1], path, number, record[0])


def _json_rows(path: Path, reading: Reading) -> Iterator[_Record | Fault]:
    long_line = 0
    for line in raw_lines(path, reading):
        where = f"{path}, line {line.number}"
        if line.part:
            if line.number != long_line:
                long_line = line.number
                yield replace(too_long(where, reading), mendable=False)
        elif line.data.strip():
            text, fault = decode(line.data, where)
            values, flaw = _json_object(text, where)
            fault = flaw or fault
            yield (line.number, values) if fault is None or mended(fault, reading) else fault


def _json_object(text: str, where: str) -> tuple[dict[str, Any], Fault | None]:
    """The object in `text`, and what is wrong with it; a lone surrogate in it is replaced."""
    kind = "not one JSON object"
    try:
        value = json.loads(text, object_pairs_hook=_unique)
        if not isinstance(value, dict):
            return {}, Fault(where, kind, f"found {type(value).__name__}; write one object a line")
        if "\\ud" in text.lower():
            plain = json.dumps(value, ensure_ascii=False)
            if _SURROGATE.search(plain):
                fault = Fault(where, "lone surrogate", "half of a character, as \\ud83d by itself", mendable=True)
                return json.loads(_SURROGATE.sub("\ufffd", plain)), fault
        return value, None
    except RecursionError:
        return {}, Fault(where, kind, "nested too deeply")
    except ValueError as error:
        hint = "; a JSON array? write one object a line" if text.lstrip().startswith("[") else ""
        return {}, Fault(where, kind, f"{error}{hint}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} occurs twice")
    return values


def _parquet_rows(path: Path, reading: Reading) -> Iterator[_Record | Fault]:
    import pyarrow
    import pyarrow.parquet

    span = reading.span
    number = 0 if span is None else span.begin.row
    with open_bytes(path) as stream, tempfile.TemporaryFile() as unpacked:
        source: Any = path
        if path.suffix.lower() in COMPRESSIONS:  # Parquet is read from its end, which packed streams cannot do
            shutil.copyfileobj(stream, unpacked)
            source = unpacked
        try:
            table = pyarrow.parquet.ParquetFile(source)
            names = table.schema_arrow.names
            groups = range(table.num_row_groups) if span is None else range(span.begin.byte, span.until.byte)
            reading.num_bytes += sum(table.metadata.row_group(i).total_byte_size for i in groups)
            if len(set(names)) < len(names):
                raise DataError(f"{path}: a column's name occurs twice among {', '.join(names)}; rename one")
            for batch in table.iter_batches(batch_size=_PARQUET_ROWS, row_groups=groups):
                for values in _records(batch):
                    number += 1
                    yield (None, values) if values is not None else Fault(f"{path}, row {number}", "invalid UTF-8")
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{path}: damaged, or no Parquet data in spite of its name: {error}") from None


def _records(batch: Any) -> Iterator[dict[str, Any] | None]:
    """The rows of a record batch; None for one whose strings are no UTF-8, which Parquet files do not promise."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for i in range(batch.num_rows):
            try:
                yield batch.slice(i, 1).to_pylist()[0]
            except UnicodeDecodeError:
                yield None


_FORMATS: dict[str, Callable[[Path, Reading], Iterator[_Record | Fault]]] = {
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".jsonl": _json_rows,
    ".ndjson": _json_rows,
    ".json": _json_rows,
    ".parquet": _parquet_rows,
}
TABLE_SUFFIXES = tuple(_FORMATS)
