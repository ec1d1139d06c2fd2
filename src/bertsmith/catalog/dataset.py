"""What a public data set is: its task, its splits, where they come from, and which fields its records fill.

Knows no particular data set, and of tasks only the names that an entry gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from bertsmith.catalog.from_hub import Hub, hub_records
from bertsmith.data.lines import Fault, Reading, sift
from bertsmith.data.readers import Row, read_table
from bertsmith.errors import DataError, nearest
from bertsmith.files import COMPRESSIONS

Values: TypeAlias = Mapping[str, Any]
Record: TypeAlias = Callable[[Values], Values]
RowReader: TypeAlias = Callable[[Path, Reading], Iterator[Row]]


class LeftOut(Exception):  # noqa: N818  (no error: the record is counted, and the next one is read)
    """Raised by a `Record` for one that the data set's own protocol leaves out; says why, in the plural."""


@dataclass(frozen=True, slots=True)
class Files:
    """A split in a folder.

    paths: spellings of one file, relative to the folder, each also packed; the first that is there is read.
    record: a row's values -> a task's fields. without: another split, whose sentences must not occur in this one.
    """

    paths: tuple[str, ...]
    read: RowReader = read_table
    record: Record = dict
    without: str | None = None


@dataclass(frozen=True, slots=True)
class DataSet:
    """One public data set.

    task_settings: laid over the settings of the `task`. metric: by which the best model is chosen. licence: of the
    data. source: where it is described. splits: those that can be read from a folder; "test" is the split by which
    results are compared, and where there is no "validation", a fixed slice of "train" takes its place. hub: the same on
    the Hugging Face hub. notes: what a reader of results should know.
    """

    name: str
    title: str
    task: str
    metric: str
    licence: str
    source: str
    splits: Mapping[str, Files]
    task_settings: Mapping[str, Any] = field(default_factory=dict)
    hub: Hub | None = None
    notes: tuple[str, ...] = ()

    def split_names(self, data_dir: Path | None = None) -> tuple[str, ...]:
        """The splits that a folder can hold, or the hub where none is given."""
        return tuple(self.splits if data_dir is not None else self.hub.splits if self.hub else ())

    def file(self, split: str, data_dir: Path) -> Path:
        """The file of a split under `data_dir`, which may also be the folder of this set alone.

        Raises `DataError` where there is none.
        """
        self._check(split, data_dir)
        for spelling in self.splits[split].paths:
            for place in _places(data_dir, Path(spelling)):
                for ending in ("", *COMPRESSIONS):
                    path = place.with_name(place.name + ending)
                    if path.is_file():
                        return path
        expected = " or ".join(self.splits[split].paths)
        raise DataError(
            f"{data_dir}: no file for the {split} split of {self.name}; expected {expected} in it, plain or packed "
            f"({', '.join(COMPRESSIONS)}){self._hub_advice(split)}"
        )

    def rows(self, split: str, data_dir: Path | None = None, reading: Reading | None = None) -> Iterator[Row]:
        """The rows of a split, their values under the names of the task's fields; further values tell groups apart.

        From the files under `data_dir`, or from the hub where none is given. What the set's protocol leaves out (rows
        without a label, rows of the test split in training data) is counted in `reading.skipped`. Raises `DataError`.
        """
        reading = reading or Reading()
        self._check(split, data_dir)
        if data_dir is None:
            assert self.hub is not None
            place = Path(self.hub.repository, self.hub.config or "", split)
            found = hub_records(self.hub, split)
            fetched = (Row(values, place, number) for number, values in enumerate(found, start=1))
            return sift(_filled(fetched, self.hub.record, reading), reading)
        files = self.splits[split]
        filled = sift(_filled(files.read(self.file(split, data_dir), reading), files.record, reading), reading)
        if files.without is None:
            return filled
        others = self.rows(files.without, data_dir, Reading(reading.errors, reading.max_line_bytes))
        return _apart(filled, files.without, others, reading)

    def _check(self, split: str, data_dir: Path | None) -> None:
        if data_dir is None and self.hub is None:
            raise DataError(
                f"{self.name}: not on the Hugging Face hub; name the folder that holds its files: --data-dir"
            )
        names = self.split_names(data_dir)
        if split not in names:
            if self.hub is not None and split in self.hub.splits:
                raise DataError(f"{self.name}: no file is known for the {split} split{self._hub_advice(split)}")
            raise DataError(f"{self.name}: no split {split!r}; {nearest(split, names)}")

    def _hub_advice(self, split: str) -> str:
        if self.hub is None or split not in self.hub.splits:
            return ""
        return (
            f"; without --data-dir it is fetched from the Hugging Face hub ({self.hub}), with the extra "
            "`bertsmith[datasets]`"
        )


def fields(labels: Sequence[str] = (), /, **columns: str) -> Record:
    """A `Record` that renames columns, `field=column`; with `labels`, the number in "label" becomes the label's name.

    >>> fields(("negative", "positive"), text="sentence", label="label")({"sentence": "good", "label": "1"})
    {'text': 'good', 'label': 'positive'}
    """

    def record(values: Values) -> Values:
        for column in columns.values():
            if column not in values:
                raise DataError(f"no column {column!r}; {nearest(column, values)}")
        filled = {name: values[column] for name, column in columns.items()}
        return filled | {"label": label_name(filled["label"], labels)} if labels else filled

    return record


def label_name(value: Any, labels: Sequence[str]) -> str:
    """The name of a label given by its number from 0, or by its name. A row without one (-1, `-`) is left out."""
    text = str(value).strip()
    if text in labels:
        return text
    if text.isdecimal() and len(text) < 10 and int(text) < len(labels):
        return labels[int(text)]
    if value is None or text in ("-1", "-", ""):
        raise LeftOut("rows without a label")
    raise DataError(f"no label {text!r:.60}; expected one of {', '.join(labels)}, or its number from 0")


def _places(data_dir: Path, relative: Path) -> Iterator[Path]:
    """`data_dir/glue/RTE/dev.tsv`; also without the first folders where `data_dir` itself is their last."""
    yield data_dir / relative
    inside = data_dir.resolve().name
    for i, part in enumerate(relative.parts[:-1], start=1):
        if part == inside:
            yield data_dir.joinpath(*relative.parts[i:])


def _filled(rows: Iterator[Row], record: Record, reading: Reading) -> Iterator[Row | Fault]:
    for row in rows:
        try:
            yield replace(row, values=record(row.values))
        except LeftOut as reason:
            reading.skipped[str(reason)] += 1
        except DataError as error:
            yield Fault(row.where, str(error))


def _apart(rows: Iterator[Row], split: str, others: Iterator[Row], reading: Reading) -> Iterator[Row]:
    seen = {tuple(row.values["words"]) for row in others}
    for row in rows:
        if tuple(row.values["words"]) in seen:
            reading.skipped[f"rows that are also in the {split} split"] += 1
        else:
            yield row
