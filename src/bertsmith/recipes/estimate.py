"""What a run will take, before it begins: counted, measured on a few real steps, and drawn out to its end."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from bertsmith.evaluation.intervals import Interval, over_seeds
from bertsmith.recipes.job import Job
from bertsmith.runtime.memory import peak_resident_bytes
from bertsmith.runtime.products import gemm_rate
from bertsmith.runtime.progress import Progress
from bertsmith.training.needs import DiskNeeds, MemoryNeeds

LEAST_UNCERTAINTY = 0.05
"""Of the time, as a share: a machine is not the same for hours, whatever a few steps say."""


@dataclass(frozen=True)
class Estimate:
    """flops: of matrix products, forward and backward, on real tokens. seconds: of the whole run, evaluations included.

    share_of_limit: of the rate at which this machine multiplies large matrices. num_trained: of num_parameters.
    measured_memory: bytes that this process held at most, in the timed steps, which write no checkpoints.
    """

    num_parameters: int
    num_trained: int
    num_samples: int
    num_steps: int
    tokens_per_step: float
    flops_per_step: float
    tokens_per_second: float
    share_of_limit: float
    step_seconds: Interval
    num_timed_steps: int
    num_evaluations: int
    evaluation_seconds: float
    seconds: Interval
    memory: MemoryNeeds
    measured_memory: int
    disk: DiskNeeds

    @property
    def flops(self) -> float:
        """Of all steps."""
        return self.num_steps * self.flops_per_step

    def to_dict(self) -> dict[str, Any]:
        """Every fact, those that follow from others too."""
        memory, disk = self.memory, self.disk
        return asdict(self) | {
            "flops": self.flops,
            "memory": asdict(memory)
            | {"activations": memory.activations, "to_come": memory.to_come, "peak": memory.peak},
            "disk": asdict(disk) | {"total": disk.total, "to_come": disk.to_come},
        }


def estimate(job: Job, progress: Progress) -> Estimate:
    """Of the run that `job` is. Raises `NotEnoughError`, before anything long starts, where it cannot fit."""
    with progress.phase("memory and disk"):
        memory, disk = job.needs()
    with progress.phase("timing steps"):
        trial = job.trial(job.trial_seconds)
        evaluation_seconds = job.example_seconds() * len(job.held_out)
    settings = job.training
    step = _interval(trial.step_seconds)
    recipe = job.recipe()
    if settings.max_minutes is not None:
        recipe = job.fitted(trial, evaluation_seconds, 60 * settings.max_minutes - job.trial_seconds)
    num_steps = recipe.num_steps(len(job.samples))
    num_evaluations = job.evaluations_in(num_steps)
    aside = num_evaluations * evaluation_seconds
    if job.held_out:
        aside += job.num_last_examples / len(job.held_out) * evaluation_seconds
    parameters = list(job.network.parameters())
    return Estimate(
        num_parameters=sum(parameter.numel() for parameter in parameters),
        num_trained=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        num_samples=len(job.samples),
        num_steps=num_steps,
        tokens_per_step=trial.num_tokens / trial.num_steps,
        flops_per_step=trial.flops / trial.num_steps,
        tokens_per_second=trial.num_tokens / sum(trial.step_seconds),
        share_of_limit=trial.flops / sum(trial.step_seconds) / gemm_rate(settings.precision, settings.device),
        step_seconds=step,
        num_timed_steps=trial.num_steps,
        num_evaluations=num_evaluations,
        evaluation_seconds=evaluation_seconds,
        seconds=Interval(*(num_steps * bound + aside for bound in (step.value, step.low, step.high))),
        memory=memory,
        measured_memory=peak_resident_bytes(),
        disk=disk,
    )


def _interval(step_seconds: tuple[float, ...]) -> Interval:
    """Of the mean over many steps: what the timed ones say, and not less than `LEAST_UNCERTAINTY` to either side."""
    found = over_seeds(step_seconds)
    reach = max(found.high - found.value, LEAST_UNCERTAINTY * found.value)
    return Interval(found.value, max(0.0, found.value - reach), found.value + reach)
