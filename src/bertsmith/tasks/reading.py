"""Files to examples and requests, for any task: the one reader of training, evaluation and prediction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from itertools import islice
from pathlib import Path
from typing import Any

from bertsmith.data.lines import Fault, Reading, read_lines, sift
from bertsmith.data.readers import Row, read_table
from bertsmith.errors import DataError, nearest
from bertsmith.files import bare_suffix
from bertsmith.tasks.task import Example, FoundColumns, Task

SAMPLED_ROWS = 5000
"""Rows looked at to find the columns of requests."""


def columns_of(
    task: Task[Any, Any], path: Path, given: Mapping[str, str] | None = None, *, labelled: bool = True
) -> FoundColumns:
    """The columns of `path` that fill the task's fields: those `given`, else as the task finds them in a sample.

    labelled: whether the answer is needed too. Raises `DataError` where a column is not there, or is in doubt.
    """
    given = dict(given or {})
    needed = [field.name for field in fields(task.Request) if field.default is MISSING]
    needed += [task.answer_field] if labelled else []
    table = read_table(path, Reading(errors="replace"))
    # Labels may be sorted, so that only the whole file shows more than one; examples are held in memory all the same.
    rows = list(table if labelled else islice(table, SAMPLED_ROWS))
    known = list(dict.fromkeys(name for row in rows for name in row.values))
    for column in given.values():
        if column not in known:
            raise DataError(f"{path}: no column {column!r}; {nearest(column, known)}")
    if all(name in given for name in needed):
        return FoundColumns(given, "as given")
    found = task.find_columns(rows, given, labelled=labelled)
    by_field = {**found.by_field, **given}
    for name in needed:
        if name not in by_field:
            raise DataError(
                f"{path}: no column for {name!r}; its columns are {', '.join(map(repr, known))}: "
                f"name one with --{name.replace('_', '-')}-column"
            )
    return FoundColumns(by_field, found.reason)


def read_examples(
    task: Task[Any, Any], path: Path, columns: FoundColumns, reading: Reading | None = None
) -> list[Example[Any]]:
    """The examples in `path`. Rows without a text or an answer are told, the first ten, or skipped and counted."""
    reading = reading or Reading()
    return list(sift((_example(task, row, columns) for row in read_table(path, reading)), reading))


def read_requests(
    task: Task[Any, Any], path: Path, columns: FoundColumns, reading: Reading | None = None
) -> Iterator[Any]:
    """The requests in a table, one at a time; a column with answers is left aside."""
    names = {field.name for field in fields(task.Request)}
    for row in read_table(path, reading):
        record = _record(row, columns)
        yield task.request({name: value for name, value in record.items() if name in names}, row.where)


def read_request_lines(task: Task[Any, Any], path: Path, reading: Reading | None = None) -> Iterator[Any]:
    """The requests in a `.txt` file, one a line; blank lines are requests too, so that answers keep their lines."""
    for line in read_lines(path, reading or Reading()):
        yield task.request(line.text, f"{path}, line {line.number}")


def is_table(path: Path) -> bool:
    """Whether `path` is read as a table, rather than as lines."""
    return bare_suffix(path) != ".txt"


def _example(task: Task[Any, Any], row: Row, columns: FoundColumns) -> Example[Any] | Fault:
    try:
        return task.example(_record(row, columns), row.where)
    except DataError as error:
        return Fault(row.where, str(error).removeprefix(f"{row.where}: "))


def _record(row: Row, columns: FoundColumns) -> dict[str, Any]:
    return {field: row.values.get(column) for field, column in columns.by_field.items()}
