"""Predictions as the lines of a file: JSON, or the cells of a table with JSON in those that hold more than one value.

Knows records, not what they mean.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from bertsmith.errors import SettingsError, nearest

JSON_LINES = "jsonl"
SEPARATORS = {"csv": ",", "tsv": "\t"}
_FORMATS = {
    "": JSON_LINES,
    ".jsonl": JSON_LINES,
    ".ndjson": JSON_LINES,
    ".json": JSON_LINES,
    ".txt": JSON_LINES,
    ".csv": "csv",
    ".tsv": "tsv",
}


def format_of(path: Path) -> str:
    """What is written to a file of this name. Raises `SettingsError` where its suffix promises something else."""
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        raise SettingsError(
            f"{path}: predictions are not written as {suffix}; name the file .jsonl for JSON lines, .csv or .tsv for a "
            "table, or say which it is to be with --output-format"
        )
    return _FORMATS[suffix]


def lines_of(
    records: Iterable[Mapping[str, Any]], names: Sequence[str], output_format: str, others: Iterable[str] = ()
) -> Iterator[str]:
    """The lines of the file; names: the columns of a table. others: formats that there are besides, for the advice.

    Raises `SettingsError` for a format that is neither JSON lines nor a table.
    """
    known = [JSON_LINES, *SEPARATORS, *others]
    if output_format not in known[: 1 + len(SEPARATORS)]:
        raise SettingsError(f"no output format {output_format!r} for this model; {nearest(output_format, known)}")
    return (
        json_lines(records) if output_format == JSON_LINES else table_lines(records, names, SEPARATORS[output_format])
    )


def json_lines(records: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each record."""
    return (_json(record) + "\n" for record in records)


def table_lines(records: Iterable[Mapping[str, Any]], names: Sequence[str], separator: str) -> Iterator[str]:
    """A header of `names`, then the cells of each record, quoted where need be."""
    # In a TSV quotes may be characters like any other: a header in quotes shows that here they are not.
    yield _line(names, separator, csv.QUOTE_ALL if separator == SEPARATORS["tsv"] else csv.QUOTE_MINIMAL)
    for record in records:
        yield _line([_cell(record[name]) for name in names], separator, csv.QUOTE_MINIMAL)


def _line(cells: Sequence[str], separator: str, quoting: Literal[0, 1]) -> str:
    line = io.StringIO()
    csv.writer(line, delimiter=separator, lineterminator="\n", quoting=quoting).writerow(cells)
    return line.getvalue()


def _cell(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
