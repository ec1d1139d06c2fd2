"""A sweep: training runs over a search space, judged by a validation metric, as an Optuna study (extra `sweep`).

Each trial is a run in a worker, in a folder of its own. The study is a journal in the sweep's folder, so that a sweep
that was cut off goes on: a trial that was running then goes on from its checkpoint.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import Field, create_model

from bertsmith.errors import BertsmithError, SettingsError, nearest
from bertsmith.files import atomic_file, write_json
from bertsmith.recipes.examples import load_examples
from bertsmith.recipes.finetune import FinetuneSettings, finetune, finetune_settings, with_data_set
from bertsmith.recipes.pretrain import PretrainSettings, pretrain
from bertsmith.recipes.resume import AUTO
from bertsmith.recipes.search_space import Dimension, search_space
from bertsmith.recipes.start import LOGS, default_folder
from bertsmith.recipes.sweep_report import State, SweepReport, Trial, facts, page
from bertsmith.recipes.watch import Watch
from bertsmith.runtime.interruption import InterruptedRunError
from bertsmith.runtime.progress import Progress
from bertsmith.scale.runner import ScaleSettings
from bertsmith.scale.runners import open_runner
from bertsmith.scale.shards import locked
from bertsmith.settings import Settings, override
from bertsmith.tasks import task_class
from bertsmith.tasks.pretraining import Pretraining
from bertsmith.training.checkpoint import checkpoints_folder
from bertsmith.training.judge import Metrics

JOURNAL, FACTS, PAGE = "study.journal", "sweep.json", "sweep.html"
STUDY = "sweep"
OF_THE_SWEEP = {"study", "scale", "output_dir", "overwrite_output_dir"}
"""Settings that are not those of a trial."""
IDENTITY, ERROR = "made_with", "error"


class StudySettings(Settings):
    """What is tried, and how long."""

    space: tuple[str, ...] = Field(
        (), description="what to try: name=LOW..HIGH, name=LOW..HIGH:log or name=A,B,C, by any setting's name"
    )
    num_trials: int = Field(20, ge=1, description="runs in all; a sweep that is done goes on where more are asked for")
    prune: bool = Field(
        True, description="end a run whose metric is below the median of those before, at the same evaluation"
    )


class SweepError(BertsmithError):
    """A sweep that found nothing."""


def sweep_settings(task_name: str) -> type[Settings]:
    """The settings of one task's run, and with them `study` and `scale`."""
    base = PretrainSettings if task_name == Pretraining.name else finetune_settings(task_name)
    one_at_a_time = ScaleSettings(on="local", num_workers=1)
    return create_model(
        f"{task_class(task_name).__name__}SweepSettings",
        __base__=base,
        __doc__=f"A sweep over runs for {task_name}.",
        study=(StudySettings, StudySettings()),
        scale=(ScaleSettings, one_at_a_time),
    )


def sweep(task_name: str, settings: Settings | Mapping[str, Any], progress: Progress | None = None) -> SweepReport:
    """Run the trials that are missing, and report them all; the best one's model stays in its folder.

    settings: an instance of `sweep_settings(task_name)`, or its values. Raises `SettingsError` where the folder holds a
    sweep with other settings, `SweepError` where every trial failed.
    """
    if not isinstance(settings, Settings):
        settings = sweep_settings(task_name).of(settings)
    plan = _plan(task_name, settings)
    progress = progress or Progress()
    with locked(plan.folder):
        study = _study(plan)
        _check_same(study, plan)
        _run_trials(study, plan, progress)
        return _report(study, plan)


@dataclass(frozen=True)
class _Plan:
    """A sweep before it runs. base: what every trial begins with. sign: 1 where higher is better, else -1."""

    task: str
    folder: Path
    base: dict[str, Any]
    space: tuple[Dimension, ...]
    metric: str
    sign: int
    study: StudySettings
    scale: ScaleSettings
    seed: int

    @property
    def journal(self) -> Path:
        return self.folder / JOURNAL

    def trial_folder(self, number: int) -> Path:
        return self.folder / f"trial-{number:04d}"


def _plan(task_name: str, settings: Any) -> _Plan:
    if settings.resume_from_checkpoint is not None:
        raise SettingsError("resume_from_checkpoint: a sweep goes on by itself; leave it out")
    if getattr(settings, "seeds", 1) > 1:
        raise SettingsError("seeds: a sweep makes one run a trial; fine-tune the best settings with several seeds")
    base = {name: value for name, value in settings.said().items() if name not in OF_THE_SWEEP}
    cls = PretrainSettings if task_name == Pretraining.name else finetune_settings(task_name)
    space = search_space(cls, base, settings.study.space)
    signs, metric = _metrics(task_name, settings)
    metric = metric or next(iter(signs))
    if metric not in signs:
        raise SettingsError(f"metric_for_best_model: no metric {metric!r}; {nearest(metric, signs)}")
    data = settings.data_name
    folder = settings.output_dir or default_folder(f"sweep-{task_name}", data)
    scale = settings.scale if settings.scale.on else settings.scale.model_copy(update={"on": "local"})
    seed = settings.training.seed
    return _Plan(task_name, folder.resolve(), base, tuple(space), metric, signs[metric], settings.study, scale, seed)


def _metrics(task_name: str, settings: Any) -> tuple[Mapping[str, int], str | None]:
    """The signs of the task's metrics, and the one that decides, if it is said; the examples are read and checked."""
    if isinstance(settings, PretrainSettings):
        return Pretraining(settings.task).metrics, settings.training.metric_for_best_model
    assert isinstance(settings, FinetuneSettings)
    known = with_data_set(task_name, settings)
    examples = load_examples(task_class(task_name)(known.task), known)  # type: ignore[attr-defined]
    return examples.task.metrics, known.training.metric_for_best_model


def _study(plan: _Plan) -> Any:
    """The journal's study; new where there is none."""
    optuna = _package()
    return optuna.create_study(
        storage=_storage(optuna, plan.journal),
        study_name=STUDY,
        direction="maximize" if plan.sign > 0 else "minimize",
        load_if_exists=True,
    )


def _storage(optuna: Any, journal: Path) -> Any:
    storages = optuna.storages
    return storages.JournalStorage(storages.journal.JournalFileBackend(str(journal)))


def _check_same(study: Any, plan: _Plan) -> None:
    """A study goes on with the settings that it began with."""
    identity = {"task": plan.task, "space": sorted(map(str, plan.space)), "metric": plan.metric, **plan.base}
    ours = json.loads(json.dumps(identity, default=str))
    theirs = study.user_attrs.get(IDENTITY)
    if theirs is None:
        study.set_user_attr(IDENTITY, ours)
    elif theirs != ours:
        differing = [name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name)]
        raise SettingsError(
            f"{plan.folder}: holds a sweep with another {differing[0]}: {theirs.get(differing[0])!r} there, "
            f"{ours.get(differing[0])!r} now; name another --output-dir"
        )


@dataclass(frozen=True)
class _Order:
    """What a worker needs to know of a trial."""

    number: int
    task: str
    journal: Path
    values: Mapping[str, Any]
    folder: Path
    metric: str
    prune: bool


def _run_trials(study: Any, plan: _Plan, progress: Progress) -> None:
    """Those that were running when the sweep was cut off first, then new ones."""
    num_trials = plan.study.num_trials
    num_done = sum(trial.state.is_finished() for trial in study.trials)
    _keep_only_best(study, plan)
    if num_done >= num_trials:
        return
    with (
        open_runner(plan.scale) as runner,
        progress.phase("trials", total=num_trials, unit="trials") as phase,
        closing(runner.run(_run_trial, _orders(study, plan))) as outcomes,  # type: ignore[type-var]
    ):
        phase.advance(num_done)
        try:
            for outcome in outcomes:
                if outcome.error is not None:
                    _tell_failure(study, outcome.item.number, outcome.error)
                    progress.note(f"warning: trial {outcome.item.number} failed: {outcome.error}")
                _keep_only_best(study, plan)
                phase.advance(1, **_best_so_far(study, plan))
        except InterruptedRunError as interrupted:
            raise InterruptedRunError(
                f"{interrupted}: {phase.done:,} of {num_trials:,} trials are done; go on with the same command"
            ) from None


def _orders(study: Any, plan: _Plan) -> Iterator[_Order]:
    optuna = _package()
    for trial in study.trials:
        if not trial.state.is_finished():
            yield _order(plan, trial.number, trial.params)
    while len(study.trials) < plan.study.num_trials:
        # Seeded anew for every trial, so that a sweep that goes on draws what an unbroken one would.
        study.sampler = optuna.samplers.TPESampler(seed=plan.seed * 100_003 + len(study.trials))
        trial = study.ask({dimension.setting: _distribution(optuna, dimension) for dimension in plan.space})
        yield _order(plan, trial.number, trial.params)


def _order(plan: _Plan, number: int, params: Mapping[str, Any]) -> _Order:
    folder = plan.trial_folder(number)
    # A trial that was running goes on from its checkpoint, or begins anew where it has none.
    own = {"output_dir": folder, "overwrite_output_dir": True, "resume_from_checkpoint": AUTO}
    values = override(plan.base, {name: _decoded(value) for name, value in params.items()} | own)
    return _Order(number, plan.task, plan.journal, values, folder, plan.metric, plan.study.prune)


def _distribution(optuna: Any, dimension: Dimension) -> Any:
    kinds = optuna.distributions
    if dimension.is_range:
        kind = kinds.IntDistribution if dimension.is_whole else kinds.FloatDistribution
        return kind(dimension.low, dimension.high, log=dimension.is_log)
    return kinds.CategoricalDistribution(tuple(map(_encoded, dimension.choices)))


def _encoded(choice: Any) -> Any:
    """A choice as Optuna takes it: lists and tables as JSON."""
    return json.dumps(choice) if isinstance(choice, list | dict) else choice


def _decoded(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) and value[:1] in ("[", "{") else value


class _PrunedError(Exception):
    """This trial is not worth going on with."""


def _run_trial(order: _Order) -> None:
    """In a worker: the run, its evaluations reported as they come, and its end."""
    optuna = _package()
    pruner = optuna.pruners.MedianPruner() if order.prune else optuna.pruners.NopPruner()
    study = optuna.load_study(study_name=STUDY, storage=_storage(optuna, order.journal), pruner=pruner)
    trial = optuna.trial.Trial(study, study.trials[order.number]._trial_id)

    def watch(number: int, metrics: Metrics) -> None:
        trial.report(metrics[order.metric], number)
        if trial.should_prune():
            raise _PrunedError

    try:
        value = _train(order, watch)
    except _PrunedError:
        shutil.rmtree(checkpoints_folder(order.folder), ignore_errors=True)
        study.tell(order.number, state=optuna.trial.TrialState.PRUNED)
    else:
        study.tell(order.number, value)


def _train(order: _Order, watch: Watch) -> float:
    """The metric at the run's best evaluation."""
    if order.task == Pretraining.name:
        best = pretrain(PretrainSettings.of(order.values), watch=watch).metrics
    else:
        best = finetune(order.task, order.values, watch=watch).training.best_metrics
    if best is None:
        raise SettingsError(
            "this run is not evaluated, so that nothing can be chosen by it: it needs held-out examples"
        )
    return best[order.metric]


def _tell_failure(study: Any, number: int, error: str) -> None:
    optuna = _package()
    trial = study.trials[number]
    study._storage.set_trial_user_attr(trial._trial_id, ERROR, error)
    study.tell(number, state=optuna.trial.TrialState.FAIL)


def _trials(study: Any, plan: _Plan) -> list[Trial]:
    """Those that are over."""
    states: dict[str, State] = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    found = []
    for trial in study.trials:
        if not trial.state.is_finished():
            continue
        reported = list(trial.intermediate_values.values())
        value = max(reported, key=lambda value: plan.sign * value, default=None)
        seconds = trial.duration.total_seconds() if trial.duration else 0.0
        values = {name: _decoded(value) for name, value in trial.params.items()}
        error = trial.user_attrs.get(ERROR)
        state = states[trial.state.name]
        found.append(Trial(trial.number, state, value, values, len(reported), seconds, error))
    return found


def _best(trials: list[Trial], plan: _Plan) -> Trial | None:
    """The first of the best."""
    complete = [trial for trial in trials if trial.state == "complete" and trial.value is not None]
    return max(complete, key=lambda trial: plan.sign * (trial.value or 0.0), default=None)


def _best_so_far(study: Any, plan: _Plan) -> dict[str, float | int]:
    best = _best(_trials(study, plan), plan)
    return {} if best is None or best.value is None else {plan.metric: best.value, "of trial": best.number}


def _keep_only_best(study: Any, plan: _Plan) -> None:
    """Of trials that are over and not the best, the logs stay and the models go."""
    trials = _trials(study, plan)
    best = _best(trials, plan)
    for trial in trials:
        folder = plan.trial_folder(trial.number)
        if trial == best or not folder.is_dir():
            continue
        shutil.rmtree(checkpoints_folder(folder), ignore_errors=True)
        for entry in folder.iterdir():
            if entry.name != LOGS:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _report(study: Any, plan: _Plan) -> SweepReport:
    trials = _trials(study, plan)
    best = _best(trials, plan)
    if best is None:
        failed = next((trial for trial in trials if trial.error), None)
        raise SweepError(
            f"none of {len(trials)} trials came to an end"
            + (f"; trial {failed.number}: {failed.error}" if failed else "")
        )
    report = SweepReport(
        plan.folder,
        plan.task,
        plan.metric,
        plan.sign > 0,
        plan.space,
        tuple(trials),
        best,
        plan.trial_folder(best.number),
        _importances(study),
    )
    with atomic_file(plan.folder / FACTS) as temporary:
        write_json(temporary, facts(report))
    page(report).write(plan.folder / PAGE)
    return report


def _importances(study: Any) -> dict[str, float]:
    """PED-ANOVA's shares; none where the trials are too few, or all the same."""
    optuna = _package()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # what says that nothing can be said
        try:
            found: dict[str, float] = optuna.importance.get_param_importances(study)
        except (RuntimeError, ValueError, UserWarning):
            return {}
    return found


def _package() -> Any:
    try:
        optuna = import_module("optuna")
    except ImportError:
        raise SettingsError("sweep needs the package `optuna`: pip install 'bertsmith[sweep]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
