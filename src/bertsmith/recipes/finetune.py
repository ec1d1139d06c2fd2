"""Fine-tuning as one function, for any task: a pre-trained model and examples in, a saved and measured model out."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, create_model

from bertsmith.artifact import Artifact, load_artifact, save_artifact
from bertsmith.catalog import data_set
from bertsmith.data.order import sample_rng
from bertsmith.errors import DataError, SettingsError
from bertsmith.evaluation.evaluate import Evaluation, evaluate, evaluate_together
from bertsmith.inference.predictor import Predictor
from bertsmith.model.lora import merged
from bertsmith.recipes.examples import DataSettings, Examples, load_examples
from bertsmith.recipes.job import Job
from bertsmith.recipes.merge import save_run_adapter, update_run_adapter
from bertsmith.recipes.resume import ResumeSettings, finished, identity_of, log_of, resumable, training_folder
from bertsmith.recipes.run_file import write_run
from bertsmith.recipes.start import (
    NEW_TRAINING,
    ModelName,
    NewModelSettings,
    Start,
    adapted,
    refuse_to_adapt_new,
    start_from,
    start_new,
)
from bertsmith.recipes.watch import Watch
from bertsmith.runtime.interruption import asked, preparing, raise_if, raise_if_asked, stoppable
from bertsmith.runtime.processes import Processes, joined, speaks
from bertsmith.runtime.progress import Progress, is_silent, progress_for
from bertsmith.scale.together import run_together
from bertsmith.tasks import Example, task_class
from bertsmith.training.adaptation import AdaptationSettings, rate_factors, trained_weights
from bertsmith.training.judge import Hooks, Metrics
from bertsmith.training.result import TrainingResult
from bertsmith.training.settings import TrainingSettings
from bertsmith.training.trainer import train

LONG_SHOWN = 10
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
    run = _Run(job, examples, settings.model_copy(update={"training": job.training}), group)
    result = finished(job.folder, settings, identity, progress, overwrite=settings.overwrite_output_dir)
    if result is None:
        result = _trained(run, identity, progress, watch)
    else:
        run.measure()
    assert run.evaluation is not None
    return FinetuneReport(
        job.folder,
        len(examples.train),
        len(examples.validation),
        examples.columns,
        examples.fields,
        warnings,
        result,
        run.evaluation,
        run.test,
    )


def _trained(run: _Run, identity: Mapping[str, Any], progress: Progress, watch: Watch | None) -> TrainingResult:
    """From its beginning or its last checkpoint to its end."""
    job = run.job
    with preparing():
        job.needs()
    with resumable(job.folder, run.settings, identity, job.training.save_total_limit, progress) as (checkpoints, begun):
        with preparing():
            recipe = job.within_time(begun, progress)
        with log_of(job.folder, identity, begun, recipe.report_to, progress.note, watch) as log:
            result = train(
                job.task,
                job.network,
                job.tokenizer,
                job.samples,
                recipe,
                rate_factors=job.rate_factors,
                hooks=Hooks(run.evaluate, run.keep, run.finish),
                log=log,
                progress=progress,
                checkpoints=checkpoints,
                start=begun,
            )
        run.group.from_first(lambda: write_run(job.folder, identity, result))
    return result


def finetuning_job(task_name: str, settings: FinetuneSettings, progress: Progress) -> Job:
    """Everything that `settings` ask for before the first step."""
    return _prepared(task_name, with_data_set(task_name, settings), progress)[0]


def _prepared(task_name: str, settings: FinetuneSettings, progress: Progress) -> tuple[Job, Examples, tuple[str, ...]]:
    """The run before its first step, all its examples, and what a user was warned of."""
    torch.manual_seed(settings.training.seed)
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
    job = Job(
        folder,
        start.task,
        start.network,
        start.tokenizer,
        start.task.training_examples(examples.train),
        examples.validation,
        training,
        examples.record(),
        rate_factors(start.network, settings.adaptation),
        num_last_examples=(1 + settings.tune) * len(examples.validation) + len(examples.test),
    )
    return job, examples, warnings


@dataclass
class _Run:
    """The model of a run, from the first that is kept to the last word on it: evaluation, test."""

    job: Job
    examples: Examples
    settings: FinetuneSettings
    group: Processes
    evaluation: Evaluation | None = None
    test: Evaluation | None = None

    def evaluate(self) -> Metrics:
        job = self.job
        predictor = Predictor(job.task, job.network, job.tokenizer, self.settings.training.precision)
        return evaluate_together(predictor, self.examples.validation, self.group).metrics

    def keep(self, step: int, metrics: Metrics) -> None:
        self.group.from_first(lambda: self._keep(step, metrics))

    def _keep(self, step: int, metrics: Metrics) -> None:
        job = self.job
        record = self._record(step) | {"metrics": {"validation": dict(metrics)}}
        artifact = Artifact(job.task, job.network, job.tokenizer, record)
        save_artifact(job.folder, replace(artifact, network=merged(job.network)))
        save_run_adapter(job.folder, artifact, base=self.settings.model or "")

    def finish(self, result: TrainingResult) -> None:
        """Tune the best model on the validation examples, save it so, and measure it."""
        self.evaluation, self.test = self.group.from_first(lambda: self._finish(result))

    def _finish(self, result: TrainingResult) -> tuple[Evaluation, Evaluation | None]:
        saved = load_artifact(self.job.folder)
        best = self._predictor(saved)
        if self.settings.tune:
            parts = best.run(self.examples.validation, keep_parts=True).parts
            best = replace(best, task=best.task.tuned(self.examples.validation, parts))
        raise_if(asked())
        evaluation, test = self._measured(best)
        sides = {"validation": evaluation} | ({} if test is None else {"test": test})
        record = self._record(result.best_step) | {
            "training": {"best_step": result.best_step, "truncation": asdict(result.truncation)},
            "evaluations": [found.record(side) for side, found in sides.items()],
        }
        artifact = replace(saved, task=best.task, record=record)
        raise_if(asked())
        save_artifact(self.job.folder, artifact)
        update_run_adapter(self.job.folder, artifact)
        return evaluation, test

    def measure(self) -> None:
        """The saved model, of a run that is over."""
        self.evaluation, self.test = self.group.from_first(
            lambda: self._measured(self._predictor(load_artifact(self.job.folder)))
        )

    def _predictor(self, artifact: Artifact) -> Predictor:
        training = self.settings.training
        return Predictor.of(artifact, device=training.device, precision=training.precision)

    def _measured(self, predictor: Predictor) -> tuple[Evaluation, Evaluation | None]:
        evaluation = evaluate(predictor, self.examples.validation, intervals=True)
        raise_if(asked())
        return evaluation, evaluate(predictor, self.examples.test, intervals=True) if self.examples.test else None

    def _record(self, step: int | None) -> dict[str, Any]:
        return {
            "settings": self.settings.model_dump(mode="json"),
            "data": self.job.data,
            "training": {"best_step": step},
        }


def _pieces_told(start: Start, examples: Examples) -> tuple[str, ...]:
    """What the tokenizer makes of the examples that people should know."""
    sides = {"training": examples.train, "validation": examples.validation, "test": examples.test}
    return tuple(
        f"{side}: {notice}"
        for side, rows in sides.items()
        for notice in start.task.piece_notices(rows, start.tokenizer)
    )


def refuse_long(start: Start, examples: Sequence[Example[Any]]) -> None:
    """Where long texts are to be refused, all are looked at before training, and the first ten told."""
    if getattr(start.task.settings, "truncation", None) != "error":
        return
    refused = []
    for place, example in enumerate(examples):
        raise_if_asked()
        try:
            start.task.encode(example, start.tokenizer, sample_rng(0, 0, place))
        except DataError as error:
            refused.append(str(error))
    if refused:
        raise DataError("\n".join([f"{len(refused):,} examples are too long:", *refused[:LONG_SHOWN]]))


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
