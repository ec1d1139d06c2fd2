"""Predictions of a saved model for texts or for a file of requests, written to a file if wanted, as one function."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import Field

from bertsmith.artifact import load_artifact
from bertsmith.data.batch import blocks
from bertsmith.errors import SettingsError, nearest
from bertsmith.files import atomic_file
from bertsmith.inference.predictor import BLOCK_REQUESTS, Predictor
from bertsmith.recipes.prediction_files import JSON_LINES, SEPARATORS, format_of, json_lines, table_lines
from bertsmith.recipes.tables import TableSettings
from bertsmith.runtime.device import PredictionPrecision
from bertsmith.runtime.progress import Progress
from bertsmith.tasks.reading import Placed, known_columns, read_requests


class PredictSettings(TableSettings):
    """One batch of predictions."""

    folder: Path = Field(description="saved model")
    text: tuple[str, ...] = Field((), description="texts to predict for")
    file: Path | None = Field(None, description="requests: .csv .tsv .jsonl .parquet, or .txt with one a line")
    output_file: Path | None = Field(
        None, description="file to write, a line for each request: .jsonl, .csv or .tsv; None: to the terminal"
    )
    output_format: str | None = Field(
        None, description="jsonl, csv, tsv, or a format of the task's field: squad, squad-odds; None: by the suffix"
    )
    request: dict[str, Any] = Field({}, description="one request, by its fields, instead of texts or a file")
    device: str = Field("auto", description="cpu, cuda or cuda:N; auto: the first GPU, else the CPU")
    precision: PredictionPrecision = Field(
        "auto", description="fp32, bf16 or int8; auto: bf16 where the machine has it"
    )
    batch_invariant: bool = Field(False, description="the same bits for a text whatever it is batched with")


@dataclass(frozen=True)
class PredictReport:
    """predictions: one a request; rows: its row or line in the file, from 1; both empty where they were written.

    num_cut_requests, num_cut_tokens: what did not fit and was not read. num_windowed_requests: read in several windows.
    warnings: what was skipped or mended.
    """

    num_requests: int
    num_cut_requests: int
    num_cut_tokens: int
    num_windowed_requests: int
    output_file: Path | None
    rows: tuple[int, ...]
    predictions: tuple[Any, ...]
    warnings: tuple[str, ...]


def predict(settings: PredictSettings, progress: Progress | None = None) -> PredictReport:
    """Predict for the texts, or for the rows of the file; a file of any length is read and answered in blocks."""
    if sum((settings.file is not None, bool(settings.text), bool(settings.request))) != 1:
        raise SettingsError("predict needs texts, a file of requests, or the fields of one request: one of the three")
    output_format = _format(settings)
    run = _Run(settings, progress)
    rows: tuple[int, ...] = ()
    predictions: tuple[Any, ...] = ()
    if settings.output_file is None:
        answers = tuple(run.answers())
        rows, predictions = tuple(a.row for a in answers), tuple(a.prediction for a in answers)
    else:
        with atomic_file(settings.output_file) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            file.writelines(_written(run, output_format))
    warnings = (*run.artifact.record.get("notes", ()), *run.reading.notices())
    return PredictReport(
        run.num_requests,
        run.num_cut,
        run.num_cut_tokens,
        run.num_windowed,
        settings.output_file,
        rows,
        predictions,
        warnings,
    )


def _format(settings: PredictSettings) -> str:
    """What is written. Raises `SettingsError` for a place that cannot be written to, or not so."""
    path, asked = settings.output_file, settings.output_format
    if path is None:
        if asked not in (None, JSON_LINES):
            raise SettingsError(f"{asked} is written to a file: name it with --output-file")
        return JSON_LINES
    if path.is_dir():
        raise SettingsError(f"{path}: a folder is there; name a file to write to")
    return asked or format_of(path)


def _written(run: _Run, output_format: str) -> Iterator[str]:
    """The lines of the output file."""
    task = run.artifact.task
    if output_format in task.writers:
        answers = list(run.answers())
        document = task.writers[output_format]([a.request for a in answers], [a.prediction for a in answers])
        yield json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n"
        return
    known = [JSON_LINES, *SEPARATORS, *task.writers]
    if output_format not in known:
        raise SettingsError(f"no output format {output_format!r} for this model; {nearest(output_format, known)}")
    numbered = ((answer.row, answer.prediction) for answer in run.answers())
    if output_format == JSON_LINES:
        yield from json_lines(numbered)
    else:
        names = [field.name for field in fields(task.Prediction)]
        yield from table_lines(numbered, names, SEPARATORS[output_format])


@dataclass(frozen=True, slots=True)
class _Answer:
    row: int
    request: Any
    prediction: Any


class _Run:
    """The answers in order, and what is counted on the way."""

    def __init__(self, settings: PredictSettings, progress: Progress | None):
        self.settings, self.progress = settings, progress
        self.artifact = load_artifact(settings.folder)
        self.reading = settings.reading
        self.num_requests = self.num_cut = self.num_cut_tokens = self.num_windowed = 0

    def answers(self) -> Iterator[_Answer]:
        settings = self.settings
        predictor = Predictor.of(
            self.artifact,
            device=settings.device,
            precision=settings.precision,
            batch_invariant=settings.batch_invariant,
        )
        for block in blocks(self.requests(), BLOCK_REQUESTS):
            result = predictor.run([placed.request for placed in block], progress=self.progress)
            self.num_requests += len(block)
            self.num_cut += result.num_cut_requests
            self.num_cut_tokens += result.num_cut_tokens
            self.num_windowed += result.num_windowed_requests
            for placed, prediction in zip(block, result.predictions, strict=True):
                yield _Answer(placed.row, placed.request, prediction)

    def requests(self) -> Iterator[Placed]:
        task, file = self.artifact.task, self.settings.file
        if self.settings.request:
            return iter([Placed(1, task.request(self.settings.request, "the request"))])
        if file is None:
            texts = enumerate(self.settings.text, start=1)
            return (Placed(place, task.request(text, f"text {place}")) for place, text in texts)
        trained = self.artifact.record.get("data", {}).get("columns", {})
        given = known_columns(task, file, trained, self.reading) | self.settings.columns
        return read_requests(task, file, given, self.reading, expected=trained)
