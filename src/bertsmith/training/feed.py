"""From a step's number to its micro-batches, encoded while the one before runs. Knows `Task`, not what is learned."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bertsmith.data.batch import Window
from bertsmith.data.order import sample_rng, step_samples
from bertsmith.runtime.processes import ALONE, Processes
from bertsmith.tasks.task import Task
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.training.augmentation import AS_IT_IS, AugmentationSettings, encode_augmented
from bertsmith.training.step import Step, StepFacts, make_step


@dataclass(frozen=True)
class StepEncoder:
    """Turns a step's number into this process's micro-batches of it.

    batch_size: samples a step, of all processes. max_tokens: of a micro-batch. fixed_copies: as in `TrainingSettings`.
    """

    task: Task[Any, Any]
    tokenizer: Tokenizer
    samples: Sequence[Any]
    batch_size: int
    max_tokens: int
    seed: int
    fixed_copies: int | None = None
    group: Processes = ALONE
    augmentation: AugmentationSettings = AS_IT_IS

    def __call__(self, step: int) -> Step:
        coupled = self.task.coupling == "step"
        own = self.windows(step, slice(None) if coupled else slice(self.group.rank, None, self.group.size))
        if own:
            return make_step(self.task, own, self.max_tokens, self.group)
        # An epoch's last step may have fewer samples than there are processes, and all compute in every step.
        spare = make_step(self.task, self.windows(step, slice(1)), self.max_tokens)
        return replace(spare, facts=StepFacts(), num_idle=len(spare.batches))

    def windows(self, step: int, share: slice = slice(None)) -> list[list[Window]]:
        """Those of each sample in this share of the step's."""
        epoch, indices = self.samples_of(step)
        variant = epoch if self.fixed_copies is None else epoch % self.fixed_copies
        return [self._encoded(self.samples[index], sample_rng(self.seed, variant, index)) for index in indices[share]]

    def _encoded(self, sample: Any, rng: np.random.Generator) -> list[Window]:
        return encode_augmented(self.task, sample, self.tokenizer, rng, self.augmentation)

    def samples_of(self, step: int) -> tuple[int, list[int]]:
        """The epoch, and the places in `samples`, that a step trains on."""
        epoch, indices = step_samples(step, len(self.samples), self.batch_size, self.seed)
        return epoch, indices.tolist()


def ahead(encode: StepEncoder, steps: range) -> Iterator[tuple[int, Step, float]]:
    """Each step, its micro-batches, encoded by a second thread while the one before runs, and the seconds waited."""
    if not steps:
        return
    with ThreadPoolExecutor(max_workers=1) as pool:
        coming = pool.submit(encode, steps[0])
        for step in steps:
            started = time.perf_counter()
            current = coming.result()
            waited_seconds = time.perf_counter() - started
            if step + 1 < steps.stop:
                coming = pool.submit(encode, step + 1)
            yield step, current, waited_seconds
