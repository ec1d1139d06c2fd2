"""Evaluation of a saved model on a file, as one function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field

from bertsmith.artifact import load_artifact
from bertsmith.data.corpus import Corpus
from bertsmith.data.lines import ErrorPolicy, Reading
from bertsmith.data.passages import Passages
from bertsmith.data.readers import read_table
from bertsmith.errors import SettingsError
from bertsmith.evaluation import evaluate as evaluation
from bertsmith.evaluation.evaluate import Evaluation
from bertsmith.files import sha256
from bertsmith.inference.predictor import Predictor
from bertsmith.runtime.device import Precision
from bertsmith.runtime.progress import Progress
from bertsmith.settings import Settings
from bertsmith.tasks.pretraining import Pretraining
from bertsmith.tasks.reading import is_table, read_examples


class EvaluateSettings(Settings):
    """One evaluation."""

    folder: Path = Field(description="saved model")
    file: Path = Field(description="examples with their answers; for a pre-trained model a folder made by prepare")
    columns: dict[str, str] = Field({}, description="column of each field, by field; empty: as trained")
    errors: ErrorPolicy = Field(
        "error", description="on bad rows: error (stop and name them), replace (U+FFFD for what is no text) or skip"
    )
    device: str = Field("auto", description="cpu, cuda or cuda:N; auto: the first GPU, else the CPU")
    precision: Precision = Field("auto", description="bf16 or fp32; auto: bf16 where the machine has it")


def evaluate(settings: EvaluateSettings, progress: Progress | None = None) -> Evaluation:
    """Score the model in `folder` on the examples in `file`; a warning tells where it has trained on them."""
    artifact = load_artifact(settings.folder)
    predictor = Predictor.of(artifact, device=settings.device, precision=settings.precision)
    data = artifact.record.get("data", {})
    if isinstance(artifact.task, Pretraining):
        corpus = Corpus.open(settings.file)
        if corpus.manifest.tokenizer != artifact.tokenizer.fingerprint:
            raise SettingsError(f"{settings.file} was prepared with another tokenizer than {settings.folder} has")
        passages = Passages(corpus, max_tokens=artifact.task.settings.max_length - 3)
        result = evaluation.evaluate(predictor, passages, progress)
        return _with_warnings(result, [], corpus.fingerprint == data.get("corpus"))
    reading = Reading(errors=settings.errors)
    given = settings.columns or known_columns(artifact.record, settings.file)
    examples, _ = read_examples(artifact.task, settings.file, given, reading)
    artifact.task.fitted(examples)  # refuses answers that the model does not know, all at once
    result = evaluation.evaluate(predictor, examples, progress)
    trained_on = data.get("files", {}).get("train", {}).get("sha256") == sha256(settings.file)
    return _with_warnings(result, reading.notices(), trained_on)


def known_columns(record: Mapping[str, Any], path: Path) -> dict[str, str]:
    """The columns that the model was trained with, as far as the table at `path` has them."""
    if not is_table(path):
        return {}
    there = next(read_table(path, Reading(errors="skip"))).values
    return {field: column for field, column in record.get("data", {}).get("columns", {}).items() if column in there}


def _with_warnings(result: Evaluation, notices: list[str], trained_on: bool) -> Evaluation:
    leak = ["the model was trained on this very file: the score says nothing about new texts"] if trained_on else []
    return replace(result, warnings=(*notices, *leak))
