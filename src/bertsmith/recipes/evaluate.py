"""Evaluation of a saved model on a file, as one function."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from bertsmith.data.corpus import Corpus
from bertsmith.data.lines import ErrorPolicy, Reading
from bertsmith.data.passages import Passages
from bertsmith.errors import SettingsError
from bertsmith.evaluation import evaluate as evaluation
from bertsmith.evaluation.evaluate import Evaluation
from bertsmith.inference.predictor import load
from bertsmith.runtime.device import Precision
from bertsmith.runtime.progress import Progress
from bertsmith.settings import Settings
from bertsmith.tasks.pretraining import Pretraining
from bertsmith.tasks.reading import columns_of, read_examples


class EvaluateSettings(Settings):
    """One evaluation."""

    folder: Path = Field(description="saved model")
    file: Path = Field(description="examples with their answers; for a pre-trained model a folder made by prepare")
    columns: dict[str, str] = Field({}, description="column of each field, by field, where they are not found")
    errors: ErrorPolicy = Field(
        "error", description="on bad rows: error (stop and name them), replace (U+FFFD for what is no text) or skip"
    )
    device: str = Field("auto", description="cpu, cuda or cuda:N; auto: the first GPU, else the CPU")
    precision: Precision = Field("auto", description="bf16 or fp32; auto: bf16 where the machine has it")


def evaluate(settings: EvaluateSettings, progress: Progress | None = None) -> Evaluation:
    """Score the model in `folder` on the examples in `file`."""
    predictor = load(settings.folder, device=settings.device, precision=settings.precision)
    task = predictor.task
    if isinstance(task, Pretraining):
        corpus = Corpus.open(settings.file)
        if corpus.manifest.tokenizer != predictor.tokenizer.fingerprint:
            raise SettingsError(f"{settings.file} was prepared with another vocabulary than {settings.folder} has")
        return evaluation.evaluate(predictor, Passages(corpus, max_tokens=task.settings.max_length - 3), progress)
    columns = columns_of(task, settings.file, settings.columns)
    examples = read_examples(task, settings.file, columns, Reading(errors=settings.errors))
    task.fitted(examples)  # refuses answers that the model does not know, all at once
    return evaluation.evaluate(predictor, examples, progress)
