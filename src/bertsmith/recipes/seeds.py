"""The same fine-tuning run with several seeds: every figure's mean, and the interval that it lies in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bertsmith.errors import SettingsError
from bertsmith.evaluation.intervals import Interval, over_seeds
from bertsmith.files import atomic_file, write_json
from bertsmith.recipes.finetune import FinetuneReport, FinetuneSettings, finetune, finetune_settings, with_data_set
from bertsmith.recipes.resume import AUTO
from bertsmith.recipes.start import default_folder
from bertsmith.runtime.interruption import InterruptedRunError, common, stoppable
from bertsmith.runtime.processes import speaks
from bertsmith.runtime.progress import Progress
from bertsmith.tasks import Task, task_class

SUMMARY = "seeds.json"


@dataclass(frozen=True)
class SeedsReport:
    """metrics: by side (validation, test) and name, the mean over the seeds with its 95% interval.

    The interval is Student's t, which takes the runs' figures for draws of a normal distribution; it ends where the
    metric does. It tells how another seed would vary, not other examples.
    """

    output_dir: Path
    seeds: tuple[int, ...]
    metrics: Mapping[str, Mapping[str, Interval]]
    runs: tuple[FinetuneReport, ...]


def finetune_seeds(
    task_name: str, settings: FinetuneSettings | Mapping[str, Any], progress: Progress | None = None
) -> SeedsReport:
    """Fine-tune `settings.seeds` times, each run in a folder of its own: `OUTPUT_DIR/seed-0`, `seed-1`, ...

    All runs are split, chosen and measured on the same examples. With `resume_from_checkpoint` of `auto` those that are
    over are read from their folders, and one that was cut off goes on. Raises `SettingsError` for fewer than two seeds.
    """
    if not isinstance(settings, FinetuneSettings):
        settings = finetune_settings(task_name).of(settings)
    if settings.seeds < 2:
        raise SettingsError(f"seeds: an interval needs two runs or more, not {settings.seeds}")
    if settings.resume_from_checkpoint not in (None, AUTO):
        raise SettingsError(
            f"resume_from_checkpoint: {AUTO} goes on with several seeds; a folder is of one run: name its --output-dir "
            "(such as .../seed-1) and its --seed, without --seeds"
        )
    progress = progress or Progress()
    folder = settings.output_dir or default_folder(task_name, settings.data_name)
    first = settings.training.seed
    runs = []
    # Of workers that are started here their launcher hears the signals.
    with stoppable() if settings.scale.on is None else nullcontext():
        for seed in range(first, first + settings.seeds):
            progress.note(f"seed {seed}")
            training = settings.training.model_copy(update={"seed": seed})
            update = {"output_dir": folder / f"seed-{seed}", "training": training, "seeds": 1}
            try:
                runs.append(finetune(task_name, settings.model_copy(update=update), progress))
            except InterruptedRunError as error:
                raise common(f"seed {seed}: {error}; with --resume-from-checkpoint {AUTO} no seed is lost") from None
    sides = {"validation": [run.evaluation for run in runs]}
    if runs[0].test is not None:
        sides["test"] = [run.test for run in runs if run.test is not None]
    task = task_class(task_name)(with_data_set(task_name, settings).task)  # type: ignore[attr-defined]
    metrics = {side: over_runs(task, [found.metrics for found in results]) for side, results in sides.items()}
    seeds = tuple(range(first, first + settings.seeds))
    facts = {side: {name: asdict(value) for name, value in values.items()} for side, values in metrics.items()}
    if speaks():  # of several processes the first writes
        with atomic_file(folder / SUMMARY) as temporary:
            write_json(temporary, {"seeds": seeds, "metrics": facts})
    return SeedsReport(folder, seeds, metrics, tuple(runs))


def over_runs(task: Task[Any, Any], figures: Sequence[Mapping[str, float]]) -> dict[str, Interval]:
    """Each metric's mean over the runs, a mapping each, with its interval."""
    return {name: over_seeds([run[name] for run in figures], task.metric_bounds(name)) for name in figures[0]}
