"""Predictions of a saved model for texts or for a file of requests, written as JSON lines, as one function."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from bertsmith.artifact import load_artifact
from bertsmith.data.batch import blocks
from bertsmith.data.lines import ErrorPolicy, Reading
from bertsmith.errors import SettingsError
from bertsmith.files import atomic_file
from bertsmith.inference.predictor import BLOCK_REQUESTS, Predictor
from bertsmith.recipes.evaluate import known_columns
from bertsmith.runtime.device import Precision
from bertsmith.runtime.progress import Progress
from bertsmith.settings import Settings
from bertsmith.tasks.reading import Placed, read_requests


class PredictSettings(Settings):
    """One batch of predictions."""

    folder: Path = Field(description="saved model")
    text: tuple[str, ...] = Field((), description="texts to predict for")
    file: Path | None = Field(None, description="requests: .csv .tsv .jsonl .parquet, or .txt with one a line")
    output_file: Path | None = Field(None, description="JSON lines to write, one a request; None: to the terminal")
    columns: dict[str, str] = Field({}, description="column of each field, by field; empty: as trained")
    errors: ErrorPolicy = Field(
        "error", description="on bad rows: error (stop and name them), replace (U+FFFD for what is no text) or skip"
    )
    device: str = Field("auto", description="cpu, cuda or cuda:N; auto: the first GPU, else the CPU")
    precision: Precision = Field("auto", description="bf16 or fp32; auto: bf16 where the machine has it")


@dataclass(frozen=True)
class PredictReport:
    """predictions: one a request; rows: its row or line in the file, from 1; both empty where they were written.

    num_cut_requests, num_cut_tokens: what did not fit and was not read. warnings: what was skipped or mended.
    """

    num_requests: int
    num_cut_requests: int
    num_cut_tokens: int
    output_file: Path | None
    rows: tuple[int, ...]
    predictions: tuple[Any, ...]
    warnings: tuple[str, ...]


def predict(settings: PredictSettings, progress: Progress | None = None) -> PredictReport:
    """Predict for the texts, or for the rows of the file; a file of any length is read and answered in blocks."""
    if (settings.file is None) == (not settings.text):
        raise SettingsError("predict needs texts or a file of requests, one of the two")
    if settings.output_file is not None and settings.output_file.is_dir():
        raise SettingsError(f"{settings.output_file}: a folder is there; name a file to write to")
    run = _Run(settings, progress)
    if settings.output_file is None:
        answers = tuple(run.answers())
        rows, predictions = tuple(row for row, _ in answers), tuple(prediction for _, prediction in answers)
    else:
        rows = predictions = ()
        with atomic_file(settings.output_file) as temporary, temporary.open("w", encoding="utf-8") as lines:
            for row, prediction in run.answers():
                lines.write(json.dumps({"row": row, **asdict(prediction)}, ensure_ascii=False, allow_nan=False) + "\n")
    warnings = tuple(run.reading.notices())
    return PredictReport(
        run.num_requests, run.num_cut, run.num_cut_tokens, settings.output_file, rows, predictions, warnings
    )


class _Run:
    """The answers in order, and what is counted on the way."""

    def __init__(self, settings: PredictSettings, progress: Progress | None):
        self.settings, self.progress = settings, progress
        self.artifact = load_artifact(settings.folder)
        self.reading = Reading(errors=settings.errors)
        self.num_requests = self.num_cut = self.num_cut_tokens = 0

    def answers(self) -> Iterator[tuple[int, Any]]:
        settings = self.settings
        predictor = Predictor.of(self.artifact, device=settings.device, precision=settings.precision)
        for block in blocks(self.requests(), BLOCK_REQUESTS):
            result = predictor.run([placed.request for placed in block], progress=self.progress)
            self.num_requests += len(block)
            self.num_cut += result.num_cut_requests
            self.num_cut_tokens += result.num_cut_tokens
            yield from zip((placed.row for placed in block), result.predictions, strict=True)

    def requests(self) -> Iterator[Placed]:
        task, file = self.artifact.task, self.settings.file
        if file is None:
            texts = enumerate(self.settings.text, start=1)
            return (Placed(place, task.request(text, f"text {place}")) for place, text in texts)
        given = self.settings.columns or known_columns(self.artifact, file)
        return read_requests(task, file, given, self.reading)
