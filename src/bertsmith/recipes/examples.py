"""The examples of a fine-tuning run: from files or a data set by name, split where need be, and checked."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import Field

from bertsmith.catalog import data_set
from bertsmith.data.lines import Reading
from bertsmith.data.split import leaked, split_rows
from bertsmith.errors import SettingsError
from bertsmith.evaluation.data_check import check_data
from bertsmith.files import sha256
from bertsmith.recipes.tables import TableSettings
from bertsmith.tasks import Example, Task
from bertsmith.tasks.reading import check_fields, examples_of, field_names, known_columns, read_examples

T = TypeVar("T")

SAME = ("sha256", "dataset", "split")
"""What the records of two sources have in common where they hold the same examples."""
ROWS_SHOWN = 10
SPLIT_SEED = 0
"""Of what is drawn from the examples, the part that chooses the model and subsets: the same whatever a run's seed."""


@dataclass(frozen=True)
class Source:
    """Where the examples of one side come from: a file, or a split of a data set by name."""

    file: Path | None = None
    dataset: str | None = None
    split: str = "train"
    data_dir: Path | None = None

    def examples(
        self,
        task: Task[Any, Any],
        given: Mapping[str, str],
        reading: Reading,
        groups: Sequence[str] = (),
        expected: Collection[str] = (),
    ) -> tuple[list[Example[Any]], Mapping[str, str], str]:
        """The examples, the columns of their fields, and why these; `groups` are columns to keep beside them.

        A data set by name knows its fields: what is `given` is for the files beside it. expected: the fields that the
        model was, or is to be, trained with.
        """
        if self.file is not None:
            examples, columns = read_examples(task, self.file, given, reading, groups, expected)
            return examples, columns.by_field, columns.reason
        known = data_set(str(self.dataset))
        if known.task != task.name:
            raise SettingsError(f"{known.name} is a data set for {known.task}, not for {task.name}")
        rows = list(known.rows(self.split, self.data_dir, reading))
        there = {name for row in rows for name in row.values}
        fields = {name: name for name in field_names(type(task)) if name in there}
        examples, _ = examples_of(task, rows, fields, reading, groups)
        return examples, fields | dict(given), f"those of {self.dataset}: {', '.join(fields)}"

    def like(
        self,
        task: Task[Any, Any],
        columns: Mapping[str, str],
        reading: Reading,
        groups: Sequence[str] = (),
        given: Mapping[str, str] | None = None,
    ) -> tuple[list[Example[Any]], Mapping[str, str]]:
        """The examples with the fields that training had in `columns`, and the columns that these have here.

        Those of the same names or others; `given` hold.
        """
        known = {} if self.file is None else known_columns(task, self.file, columns, reading)
        return self.examples(task, known | dict(given or {}), reading, groups, expected=columns)[:2]

    def record(self) -> dict[str, Any]:
        """For the saved model: enough to find the examples again, and to see whether they are the same."""
        if self.file is not None:
            return {"name": self.file.name, "path": str(self.file.resolve()), "sha256": sha256(self.file)}
        place: dict[str, Any] = {"dataset": self.dataset, "split": self.split, "data_dir": None}
        if self.data_dir is None:
            return place
        file = data_set(str(self.dataset)).file(self.split, self.data_dir)
        return place | {"data_dir": str(self.data_dir.resolve()), "sha256": sha256(file)}


@dataclass(frozen=True)
class Examples:
    """The sides of the data, the task that knows their labels, and what to say about them.

    sources: by side, of what was read; without `validation` among them it was split off training.
    """

    task: Task[Any, Any]
    train: Sequence[Example[Any]]
    validation: Sequence[Example[Any]]
    test: Sequence[Example[Any]]
    columns: str
    by_field: Mapping[str, str]
    sources: Mapping[str, Source]
    warnings: tuple[str, ...]
    validation_fraction: float

    @property
    def fields(self) -> tuple[str, ...]:
        """Of a request, those that training filled and that the task cannot do without."""
        return tuple(name for name in self.by_field if name not in (*self.task.spare_fields, self.task.answer_field))

    def record(self) -> dict[str, Any]:
        """What the saved model remembers of its data."""
        held_out = {"validation": {"fraction": self.validation_fraction, "seed": SPLIT_SEED}}
        return {
            "columns": dict(self.by_field),
            "files": {side: source.record() for side, source in self.sources.items()},
            "split": {} if "validation" in self.sources else held_out,
            "num_train_examples": len(self.train),
            "num_validation_examples": len(self.validation),
            "num_test_examples": len(self.test),
        }


class DataSettings(TableSettings):
    """Which examples a run learns from, is chosen by, and is measured on."""

    train_file: Path | None = Field(
        None, description="examples to train on: .csv .tsv .jsonl .parquet, or the task's own format; also .gz .xz .zst"
    )
    validation_file: Path | None = Field(None, description="examples to choose the best model by; None: split off")
    test_file: Path | None = Field(None, description="examples for the final figures, which nothing is chosen by")
    dataset: str | None = Field(None, description="a public data set by its name, instead of files; see datasets")
    data_dir: Path | None = Field(None, description="folder with the data set's files; None: from the hub")
    validation_fraction: float = Field(0.1, gt=0, lt=1, description="share split off without a validation file")
    max_train_samples: int | None = Field(
        None, ge=1, description="use so many training examples, those split off among them; always the same ones"
    )

    @property
    def data_name(self) -> Path:
        """What the run is called by."""
        return self.train_file or Path(str(self.dataset))


def sources_of(settings: DataSettings) -> dict[str, Source]:
    """The sides that the settings name. Raises `SettingsError` unless there is one source of training examples."""
    if (settings.train_file is None) == (settings.dataset is None):
        raise SettingsError("finetune needs --train-file, or --dataset with the name of a data set, one of the two")
    sources = {}
    if settings.dataset is not None:
        if settings.column_names:
            raise SettingsError("column_names are for files; the columns of a data set by name are known")
        known = data_set(settings.dataset)
        sources = {
            side: Source(None, settings.dataset, side, settings.data_dir)
            for side in ("train", "validation", "test")
            if side == "train" or side in known.split_names(settings.data_dir)
        }
    files = {"train": settings.train_file, "validation": settings.validation_file, "test": settings.test_file}
    return sources | {side: Source(file) for side, file in files.items() if file is not None}


def load_examples(task: Task[Any, Any], settings: DataSettings) -> Examples:
    """All sides of the settings' examples, the task fitted to those of training.

    Raises `DataError` for examples that cannot be used and labels that training lacks, all at once.
    """
    reading = settings.reading
    check_fields(type(task), settings.columns)
    sources = sources_of(settings)
    examples: Sequence[Example[Any]]
    examples, by_field, reason = sources["train"].examples(task, settings.columns, reading)
    warnings = [] if settings.dataset is None else list(_notes(settings.dataset))
    task = task.fitted(examples)  # before some are drawn, so that every label is known
    examples, notes = drawn(examples, settings.max_train_samples)
    warnings += notes
    sides = {side: sources[side].like(task, by_field, reading)[0] for side in ("validation", "test") if side in sources}
    for side, held_out in sides.items():
        task.check(held_out)
        warnings += [f"{side}: {notice}" for notice in task.notices(held_out)]
    empty = sum(not "".join(task.texts(example.request)).strip() for example in examples)
    warnings += [
        *reading.notices(),
        *task.notices(examples),
        *([f"{empty} of {len(examples)} training texts are empty"] if empty else []),
    ]
    train: Sequence[Example[Any]] = examples
    answers = [example.answer for example in examples]
    labels = answers if all(isinstance(answer, str) for answer in answers) and task.labels() else None
    single = _single(examples, labels)
    warnings += [*_rare(task, single, labels), *_contradictions(task, examples)]
    if "validation" not in sides:
        keys = [task.split_key(example.request) for example in examples]
        split = split_rows(keys, labels, settings.validation_fraction, SPLIT_SEED)
        warnings += split.warnings(told={example.answer for example in single})
        sides["validation"] = [examples[i] for i in split.validation.tolist()]
        train = [examples[i] for i in split.train.tolist()]
    for side in ("validation", "test"):
        if side in sources:
            warnings += _leaks(task, examples, sides[side], side, "training file", "and the score is too good by that")
    if {"validation", "test"} <= sources.keys():
        chosen_by = "which the model is chosen by"
        warnings += _leaks(task, sides["validation"], sides["test"], "test", "validation examples", chosen_by)
    return Examples(
        task,
        train,
        sides["validation"],
        sides.get("test", []),
        reason,
        by_field,
        sources,
        tuple(warnings),
        settings.validation_fraction,
    )


def drawn(examples: Sequence[T], at_most: int | None) -> tuple[Sequence[T], list[str]]:
    """Of more than `at_most` so many, in their order: the same ones of as many every time; and what to say of it."""
    if at_most is None or at_most >= len(examples):
        return examples, []
    chosen = np.random.default_rng(SPLIT_SEED).permutation(len(examples))[:at_most]
    note = f"using {at_most:,} of {len(examples):,} examples, chosen at random"
    return [examples[i] for i in sorted(chosen.tolist())], [note]


def drawn_of_each(items: Sequence[T], name_of: Callable[[T], str], at_most: int, seed: int) -> list[T]:
    """Of the items of each name so many, in their order; by the name, whatever else there is."""
    places: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        places.setdefault(name_of(item), []).append(place)
    chosen: list[int] = []
    for name, own in places.items():
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        chosen += [own[i] for i in rng.permutation(len(own))[:at_most].tolist()]
    return [items[place] for place in sorted(chosen)]


def _single(examples: Sequence[Example[Any]], labels: Sequence[str] | None) -> list[Example[Any]]:
    """Those that are the only one of their class."""
    counts = Counter(labels)
    return [example for example in examples if labels is not None and counts[example.answer] == 1]


def _rare(task: Task[Any, Any], single: Sequence[Example[Any]], labels: Sequence[str] | None) -> list[str]:
    """Classes that can hardly be learned, and where they stand."""
    if labels is None:
        return []
    known = set(labels)
    absent = [label for label in task.labels() or () if label not in known]
    return [
        *([f"classes with a single example: {_rows(single)}"] if single else []),
        *([f"labels without a training example: {', '.join(map(repr, absent[:ROWS_SHOWN]))}"] if absent else []),
    ]


def _contradictions(task: Task[Any, Any], examples: Sequence[Example[Any]]) -> list[str]:
    found = check_data(task, examples, None)
    if not found.num_conflicting:
        return []
    rows = "; ".join(" and ".join(conflict.where) for conflict in found.conflicts)
    return [f"{found.num_conflicting:,} of {len(examples):,} training texts occur with another answer too: {rows}"]


def _rows(examples: Sequence[Example[Any]]) -> str:
    """The first ten by place and answer."""
    shown = "; ".join(f"{example.answer!r} ({example.where})" for example in examples[:ROWS_SHOWN])
    rest = len(examples) - ROWS_SHOWN
    return f"{shown} and {rest:,} more" if rest > 0 else shown


def _leaks(
    task: Task[Any, Any], seen: Iterable[Example[Any]], other: Sequence[Example[Any]], side: str, where: str, so: str
) -> list[str]:
    """The share of a side's texts that are `where` too, and what follows from it."""
    keys = ([task.split_key(example.request) for example in examples] for examples in (seen, other))
    num = leaked(*keys)
    return [f"{num} of {len(other)} {side} texts are in the {where} too, {so}"] if num else []


def _notes(dataset: str) -> list[str]:
    return [f"{dataset}: {note}" for note in data_set(dataset).notes]
