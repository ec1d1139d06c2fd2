"""The training of a job from its beginning or its last checkpoint to its end. Knows no task, and not who judges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bertsmith.recipes.job import Job
from bertsmith.recipes.resume import ResumeSettings, log_of, resumable
from bertsmith.recipes.run_file import write_run
from bertsmith.recipes.watch import Watch
from bertsmith.runtime.interruption import preparing
from bertsmith.runtime.processes import processes
from bertsmith.runtime.progress import Progress
from bertsmith.training.judge import Hooks
from bertsmith.training.result import TrainingResult
from bertsmith.training.trainer import train


def train_job(
    job: Job,
    settings: ResumeSettings,
    identity: Mapping[str, Any],
    hooks: Hooks,
    progress: Progress,
    watch: Watch | None = None,
) -> TrainingResult:
    """Train as `job` says, and note in its folder that the run is over.

    identity: what a checkpoint has to have been made with. hooks: who judges, keeps and ends. watch: hears of every
    evaluation. Of several processes every one calls this. Raises `NotEnoughError` before the first step where memory or
    disk are too small, and `InterruptedRunError` where a signal came.
    """
    with preparing():
        job.needs()
    with resumable(job.folder, settings, identity, job.training.save_total_limit, progress) as (checkpoints, begun):
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
                hooks=hooks,
                log=log,
                progress=progress,
                checkpoints=checkpoints,
                start=begun,
            )
        processes().from_first(lambda: write_run(job.folder, identity, result))
    return result
