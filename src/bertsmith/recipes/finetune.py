"""Fine-tuning as one function, for any task: a pre-trained model and examples in, a saved and measured model out."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, create_model

from bertsmith.catalog import data_set
from bertsmith.data.triples import KnowledgeSettings
from bertsmith.errors import SettingsError
from bertsmith.evaluation.evaluate import Evaluation
from bertsmith.recipes.examples import DataSettings, Examples, load_examples
from bertsmith.recipes.job import Job
from bertsmith.recipes.kept_model import KeptModel
from bertsmith.recipes.knowledge import inform, inputs_of
from bertsmith.recipes.resume import ResumeSettings, finished, identity_of, training_folder
from bertsmith.recipes.start import (
    NEW_TRAINING,
    ModelName,
    NewModelSettings,
    Start,
    adapted,
    refuse_long,
    refuse_to_adapt_new,
    start_from,
    start_new,
)
from bertsmith.recipes.train_job import train_job
from bertsmith.recipes.watch import Watch
from bertsmith.runtime.interruption import preparing, raise_if_asked, stoppable
from bertsmith.runtime.processes import Processes, joined, speaks
from bertsmith.runtime.progress import Progress, is_silent, progress_for
from bertsmith.scale.together import run_together
from bertsmith.tasks import task_class
from bertsmith.training.adaptation import AdaptationSettings, rate_factors, trained_weights
from bertsmith.training.result import TrainingResult
from bertsmith.training.settings import TrainingSettings

CHOSEN_BY = (
    "the model and its thresholds were chosen by the validation examples, whose figures flatter it; for others give a "
    "--test-file"
)


class FinetuneSettings(DataSettings, ResumeSettings):
    """What every fine-tuning run has; `finetune_settings` adds what one task has."""

    model: ModelName | None = Field(
        None, description="folder of a pre-trained model, or its name on the Hugging Face hub; None: small, new weights"
    )
    output_dir: Path | None = Field(None, description="folder for the model and its logs; None: runs/TASK-DATA")
    overwrite_output_dir: bool = Field(False, description="replace a model that is in the folder already")
    dropout: float | None = Field(None, ge=0, lt=1, description="dropout of the network; None: as the model has it")
    seeds: int = Field(1, ge=1, description="train so often, with seeds one apart, for a mean and its interval")
    tune: bool = Field(True, description="fit temperature and thresholds on the validation examples after training")
    new: NewModelSettings = NewModelSettings()
    adaptation: AdaptationSettings = AdaptationSettings()
    knowledge: KnowledgeSettings = KnowledgeSettings()
    training: TrainingSettings = TrainingSettings()


def finetune_settings(task_name: str) -> type[FinetuneSettings]:
    """The settings of fine-tuning one task: those of every run, and the task's own as `task`."""
    task = task_class(task_name)
    return create_model(
        f"{task.__name__}FinetuneSettings",
        __base__=FinetuneSettings,
        __doc__=f"A fine-tuning run for {task.name}.",
        task=(task.Settings, task.Settings()),
    )


@dataclass(frozen=True)
class FinetuneReport:
    """What came out. evaluation: the saved model's, on the validation examples; test: on the test examples, if any.

    columns, warnings: to be read. fields: those that a request to the model fills.
    """

    output_dir: Path
    num_train_examples: int
    num_validation_examples: int
    columns: str
    fields: tuple[str, ...]
    warnings: tuple[str, ...]
    training: TrainingResult
    evaluation: Evaluation
    test: Evaluation | None = None


def finetune(
    task_name: str,
    settings: FinetuneSettings | Mapping[str, Any],
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> FinetuneReport:
    """Train as `settings` say, an instance of `finetune_settings(task_name)` or its values by name.

    The folder holds the best model so far at any time. watch: hears of every evaluation. Under torchrun or another
    launcher every process calls this with the same settings; the first one writes, and has the last word on the
    figures. `settings.scale` starts the processes itself. Raises `DataError` for examples that cannot be used and
    `FileFormatError` for a model that cannot.
    """
    if not isinstance(settings, FinetuneSettings):
        settings = finetune_settings(task_name).of(settings)
    if settings.seeds > 1:
        raise SettingsError(f"seeds: bertsmith.finetune_seeds makes {settings.seeds} runs and reports them all")
    if settings.scale.on is not None:
        assert watch is None, "it hears of what happens in this process"
        call = (task_name, settings.for_a_worker, is_silent(progress))
        return run_together(_finetune_in_worker, call, settings.scale, settings.training.process_timeout_seconds)
    with joined(settings.training.process_timeout_seconds) as group, stoppable():
        return _finetune(task_name, with_data_set(task_name, settings), progress or Progress(), watch, group)


def _finetune_in_worker(task_name: str, values: Mapping[str, Any], quiet: bool) -> FinetuneReport:
    return finetune(task_name, values, progress_for(sys.stderr, quiet=quiet or not speaks()))


def _finetune(
    task_name: str, settings: FinetuneSettings, progress: Progress, watch: Watch | None, group: Processes
) -> FinetuneReport:
    with preparing():
        job, examples, warnings = _prepared(task_name, settings, progress)
        made_with = {
            "task": job.task.to_dict(),
            "tokenizer": job.tokenizer.fingerprint,
            "adaptation": settings.adaptation.model_dump(mode="json"),
            "data": job.data,
        }
        identity = identity_of(job.training, job.network, made_with)
    values = settings.model_copy(update={"training": job.training}).model_dump(mode="json")
    kept = KeptModel(job, examples, values, settings.model or "", settings.tune, group)
    result = finished(job.folder, settings, identity, progress, overwrite=settings.overwrite_output_dir)
    if result is None:
        result = train_job(job, settings, identity, kept.hooks, progress, watch)
    else:
        kept.measure()
    assert kept.measured is not None
    return FinetuneReport(
        job.folder,
        len(examples.train),
        len(examples.validation),
        examples.columns,
        examples.fields,
        warnings,
        result,
        kept.measured.evaluation,
        kept.measured.test,
    )


def finetuning_job(task_name: str, settings: FinetuneSettings, progress: Progress) -> Job:
    """Everything that `settings` ask for before the first step."""
    return _prepared(task_name, with_data_set(task_name, settings), progress)[0]


def _prepared(task_name: str, settings: FinetuneSettings, progress: Progress) -> tuple[Job, Examples, tuple[str, ...]]:
    """The run before its first step, all its examples, and what a user was warned of."""
    torch.manual_seed(settings.training.seed)
    settings.training.augmentation.check(task_class(task_name)(settings.task))  # type: ignore[attr-defined]
    folder = training_folder(
        settings.output_dir, task_name, settings.data_name, settings, overwrite=settings.overwrite_output_dir
    )
    examples = _examples(task_name, settings)
    raise_if_asked()
    progress.note(f"columns: {examples.columns}")
    start, training, warnings = _start(examples, settings, progress)
    raise_if_asked()
    warnings += _pieces_told(start, examples)
    warnings += () if examples.test else (CHOSEN_BY,)
    for warning in warnings:
        progress.note(f"warning: {warning}")
    refuse_long(start, (*examples.train, *examples.validation, *examples.test))
    inputs = inputs_of(start.task, start.tokenizer, examples.train)
    informed = inform(start.network, start.tokenizer, settings.knowledge, inputs, progress)
    job = Job(
        folder,
        start.task,
        start.network,
        start.tokenizer,
        start.task.training_examples(examples.train),
        examples.validation,
        training,
        examples.record() | ({} if informed is None else {"knowledge": informed.record}),
        rate_factors(start.network, settings.adaptation),
        num_last_examples=(1 + settings.tune) * len(examples.validation) + len(examples.test),
    )
    return job, examples, warnings


def _pieces_told(start: Start, examples: Examples) -> tuple[str, ...]:
    """What the tokenizer makes of the examples that people should know."""
    sides = {"training": examples.train, "validation": examples.validation, "test": examples.test}
    return tuple(
        f"{side}: {notice}"
        for side, rows in sides.items()
        for notice in start.task.piece_notices(rows, start.tokenizer)
    )


def with_data_set(task_name: str, settings: FinetuneSettings) -> FinetuneSettings:
    """The settings with what the data set's entry says of its task, where the user said nothing else."""
    if settings.dataset is None:
        return settings
    known = data_set(settings.dataset)
    if known.task != task_name:
        raise SettingsError(f"{known.name} is a data set for {known.task}, not for {task_name}")
    task = settings.task  # type: ignore[attr-defined]
    unsaid = {name: value for name, value in known.task_settings.items() if name not in task.model_fields_set}
    metric = settings.training.metric_for_best_model or known.metric
    return settings.model_copy(
        update={
            "task": type(task).of(task.model_dump() | unsaid, known.name),
            "training": settings.training.model_copy(update={"metric_for_best_model": metric}),
        }
    )


def _examples(task_name: str, settings: FinetuneSettings) -> Examples:
    return load_examples(task_class(task_name)(settings.task), settings)  # type: ignore[attr-defined]


def _start(
    examples: Examples, settings: FinetuneSettings, progress: Progress
) -> tuple[Start, TrainingSettings, tuple[str, ...]]:
    """What to train, how, and the warnings so far."""
    dropout = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), settings.dropout)
    changes = {} if settings.dropout is None else dropout
    training = settings.training
    if settings.model is not None:
        start = start_from(examples.task, settings.model, changes)
        training = adapted(start, settings.adaptation, training)
        if settings.adaptation.train != "all":
            progress.note(trained_weights(start.network))
        return start, training, (*examples.warnings, *start.notes)
    refuse_to_adapt_new(settings.adaptation)
    unsaid = {name: value for name, value in NEW_TRAINING.items() if getattr(training, name) is None}
    texts = [text for example in examples.train for text in examples.task.texts(example.request)]
    if examples.task.writes_text:
        texts += [example.answer for example in examples.train]
    said = ", ".join(f"{name} {value:g}" for name, value in unsaid.items())
    advice = (
        "no --model: this starts from new weights and a vocabulary of the training texts"
        f"{f' ({said})' if said else ''}; a pre-trained model does better"
    )
    start = start_new(examples.task, texts, settings.new, changes, progress)
    return start, training.model_copy(update=unsaid), (*examples.warnings, advice)
