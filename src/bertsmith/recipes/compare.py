"""Two saved models, or two evaluations, compared on the same examples, as one function."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from bertsmith.artifact import RECORD, load_artifact
from bertsmith.data.columns import say_column
from bertsmith.errors import DataError, FileFormatError, SettingsError
from bertsmith.evaluation.compare import MetricComparison, compare_metrics
from bertsmith.evaluation.evaluate import judge
from bertsmith.evaluation.intervals import Marked
from bertsmith.files import read_json
from bertsmith.inference.predictor import Predictor
from bertsmith.recipes.evaluate import FACTS, SampleSettings, examples_for, source_of
from bertsmith.recipes.examples import SAME, Source
from bertsmith.runtime.device import PredictionPrecision
from bertsmith.runtime.progress import Progress
from bertsmith.tasks import Task, task_class


class CompareSettings(SampleSettings):
    """One comparison. A column that is named holds for both models; the others are those of each model's training."""

    first: Path = Field(description=f"saved model, {FACTS} of a report, or a folder with several of either: its seeds")
    second: Path = Field(description="the model, report or folder that it is compared with")
    file: Path | None = Field(None, description=f"examples with their answers; None: those that the {FACTS} are about")
    dataset: str | None = Field(None, description="a public data set by its name, instead of a file")
    split: str = Field("test", description="which split of the data set")
    data_dir: Path | None = Field(None, description="folder with the data set's files; None: from the hub")
    device: str = Field("auto", description="cpu, cuda or cuda:N; auto: the first GPU, else the CPU")
    precision: PredictionPrecision = Field(
        "auto", description="fp32, bf16 or int8; auto: bf16 where the machine has it"
    )
    seed: int = Field(0, description="of the bootstrap's draws")


@dataclass(frozen=True)
class CompareReport:
    """metrics: the comparison of each. num_runs: of the first and of the second model, which differ by their seeds.

    only_first, only_second: examples that the one answers better than the other, by the mean credit over its runs.
    warnings: which examples were left out, and where the models read other columns.
    """

    num_examples: int
    num_runs: tuple[int, int]
    metrics: dict[str, MetricComparison]
    only_first: int
    only_second: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Run:
    """The marks of one model. source: the record of the examples that they are about; rows: their places, if known."""

    path: Path
    task: Task[Any, Any]
    marked: Marked
    source: dict[str, Any]
    rows: tuple[str, ...] = ()

    @property
    def columns(self) -> Mapping[str, str]:
        """Of the examples' fields, where the record names them."""
        columns: Mapping[str, str] = self.source.get("columns", {})
        return columns

    @property
    def credit(self) -> Any:
        return self.task.credit(self.marked.marks)


def compare(settings: CompareSettings | Mapping[str, Any], progress: Progress | None = None) -> CompareReport:
    """Paired bootstrap over the examples, and over the runs of a model where it has several.

    Raises `DataError` where the evaluations are about other examples, `SettingsError` where there is nothing to read.
    """
    settings = settings if isinstance(settings, CompareSettings) else CompareSettings.of(settings)
    sides = [[_run(path, settings, progress) for path in runs_in(place)] for place in (settings.first, settings.second)]
    runs = [run for side in sides for run in side]
    _check_same(runs)
    first, second = sides
    metrics = compare_metrics(
        [run.marked for run in first], [run.marked for run in second], first[0].task.metrics, seed=settings.seed
    )
    if not metrics:
        raise DataError(f"{settings.first} and {settings.second} have no metric in common")
    difference = np.mean([run.credit for run in first], axis=0) - np.mean([run.credit for run in second], axis=0)
    better, worse = (int((sign * difference > 1e-9).sum()) for sign in (1, -1))
    notes = [note for run in runs for note in run.source.get("notes", [])]
    warnings = tuple(dict.fromkeys([*notes, *_other_columns(runs)]))
    return CompareReport(len(difference), (len(first), len(second)), metrics, better, worse, warnings)


def runs_in(place: Path) -> list[Path]:
    """The saved models or the facts of reports at `place`: itself, or those in the folders below it."""
    if place.is_file():
        return [place]
    names = (RECORD, FACTS)
    found = [place / name for name in names if (place / name).is_file()][:1]
    if not found and place.is_dir():
        inside = sorted(folder for folder in place.iterdir() if folder.is_dir())
        found = [path for folder in inside for path in [folder / name for name in names] if path.is_file()]
    if not found:
        raise SettingsError(f"{place}: neither a saved model nor a report nor a folder with some of either")
    return [path.parent if path.name == RECORD else path for path in found]


def _run(path: Path, settings: CompareSettings, progress: Progress | None) -> _Run:
    return _kept(path, settings) if path.is_file() else _judged(path, settings, progress)


def _kept(path: Path, settings: CompareSettings) -> _Run:
    """The marks that an evaluation wrote."""
    facts = read_json(path)
    if not isinstance(facts.get("marks"), list) or not isinstance(facts.get("task"), dict):
        raise FileFormatError(f"{path}: expected an {FACTS} as evaluate --report-dir writes it, with task and marks")
    if len(facts["marks"]) > (settings.max_eval_samples or math.inf):
        raise SettingsError(
            f"{path}: holds {len(facts['marks']):,} examples, which are compared as they are; name the model, or give "
            "--max-eval-samples to evaluate"
        )
    task = task_class(facts["task"].get("name", "")).from_dict(facts["task"], f"{path}: task")
    return _Run(path, task, Marked(task.metrics_of, np.array(facts["marks"], dtype=float)), facts.get("source", {}))


def _judged(path: Path, settings: CompareSettings, progress: Progress | None) -> _Run:
    """The marks of a saved model's answers, computed now."""
    source: Source = source_of(settings.file, settings.dataset, settings.split, settings.data_dir)
    artifact = load_artifact(path)
    predictor = Predictor.of(artifact, device=settings.device, precision=settings.precision)
    asked = examples_for(artifact, source, settings, columns=settings.columns)
    judged = judge(predictor, asked.examples, progress)
    rows = tuple(example.where for example in asked.examples)
    return _Run(path, artifact.task, judged.marked, asked.record(), rows)


def _check_same(runs: Sequence[_Run]) -> None:
    """Every run is about the same examples, by their file's hash, their number and rows, and the column of answers."""
    known = runs[0]
    for run in runs[1:]:
        if run.task.name != known.task.name:
            raise DataError(f"{known.path} is about {known.task.name}, {run.path} about {run.task.name}")
        same = all(run.source.get(name) == known.source.get(name) for name in SAME)
        same_rows = not (run.rows and known.rows) or run.rows == known.rows
        if not same or not same_rows or len(run.marked.marks) != len(known.marked.marks):
            raise DataError(
                f"{known.path} ({len(known.marked.marks):,} examples) and {run.path} ({len(run.marked.marks):,}) are "
                "not about the same examples; evaluate both on one file"
            )
        answers = [each.columns.get(each.task.answer_field) for each in (known, run)]
        if None not in answers and answers[0] != answers[1]:
            raise DataError(
                f"{known.path} is measured by the column {answers[0]!r}, {run.path} by {answers[1]!r}; "
                f"{say_column(run.task.answer_field)}, which then holds for both"
            )


def _other_columns(runs: Sequence[_Run]) -> list[str]:
    """Fields that the models read from several columns."""
    columns: dict[str, dict[str, Path]] = {}
    for run in runs:
        for name, column in run.columns.items():
            columns.setdefault(name, {}).setdefault(column, run.path)
    return [
        f"{name} is read from several columns: {', '.join(f'{column!r} ({path})' for column, path in found.items())}"
        for name, found in columns.items()
        if len(found) > 1
    ]
