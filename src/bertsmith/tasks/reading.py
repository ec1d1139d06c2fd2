"""Files to examples and requests, for any task: the one reader of training, evaluation and prediction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from bertsmith.data.columns import say_column
from bertsmith.data.lines import Fault, Reading, read_lines, sift
from bertsmith.data.readers import Row, read_table
from bertsmith.errors import DataError, nearest
from bertsmith.files import bare_suffix
from bertsmith.tasks.task import Example, FoundColumns, Task

SAMPLED_ROWS = 5000
"""Rows looked at to find the columns of requests. Of examples all are: labels may be sorted."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A request and the row or line of its file, counted from 1, so that an answer finds its way back."""

    row: int
    request: Any


def field_names(task: type[Task[Any, Any]]) -> list[str]:
    """The fields that columns can fill: those of a request, and the answer's."""
    return [*(field.name for field in fields(task.Request)), task.answer_field]


def check_fields(task: type[Task[Any, Any]], names: Iterable[str]) -> None:
    """A `DataError` for a name that is none of the fields that columns can fill."""
    for name in names:
        if name not in field_names(task):
            raise DataError(f"no field {name!r} in {task.name}; {nearest(name, field_names(task))}")


def required_fields(task: type[Task[Any, Any]]) -> list[str]:
    """The fields that every request fills."""
    return [f.name for f in fields(task.Request) if f.default is MISSING and f.default_factory is MISSING]


def known_columns(task: Task[Any, Any], path: Path, columns: Mapping[str, str], reading: Reading) -> dict[str, str]:
    """Those of `columns`, by field, that the file at `path` has; another file may call them otherwise."""
    if not is_table(path) and bare_suffix(path) not in task.readers:
        return {}
    first = next(read_rows(task, path, Reading("skip", column_names=reading.column_names)), None)
    there = {} if first is None else first.values
    return {field: column for field, column in columns.items() if column in there}


def find_columns(
    task: Task[Any, Any],
    rows: Sequence[Row],
    given: Mapping[str, str],
    *,
    labelled: bool,
    expected: Collection[str] = (),
) -> FoundColumns:
    """The columns that fill the task's fields: those `given` by field, else as the task finds them in `rows`.

    labelled: whether the answer is needed too. expected: fields that the model was trained with, which must be filled
    again. Raises `DataError` where a column is not there, or is in doubt.
    """
    path, known = rows[0].path, list(dict.fromkeys(name for row in rows for name in row.values))
    check_fields(type(task), given)
    for column in given.values():
        if column not in known:
            raise DataError(f"{path}: no column {column!r}; {nearest(column, known)}")
    required = required_fields(type(task))
    needed = [*required, *([task.answer_field] if labelled and not task.answer_optional else [])]
    missing = [name for name in (*needed, *expected) if name not in given]
    if required and not missing and not (labelled and task.answer_optional):
        return FoundColumns(given, ", ".join(f"{name}: column {column!r}" for name, column in given.items()))
    found = task.find_columns(rows, given, labelled=labelled)
    by_field = {**found.by_field, **given}
    needed += [name for name in expected if name not in (*task.spare_fields, *needed, task.answer_field)]
    for name in needed:
        if name not in by_field:
            names = ", ".join(map(repr, known))
            raise DataError(f"{path}: no column for {name!r} among {names}; {say_column(name)}")
    return FoundColumns(by_field, found.reason)


def read_examples(
    task: Task[Any, Any],
    path: Path,
    given: Mapping[str, str],
    reading: Reading,
    groups: Sequence[str] = (),
    expected: Collection[str] = (),
) -> tuple[list[Example[Any]], FoundColumns]:
    """The examples in a file and the columns that they were taken from; see `examples_of`."""
    return examples_of(task, list(read_rows(task, path, reading)), given, reading, groups, expected)


def examples_of(
    task: Task[Any, Any],
    rows: Sequence[Row],
    given: Mapping[str, str],
    reading: Reading,
    groups: Sequence[str] = (),
    expected: Collection[str] = (),
) -> tuple[list[Example[Any]], FoundColumns]:
    """The examples in a file's rows, and the columns that they were taken from.

    Rows without a text or an answer are told, the first ten, or skipped and counted, as `reading` says. groups: columns
    that every example keeps beside its request and answer. expected: as in `find_columns`.
    """
    columns = find_columns(task, rows, given, labelled=True, expected=expected)
    known = dict.fromkeys(name for row in rows for name in row.values)
    for name in groups:
        if name not in known:
            raise DataError(f"{rows[0].path}: no column {name!r}; {nearest(name, known)}")
    found = sift((_example(task, row, columns, groups) for row in rows), reading)
    return task.gathered(list(found)), columns


def read_rows(task: Task[Any, Any], path: Path, reading: Reading) -> Iterator[Row]:
    """The rows of a table, or of a file in a format that the task knows beside tables."""
    if path.is_dir():
        raise DataError(f"{path}: a folder, where a file of rows is expected")
    reader = task.readers.get(bare_suffix(path), read_table)
    return reader(path, reading)


def request_columns(
    task: Task[Any, Any], path: Path, given: Mapping[str, str], reading: Reading, expected: Collection[str] = ()
) -> FoundColumns | None:
    """The columns that `read_requests` takes the fields from; None for a file with a request a line."""
    if not is_table(path) and bare_suffix(path) not in task.readers:
        return None
    sample = list(islice(read_rows(task, path, reading), SAMPLED_ROWS))
    return find_columns(task, sample, given, labelled=False, expected=expected)


def read_requests(
    task: Task[Any, Any],
    path: Path,
    given: Mapping[str, str],
    reading: Reading,
    expected: Collection[str] = (),
    columns: FoundColumns | None = None,
) -> Iterator[Placed]:
    """The requests in a table, one at a time, a column with answers left aside; of a `.txt` file one a line.

    A blank line is a request too. Bad rows are told, or skipped and counted, as `reading` says. columns: where they
    were found before (`request_columns`).
    """
    if not is_table(path) and bare_suffix(path) not in task.readers:
        for line in read_lines(path, reading):
            yield Placed(line.number, task.request(line.text, f"{path}, line {line.number}"))
        return
    rows = read_rows(task, path, reading)
    sample: list[Row] = []
    if columns is None:
        sample = list(islice(rows, SAMPLED_ROWS))
        columns = find_columns(task, sample, given, labelled=False, expected=expected)
    found = columns
    yield from sift((_request(task, row, found) for row in chain(sample, rows)), reading)


def is_table(path: Path) -> bool:
    """Whether `path` is read as a table, rather than a request a line."""
    return bare_suffix(path) != ".txt"


def _example(task: Task[Any, Any], row: Row, columns: FoundColumns, groups: Sequence[str]) -> Example[Any] | Fault:
    try:
        example = task.example(_record(row, columns), row.where)
        return replace(example, groups={name: str(row.values.get(name)) for name in groups}) if groups else example
    except DataError as error:
        return _fault(row, error)


def _request(task: Task[Any, Any], row: Row, columns: FoundColumns) -> Placed | Fault:
    record = {name: value for name, value in _record(row, columns).items() if name != task.answer_field}
    try:
        return Placed(row.number, task.request(record, row.where))
    except DataError as error:
        return _fault(row, error)


def _fault(row: Row, error: DataError) -> Fault:
    """What is counted is the kind of error, up to its first colon; what follows is this row's own."""
    kind, _, detail = str(error).removeprefix(f"{row.where}: ").partition(": ")
    return Fault(row.where, kind, detail)


def _record(row: Row, columns: FoundColumns) -> dict[str, Any]:
    return {field: row.values.get(column) for field, column in columns.by_field.items()}
