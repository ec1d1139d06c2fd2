"""A run before its first step: what `pretrain`, `finetune` and `estimate` have in common. Knows no data format."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bertsmith.data.order import steps_per_epoch
from bertsmith.evaluation.evaluate import evaluate
from bertsmith.inference.predictor import Predictor
from bertsmith.model.networks import Network
from bertsmith.runtime.processes import processes
from bertsmith.runtime.progress import Progress
from bertsmith.tasks import Task
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.training.checkpoint import Checkpoint
from bertsmith.training.needs import DiskNeeds, MemoryNeeds, disk_needs, memory_needs
from bertsmith.training.settings import TrainingSettings
from bertsmith.training.trial import Clock, Trial, run_trial, steps_within

TRIAL_FRACTION, MOST_TRIAL_SECONDS = 0.05, 30.0
"""How much of a run's time may go into finding out how fast it is."""
TIMED_EXAMPLES = 64
"""Of an evaluation that is timed."""


@dataclass(frozen=True)
class Job:
    """What is trained, on what, how, and where it ends up.

    held_out: what it is evaluated on. num_evaluations: how often, of a run that has no `eval_steps`; None: after every
    epoch. num_last_examples: read once more when the last step is done. data: what its record says of the data.
    """

    folder: Path
    task: Task[Any, Any]
    network: Network
    tokenizer: Tokenizer
    samples: Sequence[Any]
    held_out: Sequence[Any]
    training: TrainingSettings
    data: Mapping[str, Any]
    rate_factors: Mapping[str, float] = field(default_factory=dict)
    num_evaluations: int | None = None
    num_last_examples: int = 0

    def recipe(self, max_steps: int | None = None) -> TrainingSettings:
        """How it is trained; max_steps: where time decides them."""
        training = self.training
        if max_steps is not None:
            training = training.model_copy(update={"max_steps": max_steps})
        if training.eval_steps is None and self.num_evaluations is not None:
            every = max(1, training.num_steps(len(self.samples)) // self.num_evaluations)
            training = training.model_copy(update={"eval_steps": every})
        return training

    def evaluations_in(self, num_steps: int) -> int:
        """How often a run of so many steps is evaluated; early stopping aside."""
        size = self.training.per_device_train_batch_size
        every = self.recipe(num_steps).eval_steps or steps_per_epoch(len(self.samples), size)
        return -(-num_steps // every) if self.held_out else 0

    def needs(self) -> tuple[MemoryNeeds, DiskNeeds]:
        """Of memory and disk; of several processes the first asks. Raises `NotEnoughError` for too little of one."""
        return processes().from_first(self._needs)

    def _needs(self) -> tuple[MemoryNeeds, DiskNeeds]:
        training = self.training
        saves = training.max_minutes is not None or training.num_steps(len(self.samples)) >= training.save_steps
        disk = disk_needs(self.folder, self.network, training, saves=saves)
        disk.check()
        memory = memory_needs(self.task, self.network, self.tokenizer, self.samples, training, saves=saves)
        memory.check()
        return memory, disk

    def trial(self, seconds: float, clock: Clock = time.perf_counter) -> Trial:
        """Steps of this run, timed for about so many seconds."""
        return run_trial(
            self.task, self.network, self.tokenizer, self.samples, self.recipe(1), seconds=seconds, clock=clock
        )

    def example_seconds(self, clock: Clock = time.perf_counter) -> float:
        """Of one example of an evaluation."""
        if not self.held_out:
            return 0.0
        predictor = Predictor(self.task, self.network, self.tokenizer, self.training.precision)
        spread = range(0, len(self.held_out), -(-len(self.held_out) // TIMED_EXAMPLES))
        some = [self.held_out[index] for index in spread]
        evaluate(predictor, some[:1])  # what is imported and made once
        started = clock()
        evaluate(predictor, some)
        self.network.train()
        return (clock() - started) / len(some)

    def within_time(
        self, begun: Checkpoint | None, progress: Progress, clock: Clock = time.perf_counter
    ) -> TrainingSettings:
        """How it is trained, its steps fitted to `max_minutes` where that is asked for, or those of a run gone on with.

        From then on it is the run that `--max-steps` of that number would be, to the bit.
        """
        minutes = self.training.max_minutes
        if minutes is None:
            return self.recipe()
        if begun is not None:
            return self.recipe(begun.state["num_steps"])
        started = clock()
        with progress.phase("timing steps"):
            trial = self.trial(self.trial_seconds, clock)
            evaluation_seconds = self.example_seconds(clock) * len(self.held_out) / processes().size
        left = 60 * minutes - (clock() - started)
        recipe = processes().from_first(lambda: self.fitted(trial, evaluation_seconds, left))
        num_steps = recipe.num_steps(len(self.samples))
        progress.note(
            f"--max-minutes {minutes:g}: {num_steps:,} steps of {trial.seconds:.3g} s and "
            f"{self.evaluations_in(num_steps)} evaluations of {evaluation_seconds:.3g} s"
        )
        return recipe

    @property
    def trial_seconds(self) -> float:
        """What finding out how fast it is may take."""
        minutes = self.training.max_minutes
        return MOST_TRIAL_SECONDS if minutes is None else min(MOST_TRIAL_SECONDS, TRIAL_FRACTION * 60 * minutes)

    def fitted(self, trial: Trial, evaluation_seconds: float, seconds: float) -> TrainingSettings:
        """How it is trained within `seconds`."""
        fitting = steps_within(seconds, trial.seconds, lambda steps: evaluation_seconds * self.evaluations_in(steps))
        return self.recipe(min(fitting, self.training.max_steps or fitting))
