"""Predictions of a saved model for texts or for a file of requests, written as JSON lines, as one function."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from bertsmith.data.batch import blocks
from bertsmith.data.lines import ErrorPolicy, Reading
from bertsmith.errors import SettingsError
from bertsmith.files import atomic_file
from bertsmith.inference.predictor import BLOCK_REQUESTS, Predictor, load
from bertsmith.runtime.device import Precision
from bertsmith.runtime.progress import Progress
from bertsmith.settings import Settings
from bertsmith.tasks.reading import columns_of, is_table, read_request_lines, read_requests


class PredictSettings(Settings):
    """One batch of predictions."""

    folder: Path = Field(description="saved model")
    text: tuple[str, ...] = Field((), description="texts to predict for")
    file: Path | None = Field(None, description="requests: .csv .tsv .jsonl .parquet, or .txt with one a line")
    output_file: Path | None = Field(None, description="JSON lines to write, one a request; None: to the terminal")
    columns: dict[str, str] = Field({}, description="column of each field, by field, where they are not found")
    errors: ErrorPolicy = Field(
        "error", description="on bad rows: error (stop and name them), replace (U+FFFD for what is no text) or skip"
    )
    device: str = Field("auto", description="cpu, cuda or cuda:N; auto: the first GPU, else the CPU")
    precision: Precision = Field("auto", description="bf16 or fp32; auto: bf16 where the machine has it")


@dataclass(frozen=True)
class PredictReport:
    """predictions: empty where they went to a file. num_cut_requests, num_cut_tokens: what did not fit."""

    num_requests: int
    num_cut_requests: int
    num_cut_tokens: int
    output_file: Path | None
    predictions: tuple[Any, ...]


def predict(settings: PredictSettings, progress: Progress | None = None) -> PredictReport:
    """Predict for the texts, or for the rows of the file; a file of any length is read and answered in blocks."""
    if (settings.file is None) == (not settings.text):
        raise SettingsError("predict needs texts or a file of requests, one of the two")
    predictor = load(settings.folder, device=settings.device, precision=settings.precision)
    kept: list[Any] = []
    counts = [0, 0, 0]
    if settings.output_file is None:
        for prediction in _answers(predictor, settings, counts, progress):
            kept.append(prediction)
    else:
        with atomic_file(settings.output_file) as temporary, temporary.open("w", encoding="utf-8") as lines:
            for prediction in _answers(predictor, settings, counts, progress):
                lines.write(json.dumps(asdict(prediction), ensure_ascii=False, allow_nan=False) + "\n")
    return PredictReport(counts[0], counts[1], counts[2], settings.output_file, tuple(kept))


def _answers(
    predictor: Predictor, settings: PredictSettings, counts: list[int], progress: Progress | None
) -> Iterator[Any]:
    for block in blocks(_requests(predictor, settings), BLOCK_REQUESTS):
        answers = predictor.run(block, progress=progress)
        for i, number in enumerate((len(block), answers.num_cut_requests, answers.num_cut_tokens)):
            counts[i] += number
        yield from answers.predictions


def _requests(predictor: Predictor, settings: PredictSettings) -> Iterator[Any]:
    task, file, reading = predictor.task, settings.file, Reading(errors=settings.errors)
    if file is None:
        return (task.request(text, f"text {place}") for place, text in enumerate(settings.text, start=1))
    if is_table(file):
        return read_requests(task, file, columns_of(task, file, settings.columns, labelled=False), reading)
    return read_request_lines(task, file, reading)
