"""The one training loop. Knows `Task`, batches and steps; not what is learned, nor where it is kept.

A step trains on `batch_size` samples chosen by (seed, step) alone. They are encoded, sorted by length and cut into
micro-batches by a token budget; each loss is divided by its count over the whole step, so the cuts change nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch
from pydantic import Field
from torch import nn

from bertsmith.data.batch import Window
from bertsmith.data.order import sample_rng, step_samples, steps_per_epoch
from bertsmith.runtime.device import Precision, pick_device
from bertsmith.runtime.memory import keep_freed_memory
from bertsmith.runtime.progress import Progress
from bertsmith.settings import Settings
from bertsmith.tasks.task import Task
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.training.judge import Hooks, Judge, Metrics, TrainingError
from bertsmith.training.logs import RunLog
from bertsmith.training.optimizer import AdamW, OptimizerSettings, build_optimizer, large_tables
from bertsmith.training.schedule import ScheduleName, learning_rate_fraction
from bertsmith.training.step import Step, backward, make_step

NO_HOOKS = Hooks()
DEFAULT_LEARNING_RATE = 5e-5
DEFAULT_EPOCHS = 3.0
"""Of fine-tuning a pre-trained model, from the middle of what Devlin et al. 2019, appendix A.3, tried."""


class TrainingSettings(Settings):
    """How long, how fast and in which pieces to train."""

    num_train_epochs: float | None = Field(
        None, gt=0, description="passes over the training data; None: 3, or 10 for new weights"
    )
    max_steps: int | None = Field(None, ge=1, description="optimizer steps; overrides the epochs")
    per_device_train_batch_size: int = Field(32, ge=1, description="examples an optimizer step")
    max_tokens_per_micro_batch: int = Field(
        8192, ge=1, description="tokens a forward pass; only splits a step, never changes what is in it"
    )
    learning_rate: float | None = Field(
        None, gt=0, description="peak learning rate; None: 5e-5, or 5e-4 for new weights"
    )
    lr_scheduler_type: ScheduleName = Field("linear", description="how the learning rate falls after warm-up")
    warmup_fraction: float = Field(0.1, ge=0, lt=1, description="share of all steps in which the learning rate rises")
    decay_fraction: float = Field(0.2, gt=0, le=1, description="share of all steps in which a trapezoid falls")
    optimizer: OptimizerSettings = OptimizerSettings()
    eval_steps: int | None = Field(None, ge=1, description="evaluate every so many steps; None: after every epoch")
    early_stopping_patience: int | None = Field(
        None, ge=1, description="stop after so many evaluations without a better one; None: never"
    )
    metric_for_best_model: str | None = Field(None, description="metric of the best checkpoint; None: the task's")
    logging_steps: int = Field(10, ge=1, description="steps between two lines of the log")
    seed: int = Field(0, ge=0, lt=2**63, description="decides new weights, order, masks and dropout")
    precision: Precision = Field("auto", description="bf16 or fp32; auto: bf16 where the machine has it")
    device: str = Field("auto", description="cpu, cuda or cuda:N; auto: the first GPU, else the CPU")
    fixed_copies: int | None = Field(
        None, ge=1, description="encode each example in so many fixed ways, repeated; None: afresh in every epoch"
    )

    def num_steps(self, num_samples: int) -> int:
        """Optimizer steps of a run over `num_samples`."""
        per_epoch = steps_per_epoch(num_samples, self.per_device_train_batch_size)
        return self.max_steps or max(1, math.ceil((self.num_train_epochs or DEFAULT_EPOCHS) * per_epoch))

    @property
    def peak_learning_rate(self) -> float:
        return self.learning_rate or DEFAULT_LEARNING_RATE

    def learning_rate_at(self, step: int, num_steps: int) -> float:
        """Of optimizer step `step`, counted from 0, of a run of `num_steps`."""
        warmup_steps = round(self.warmup_fraction * num_steps)
        return self.peak_learning_rate * learning_rate_fraction(
            self.lr_scheduler_type, step, num_steps, warmup_steps, self.decay_fraction
        )


@dataclass
class TrainingResult:
    """What happened. best_step, best_metrics: of the evaluation that won; None without evaluation.

    tokens_per_second counts real tokens over the time spent in steps, evaluation aside; stalled_seconds: what steps
    waited for their data. history: (step, losses).
    """

    num_steps: int = 0
    num_tokens: int = 0
    num_cut_tokens: int = 0
    num_cut_windows: int = 0
    num_windowed: int = 0
    seconds: float = 0.0
    stalled_seconds: float = 0.0
    final_loss: float = math.nan
    best_step: int | None = None
    best_metrics: Metrics | None = None
    stopped_early: bool = False
    history: list[tuple[int, Metrics]] = field(default_factory=list)
    evaluations: list[tuple[int, Metrics]] = field(default_factory=list)

    @property
    def tokens_per_second(self) -> float:
        return self.num_tokens / max(self.seconds, 1e-9)

    @property
    def cut(self) -> str:
        """What truncation left out over all steps, and how many windows were added so that nothing was."""
        further = f"; {self.num_windowed:,} further windows of long texts" if self.num_windowed else ""
        if not self.num_cut_tokens:
            return f"nothing{further}"
        return f"{self.num_cut_tokens:,} tokens of {self.num_cut_windows:,} inputs{further}"


def train(
    task: Task[Any, Any],
    network: nn.Module,
    tokenizer: Tokenizer,
    samples: Sequence[Any],
    settings: TrainingSettings,
    *,
    rate_factors: Mapping[str, float] | None = None,
    hooks: Hooks = NO_HOOKS,
    log: RunLog | None = None,
    progress: Progress | None = None,
) -> TrainingResult:
    """Train `network` in place on `samples`: examples, or anything the task encodes.

    rate_factors: of parameters by name, by which their learning rate is multiplied. After it the network holds its last
    weights; the best ones are wherever `hooks.keep` put them. Raises `TrainingError` as soon as a loss or the
    gradient's norm is not finite, before the weights are touched by it.
    """
    device = pick_device(settings.device)
    keep_freed_memory()
    network.to(device).train()
    torch.manual_seed(settings.seed)
    optimizer = build_optimizer(network, settings.optimizer, settings.peak_learning_rate, rate_factors)
    num_steps = settings.num_steps(len(samples))
    result = TrainingResult()
    judge = Judge(
        hooks,
        task.metrics,
        settings.metric_for_best_model,
        settings.eval_steps or steps_per_epoch(len(samples), settings.per_device_train_batch_size),
        settings.early_stopping_patience,
    )
    window = _LogWindow()
    encoder = _Encoder(task, tokenizer, samples, settings)
    with (
        optimizer.by_rows(large_tables(network)),
        (progress or Progress()).phase("training", total=num_steps, unit="steps") as phase,
    ):
        for step, current in enumerate(_ahead(encoder, num_steps, result)):
            started = time.perf_counter()
            rate = settings.learning_rate_at(step, num_steps)
            losses, norm = _step(task, network, optimizer, current, settings, rate, step)
            result.num_steps = step + 1
            result.num_tokens += current.num_tokens
            result.seconds += time.perf_counter() - started
            result.final_loss = sum(losses.values())
            window.add(losses | {"gradient_norm": norm})
            if (step + 1) % settings.logging_steps == 0 or step + 1 == num_steps:
                values = window.means() | {"learning_rate": rate, "tokens_per_second": result.tokens_per_second}
                result.history.append((step + 1, values))
                if log is not None:
                    log.write("train", step + 1, values)
            phase.advance(1, loss=result.final_loss, **{"tokens/s": result.tokens_per_second})
            if judge.is_due(step + 1, num_steps):
                optimizer.catch_up()
                metrics = judge.evaluate(step + 1)
                if log is not None:
                    log.write("validation", step + 1, metrics)
                network.train()
                if judge.should_stop:
                    result.stopped_early = True
                    break
    result.best_step, result.best_metrics, result.evaluations = judge.best_step, judge.best_metrics, judge.evaluations
    return result


def _step(
    task: Task[Any, Any],
    network: nn.Module,
    optimizer: AdamW,
    current: Step,
    settings: TrainingSettings,
    learning_rate: float,
    step: int,
) -> tuple[dict[str, float], float]:
    """One optimizer step over its micro-batches: the mean of each named loss, and the gradient's norm."""
    optimizer.zero_grad(set_to_none=True)
    losses = backward(task, network, current, settings.precision)
    norm = optimizer.clip(settings.optimizer.max_grad_norm)
    if not math.isfinite(norm) or not all(math.isfinite(value) for value in losses.values()):
        raise TrainingError(
            f"step {step + 1}: the loss is {losses}, the gradient's norm {norm}; the weights are still those of step "
            f"{step}. A lower learning rate, or --precision fp32, usually helps."
        )
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["rate_factor"]
    optimizer.step()
    return losses, norm


@dataclass
class _Encoder:
    """Turns a step's number into its micro-batches."""

    task: Task[Any, Any]
    tokenizer: Tokenizer
    samples: Sequence[Any]
    settings: TrainingSettings

    def __call__(self, step: int) -> Step:
        return make_step(self.task, self.windows(step), self.settings.max_tokens_per_micro_batch)

    def windows(self, step: int) -> list[list[Window]]:
        """Those of each of the step's samples."""
        settings = self.settings
        epoch, indices = step_samples(step, len(self.samples), settings.per_device_train_batch_size, settings.seed)
        variant = epoch if settings.fixed_copies is None else epoch % settings.fixed_copies
        return [
            self.task.encode(self.samples[index], self.tokenizer, sample_rng(settings.seed, variant, index))
            for index in indices.tolist()
        ]


def _ahead(encode: _Encoder, num_steps: int, result: TrainingResult) -> Iterator[Step]:
    """Each step's micro-batches, encoded by a second thread while the step before it runs."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        coming = pool.submit(encode, 0)
        for step in range(num_steps):
            started = time.perf_counter()
            current = coming.result()
            result.stalled_seconds += time.perf_counter() - started
            if step + 1 < num_steps:
                coming = pool.submit(encode, step + 1)
            result.num_cut_tokens += current.num_cut_tokens
            result.num_cut_windows += current.num_cut_windows
            result.num_windowed += current.num_windowed
            yield current


class _LogWindow:
    """Means of what happened since the last line of the log."""

    def __init__(self) -> None:
        self._rows: list[Metrics] = []

    def add(self, values: Metrics) -> None:
        self._rows.append(values)

    def means(self) -> dict[str, float]:
        rows, self._rows = self._rows, []
        return {name: math.fsum(row[name] for row in rows) / len(rows) for name in rows[-1]}
