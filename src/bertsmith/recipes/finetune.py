"""Fine-tuning as one function, for any task: a pre-trained model and a file of examples in, a saved model out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, create_model

from bertsmith.artifact import Artifact, save_artifact
from bertsmith.data.lines import ErrorPolicy, Reading
from bertsmith.data.split import leaked, split_rows
from bertsmith.evaluation.evaluate import Evaluation, evaluate
from bertsmith.files import sha256
from bertsmith.inference.predictor import Predictor, load
from bertsmith.recipes.start import LOGS, NEW_TRAINING, ModelName, Start, run_folder, start_from, start_new
from bertsmith.runtime.progress import Progress
from bertsmith.settings import Settings
from bertsmith.tasks import Example, Task, task_class
from bertsmith.tasks.reading import field_names, read_examples
from bertsmith.training.judge import Hooks, Metrics
from bertsmith.training.logs import RunLog
from bertsmith.training.trainer import TrainingResult, TrainingSettings, train


class FinetuneSettings(Settings):
    """What every fine-tuning run has; `finetune_settings` adds what one task has."""

    train_file: Path = Field(description="examples to train on: .csv .tsv .jsonl .parquet, also .gz .xz .zst")
    validation_file: Path | None = Field(None, description="examples to choose the best model by; None: split off")
    model: ModelName | None = Field(
        None, description="folder of a pre-trained model, or its name on the Hugging Face hub; None: small, new weights"
    )
    output_dir: Path | None = Field(None, description="folder for the model and its logs; None: runs/TASK-FILE")
    overwrite_output_dir: bool = Field(False, description="replace a model that is in the folder already")
    validation_fraction: float = Field(0.1, gt=0, lt=1, description="share split off without a validation file")
    errors: ErrorPolicy = Field(
        "error", description="on bad rows: error (stop and name them), replace (U+FFFD for what is no text) or skip"
    )
    dropout: float | None = Field(None, ge=0, lt=1, description="dropout of the network; None: as the model has it")
    training: TrainingSettings = TrainingSettings()


def finetune_settings(task_name: str) -> type[FinetuneSettings]:
    """The settings of fine-tuning one task: those of every run, a column for each field, the task's own as `task`."""
    task = task_class(task_name)
    columns: dict[str, Any] = {
        f"{name}_column": (
            str | None,
            Field(None, description=f"column with the {name.replace('_', ' ')}; None: found"),
        )
        for name in field_names(task)
    }
    return create_model(
        f"{task.__name__}FinetuneSettings",
        __base__=FinetuneSettings,
        __doc__=f"A fine-tuning run for {task.name}.",
        task=(task.Settings, task.Settings()),
        **columns,
    )


@dataclass(frozen=True)
class FinetuneReport:
    """What came out. evaluation: the saved model's, on the validation examples. columns, warnings: to be read."""

    output_dir: Path
    num_train_examples: int
    num_validation_examples: int
    columns: str
    warnings: tuple[str, ...]
    training: TrainingResult
    evaluation: Evaluation


def finetune(task_name: str, settings: FinetuneSettings, progress: Progress | None = None) -> FinetuneReport:
    """Train as `settings`, an instance of `finetune_settings(task_name)`, say; the folder holds the best model so far.

    Raises `DataError` for examples that cannot be used and `FileFormatError` for a model that cannot.
    """
    progress = progress or Progress()
    torch.manual_seed(settings.training.seed)
    folder = run_folder(settings.output_dir, task_name, settings.train_file, overwrite=settings.overwrite_output_dir)
    examples = _read_all(task_class(task_name), settings)
    progress.note(f"columns: {examples.columns}")
    start, training, warnings = _start(examples, settings, progress)
    for warning in warnings:
        progress.note(f"warning: {warning}")
    task, network, tokenizer = start.task, start.network, start.tokenizer
    predictor = Predictor(task, network, tokenizer, training.precision)

    def keep(step: int, metrics: Metrics) -> None:
        record = {
            "settings": settings.model_copy(update={"training": training}).model_dump(mode="json"),
            "data": examples.record(),
            "training": {"best_step": step},
            "metrics": {"validation": dict(metrics)},
        }
        save_artifact(folder, Artifact(task, network, tokenizer, record))

    hooks = Hooks(lambda: evaluate(predictor, examples.validation).metrics, keep)
    with RunLog(folder / LOGS) as log:
        result = train(task, network, tokenizer, examples.train, training, hooks=hooks, log=log, progress=progress)
    best = load(folder, device=training.device, precision=training.precision)
    return FinetuneReport(
        folder,
        len(examples.train),
        len(examples.validation),
        examples.columns,
        warnings,
        result,
        evaluate(best, examples.validation),
    )


def _start(
    examples: _Examples, settings: FinetuneSettings, progress: Progress
) -> tuple[Start, TrainingSettings, tuple[str, ...]]:
    """What to train, how, and the warnings so far."""
    dropout = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), settings.dropout)
    changes = {} if settings.dropout is None else dropout
    training = settings.training
    if settings.model is not None:
        start = start_from(examples.task, settings.model, changes)
        return start, training, (*examples.warnings, *start.notes)
    unsaid = {name: value for name, value in NEW_TRAINING.items() if getattr(training, name) is None}
    texts = [text for example in examples.train for text in _texts(example)]
    if examples.task.labels() is None:
        texts += [example.answer for example in examples.train]
    said = ", ".join(f"{name} {value:g}" for name, value in unsaid.items())
    advice = (
        "no --model: this starts from new weights and a vocabulary of the training texts"
        f"{f' ({said})' if said else ''}; a pre-trained model does better"
    )
    start = start_new(examples.task, texts, changes, progress)
    return start, training.model_copy(update=unsaid), (*examples.warnings, advice)


@dataclass(frozen=True)
class _Examples:
    """Both sides of the data, the task that knows their labels, and what to say about them."""

    task: Task[Any, Any]
    train: Sequence[Example[Any]]
    validation: Sequence[Example[Any]]
    columns: str
    by_field: Mapping[str, str]
    files: Mapping[str, Path]
    warnings: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """What the artifact remembers: where examples came from, and which columns meant what."""
        return {
            "columns": dict(self.by_field),
            "files": {side: {"name": path.name, "sha256": sha256(path)} for side, path in self.files.items()},
            "num_train_examples": len(self.train),
            "num_validation_examples": len(self.validation),
        }


def _read_all(task_type: type[Task[Any, Any]], settings: FinetuneSettings) -> _Examples:
    named = {name: getattr(settings, f"{name}_column") for name in field_names(task_type)}
    task = task_type(settings.task)  # type: ignore[attr-defined]
    reading = Reading(errors=settings.errors)
    given = {name: column for name, column in named.items() if column}
    examples, columns = read_examples(task, settings.train_file, given, reading)
    task = task.fitted(examples)
    files = {"train": settings.train_file}
    if settings.validation_file is None:
        labels = None if task.labels() is None else [example.answer for example in examples]
        texts = [_text(example) for example in examples]
        split = split_rows(texts, labels, settings.validation_fraction, settings.training.seed)
        train, validation = ([examples[i] for i in side.tolist()] for side in (split.train, split.validation))
        warnings = (*_noticed(reading, examples), *split.warnings)
        return _Examples(task, train, validation, columns.reason, columns.by_field, files, warnings)
    files["validation"] = settings.validation_file
    validation, _ = read_examples(task, settings.validation_file, columns.by_field, reading)
    task.fitted(validation)  # refuses labels that training data lacks, all at once
    seen = leaked(map(_text, examples), map(_text, validation))
    share = f"{seen} of {len(validation)} validation texts are in the training file too; the score is too good by that"
    warnings = (*_noticed(reading, examples), *((share,) if seen else ()))
    return _Examples(task, examples, validation, columns.reason, columns.by_field, files, warnings)


def _noticed(reading: Reading, examples: Sequence[Example[Any]]) -> list[str]:
    """What the errors policy passed over, and texts with nothing in them."""
    empty = sum(not "".join(_texts(example)).strip() for example in examples)
    return [*reading.notices(), *([f"{empty} of {len(examples)} training texts are empty"] if empty else [])]


def _texts(example: Example[Any]) -> list[str]:
    return [value for value in asdict(example.request).values() if isinstance(value, str)]


def _text(example: Example[Any]) -> str:
    """All of a request's texts as one, for comparing examples."""
    return "\0".join(_texts(example))
