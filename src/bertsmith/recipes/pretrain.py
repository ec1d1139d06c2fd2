"""Pre-training as one function: a prepared corpus in, a saved model out, from scratch or continued."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator, Field

from bertsmith.artifact import Artifact, save_artifact, start_network
from bertsmith.data.triples import KnowledgeSettings
from bertsmith.errors import DataError, SettingsError
from bertsmith.evaluation.evaluate import evaluate_together
from bertsmith.hub import resolve_folder
from bertsmith.inference.predictor import Predictor
from bertsmith.model.checkpoints import read_config
from bertsmith.model.networks import Network
from bertsmith.model.presets import preset
from bertsmith.recipes.job import Job
from bertsmith.recipes.knowledge import inform
from bertsmith.recipes.pretraining_data import open_corpora, pretraining_data
from bertsmith.recipes.resume import ResumeSettings, finished, identity_of, training_folder
from bertsmith.recipes.start import ModelName
from bertsmith.recipes.train_job import train_job
from bertsmith.recipes.watch import Watch
from bertsmith.runtime.interruption import preparing, raise_if_asked, stoppable
from bertsmith.runtime.processes import Processes, joined, speaks
from bertsmith.runtime.progress import Progress, is_silent, progress_for
from bertsmith.scale.together import run_together
from bertsmith.tasks.pretraining import Pretraining, PretrainingSettings
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.training.judge import Hooks, Metrics
from bertsmith.training.result import TrainingResult
from bertsmith.training.settings import TrainingSettings

NUM_EVALUATIONS = 10
"""Of a run that names no `eval_steps`: an epoch may be days, and what was learned until now is to be kept."""


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str | Path) else value


class PretrainSettings(ResumeSettings):
    """A pre-training run."""

    corpus: Annotated[tuple[Path, ...], BeforeValidator(_several)] = Field(
        min_length=1, description="folder written by `bertsmith prepare`; several, say one a language, are mixed"
    )
    sampling_alpha: float = Field(
        1.0,
        ge=0,
        le=1,
        description="of several corpora: one of n passages is drawn as n^alpha; 1: as they are, 0.3 in XLM-R, 0: alike",
    )
    output_dir: Path | None = Field(None, description="folder for the model and logs; None: runs/pretraining-CORPUS")
    overwrite_output_dir: bool = Field(False, description="replace a model that is in the folder already")
    from_: ModelName | None = Field(None, description="model to go on from, a folder or a hub name; None: new weights")
    model_size: str = Field("mini", description="tiny, mini, small, medium, base or large, for new weights")
    architecture: dict[str, Any] = Field({}, description="numbers and variants laid over the model size")
    validation_fraction: float = Field(0.01, ge=0, lt=1, description="share of the documents held out to evaluate on")
    task: PretrainingSettings = PretrainingSettings()
    knowledge: KnowledgeSettings = KnowledgeSettings()
    training: TrainingSettings = TrainingSettings(
        num_train_epochs=1, per_device_train_batch_size=64, learning_rate=5e-4, lr_scheduler_type="linear"
    )

    @property
    def data_name(self) -> Path:
        """What the run is called by."""
        return Path("-".join(folder.name for folder in self.corpus))


@dataclass(frozen=True)
class PretrainReport:
    """What came out: the folder, the size of the network, what training and the last evaluation measured."""

    output_dir: Path
    num_parameters: int
    num_passages: int
    num_validation_passages: int
    training: TrainingResult
    metrics: Metrics | None


def pretraining_job(settings: PretrainSettings, progress: Progress) -> Job:
    """Everything that `settings` ask for before the first step."""
    torch.manual_seed(settings.training.seed)
    task = Pretraining(settings.task)
    settings.training.augmentation.check(task)
    folder = training_folder(
        settings.output_dir, Pretraining.name, settings.data_name, settings, overwrite=settings.overwrite_output_dir
    )
    corpora = open_corpora(settings.corpus)
    tokenizer = corpora.tokenizer
    network = _network(settings, task, tokenizer, progress)
    raise_if_asked()
    if settings.task.max_length > network.config.max_position_embeddings:
        positions = network.config.max_position_embeddings
        raise SettingsError(f"max_length {settings.task.max_length} exceeds the model's {positions} positions")
    ids = (corpus.sentence(place) for corpus in corpora.by_name.values() for place in range(corpus.num_sentences))
    informed = inform(network, tokenizer, settings.knowledge, ids, progress)
    data = pretraining_data(
        corpora,
        task,
        validation_fraction=settings.validation_fraction,
        alpha=settings.sampling_alpha,
        seed=settings.training.seed,
        progress=progress,
    )
    raise_if_asked()
    return Job(
        folder,
        task,
        network,
        tokenizer,
        data.training,
        data.held_out,
        settings.training,
        data.record | ({} if informed is None else {"knowledge": informed.record}),
        num_evaluations=NUM_EVALUATIONS,
    )


def pretrain(
    settings: PretrainSettings | Mapping[str, Any], progress: Progress | None = None, watch: Watch | None = None
) -> PretrainReport:
    """Train as `settings` say; the folder holds the best model so far from the first evaluation on.

    watch: hears of every evaluation. Under torchrun or another launcher every process calls this with the same
    settings; the first one writes. `settings.scale` starts the processes itself.
    """
    settings = settings if isinstance(settings, PretrainSettings) else PretrainSettings.of(settings)
    if settings.scale.on is not None:
        assert watch is None, "it hears of what happens in this process"
        call = (settings.for_a_worker, is_silent(progress))
        return run_together(_pretrain_in_worker, call, settings.scale, settings.training.process_timeout_seconds)
    with joined(settings.training.process_timeout_seconds) as group, stoppable():
        return _pretrain(settings, progress or Progress(), watch, group)


def _pretrain_in_worker(values: Mapping[str, Any], quiet: bool) -> PretrainReport:
    return pretrain(PretrainSettings.of(values), progress_for(sys.stderr, quiet=quiet or not speaks()))


def _pretrain(settings: PretrainSettings, progress: Progress, watch: Watch | None, group: Processes) -> PretrainReport:
    with preparing():
        job = pretraining_job(settings, progress)
    made_with = {"task": job.task.to_dict(), "tokenizer": job.tokenizer.fingerprint, "data": job.data["corpus"]}
    made_with |= {name: job.data[name] for name in ("knowledge",) if name in job.data}
    identity = identity_of(settings.training, job.network, made_with)
    result = finished(job.folder, settings, identity, progress, overwrite=settings.overwrite_output_dir)
    if result is None:
        result = train_job(job, settings, identity, _hooks(job, settings, group), progress, watch)
    parameters = sum(parameter.numel() for parameter in job.network.parameters())
    return PretrainReport(job.folder, parameters, len(job.samples), len(job.held_out), result, result.best_metrics)


def _hooks(job: Job, settings: PretrainSettings, group: Processes) -> Hooks:
    """The best model is kept; without anything to evaluate on the last one."""
    predictor = Predictor(job.task, job.network, job.tokenizer, settings.training.precision)

    def judge() -> Metrics:
        return evaluate_together(predictor, job.held_out, group).metrics

    def keep(step: int, metrics: Metrics | None) -> None:
        record = {
            "settings": settings.model_dump(mode="json"),
            "data": job.data,
            "training": {"best_step": step},
            "metrics": {} if metrics is None else {"validation": dict(metrics)},
        }
        artifact = Artifact(job.task, job.network, job.tokenizer, record)
        group.from_first(lambda: save_artifact(job.folder, artifact))

    if job.held_out:
        return Hooks(judge, keep)
    return Hooks(finish=lambda result: keep(result.num_steps, None))


def _network(settings: PretrainSettings, task: Pretraining, tokenizer: Tokenizer, progress: Progress) -> Network:
    if settings.from_ is None:
        shape = {"vocab_size": tokenizer.vocab_size, "pad_token_id": tokenizer.pad_id} | settings.architecture
        return task.build(preset(settings.model_size, **shape))
    if settings.architecture:
        raise SettingsError("architecture: a continued model keeps its own; leave it out with --from")
    place = resolve_folder(settings.from_)
    theirs = Tokenizer.load(place, embedding_size=read_config(place).vocab_size)
    if theirs.fingerprint != tokenizer.fingerprint:
        raise DataError(
            f"{settings.corpus[0]} was prepared with another tokenizer than {settings.from_} has; "
            f"prepare it again with --tokenizer {place}"
        )
    network, report = start_network(task, place, heads="fit")
    if report.missing:
        progress.note(f"warning: {settings.from_} has no {', '.join(report.missing)}: these are new")
    return network
