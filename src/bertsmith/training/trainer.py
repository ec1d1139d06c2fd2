"""The one training loop. Knows `Task`, batches and steps; not what is learned, nor where it is kept.

A step trains on `batch_size` samples chosen by (seed, step) alone. They are encoded, sorted by length and cut into
micro-batches by a token budget; each loss is divided by its count over the whole step, so the cuts change nothing.
Several processes share a step's samples among them (docs/scaling.md) and hold the same weights after each.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field
from torch import nn

from bertsmith.data.batch import Truncation
from bertsmith.data.order import step_seed, steps_per_epoch
from bertsmith.runtime.device import Precision, pick_device, repeatable
from bertsmith.runtime.interruption import InterruptedRunError, asked, raise_if, raise_if_asked, stoppable
from bertsmith.runtime.memory import keep_few_products, keep_freed_memory
from bertsmith.runtime.processes import processes
from bertsmith.runtime.progress import Progress
from bertsmith.settings import Settings
from bertsmith.tasks.task import Task
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.training.checkpoint import Checkpoint, Checkpoints
from bertsmith.training.feed import StepEncoder, ahead
from bertsmith.training.judge import Hooks, Judge, Metrics, TrainingError
from bertsmith.training.logs import RunLog
from bertsmith.training.optimizer import AdamW, OptimizerSettings, build_optimizer, large_tables
from bertsmith.training.parallel import DataParallel, Replicas, spread
from bertsmith.training.schedule import ScheduleName, learning_rate_fraction
from bertsmith.training.speed import Speed
from bertsmith.training.spikes import Spikes
from bertsmith.training.step import Step, StepFacts
from bertsmith.training.trackers import TRACKERS, tracker_names

NO_HOOKS = Hooks()
DEFAULT_LEARNING_RATE = 5e-5
DEFAULT_EPOCHS = 3.0
"""Of fine-tuning a pre-trained model, from the middle of what Devlin et al. 2019, appendix A.3, tried."""


NonFinite = Literal["stop", "skip", "rollback"]
MAX_SKIPPED = 10
"""Steps that a run passes over before it gives up."""


class TrainingSettings(Settings):
    """How long, how fast and in which pieces to train."""

    num_train_epochs: float | None = Field(
        None, gt=0, description="passes over the training data; None: 3, or 10 for new weights"
    )
    max_steps: int | None = Field(None, ge=1, description="optimizer steps; overrides the epochs")
    max_minutes: float | None = Field(
        None, gt=0, description="train so long, evaluations included: steps that are timed first decide their number"
    )
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
    save_steps: int = Field(500, ge=1, description="steps between two checkpoints, from which a run can go on")
    save_total_limit: int = Field(2, ge=1, description="checkpoints to keep; older ones are deleted")
    non_finite: NonFinite = Field(
        "stop", description="a loss that is no number: stop, skip the step, or rollback to the last checkpoint and skip"
    )
    report_to: Annotated[tuple[str, ...], BeforeValidator(tracker_names)] = Field(
        ("tensorboard",), description=f"where figures go too: {', '.join(TRACKERS)}, or none"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="decides new weights, order, masks and dropout")
    precision: Precision = Field("auto", description="bf16 or fp32; auto: bf16 where the machine has it")
    device: str = Field("auto", description="cpu, cuda or cuda:N; auto: the first GPU, else the CPU")
    data_parallel: DataParallel = Field(
        "ddp", description="of several processes: ddp, all weights in each; fsdp, weights and moments in pieces"
    )
    process_timeout_seconds: float = Field(
        600, gt=0, description="of several processes: how long one may not answer before the run ends"
    )
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
    waited for their data. truncation: of the samples in the first epoch, so each of them once, as far as it went.
    skipped: steps, counted from 0, that gave no numbers. spikes: steps, counted from 1, far outside what was usual.
    history: (step, losses).
    """

    num_steps: int = 0
    num_tokens: int = 0
    truncation: Truncation = field(default_factory=Truncation)
    seconds: float = 0.0
    stalled_seconds: float = 0.0
    final_loss: float = math.nan
    best_step: int | None = None
    best_metrics: Metrics | None = None
    stopped_early: bool = False
    skipped: list[int] = field(default_factory=list)
    spikes: list[int] = field(default_factory=list)
    history: list[tuple[int, Metrics]] = field(default_factory=list)
    evaluations: list[tuple[int, Metrics]] = field(default_factory=list)

    @property
    def tokens_per_second(self) -> float:
        return self.num_tokens / max(self.seconds, 1e-9)


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
    checkpoints: Checkpoints | None = None,
    start: Checkpoint | None = None,
) -> TrainingResult:
    """Train `network` in place on `samples`: examples, or anything the task encodes.

    rate_factors: of parameters by name, by which their learning rate is multiplied. checkpoints: takes one every
    `save_steps`, and one before a signal's `InterruptedRunError` is raised. start: the one to go on from, to the same
    bits. After it the network holds its last weights; the best ones are wherever `hooks.keep` put them. Raises
    `TrainingError` for a loss or a gradient's norm that is not finite, before the weights are touched by it, where the
    settings' `non_finite` says so.
    """
    device = pick_device(settings.device)
    keep_freed_memory()
    keep_few_products()
    network.to(device).train()
    progress = progress or Progress()
    model = spread(network, settings.data_parallel, task.coupling, processes())
    run = _Run(
        task,
        model,
        build_optimizer(model.trained, settings.optimizer, settings.peak_learning_rate, rate_factors),
        StepEncoder(
            task,
            tokenizer,
            samples,
            settings.per_device_train_batch_size,
            settings.max_tokens_per_micro_batch,
            settings.seed,
            settings.fixed_copies,
            processes(),
        ),
        settings,
        Judge(
            hooks,
            task.metrics,
            settings.metric_for_best_model,
            settings.eval_steps or steps_per_epoch(len(samples), settings.per_device_train_batch_size),
            settings.early_stopping_patience,
        ),
        log,
        checkpoints,
        progress,
    )
    if start is not None:
        run.restore(start)
    with stoppable(), repeatable(device):
        try:
            while not run.is_over:
                try:
                    run.go()
                except _NotFiniteError as error:
                    run.survive(error)
        except InterruptedRunError as interrupted:
            raise run.put_down(interrupted) from None
    if checkpoints is not None:
        checkpoints.wait()
    return run.finish()


class _NotFiniteError(Exception):
    """The step after those that are done gave a loss or a gradient that is no number; the weights are those before."""


@dataclass
class _Run:
    """One run of `train`, from its first step or a checkpoint's. window: what happened since the log's last line."""

    task: Task[Any, Any]
    model: Replicas
    optimizer: AdamW
    encoder: StepEncoder
    settings: TrainingSettings
    judge: Judge
    log: RunLog | None
    checkpoints: Checkpoints | None
    progress: Progress
    result: TrainingResult = field(default_factory=TrainingResult)
    window: list[Metrics] = field(default_factory=list)
    spikes: Spikes = field(default_factory=Spikes)

    def __post_init__(self) -> None:
        self.group = self.encoder.group
        self.speed = Speed(self.settings.precision, self.settings.device)
        self.num_steps = self.settings.num_steps(len(self.encoder.samples))

    @property
    def is_over(self) -> bool:
        return self.judge.should_stop or (
            self.result.num_steps == self.num_steps and not self.judge.is_due(self.num_steps, self.num_steps)
        )

    def go(self) -> None:
        """To the end; or `_NotFiniteError`."""
        result = self.result
        with (
            self.optimizer.by_rows(large_tables(self.model.trained)),
            self.progress.phase("training", self.num_steps, "steps", done_before=result.num_steps) as phase,
        ):
            self._judge_if_due()
            steps = range(result.num_steps, self.num_steps)
            for step, current, waited_seconds in ahead(self.encoder, steps):
                result.stalled_seconds += waited_seconds
                if self.judge.should_stop:
                    return
                facts = self._agreed(current)
                if step not in result.skipped:
                    with self.speed.measured(self.model.trained, facts, self.group.size):
                        self._step(step, current, facts)
                result.num_steps = step + 1
                self._write_down()
                phase.advance(1, loss=result.final_loss, **self.speed.shown(result.tokens_per_second))
                raise_if_asked()
                self._judge_if_due()
                if self._is_save_due(step + 1):
                    self.save()

    def _agreed(self, current: Step) -> StepFacts:
        """What is in the step of all processes. Where one of them was asked to stop, all do, here."""
        told = self.group.gather((current.facts, asked()))
        raise_if(next((name for _, name in told if name is not None), None))
        return sum((facts for facts, _ in told), StepFacts())

    def _step(self, step: int, current: Step, facts: StepFacts) -> None:
        """One optimizer step over its micro-batches. facts: what is in those of all processes."""
        started = time.perf_counter()
        settings, result = self.settings, self.result
        # Dropout is a function of (seed, step, rank): a run that goes on draws what an unbroken one would.
        torch.manual_seed(step_seed(settings.seed, step, self.group.rank))
        self.optimizer.zero_grad(set_to_none=True)
        losses = self.model.backward(
            self.task, current, facts.counts, settings.precision, by_rows=self.optimizer.tables
        )
        norm = self.optimizer.clip(settings.optimizer.max_grad_norm)
        if not math.isfinite(norm) or not all(math.isfinite(value) for value in losses.values()):
            raise _NotFiniteError(f"the loss is {losses}, the gradient's norm {norm}")
        rate = settings.learning_rate_at(step, self.num_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["rate_factor"]
        self.optimizer.step()
        result.num_tokens += facts.num_tokens
        if step < steps_per_epoch(len(self.encoder.samples), settings.per_device_train_batch_size):
            result.truncation += facts.truncation
        result.seconds += time.perf_counter() - started
        result.final_loss = sum(losses.values())
        self.window.append(losses | {"gradient_norm": norm, "learning_rate": rate})
        self._tell_spikes(step, {"loss": result.final_loss, "gradient_norm": norm})

    def _tell_spikes(self, step: int, figures: Metrics) -> None:
        """What is far outside the usual in the step just done, with the samples to look at."""
        found = self.spikes.see(figures)
        if not found:
            return
        self.result.spikes.append(step + 1)
        epoch, samples = self.encoder.samples_of(step)
        self.progress.note(
            f"spike in step {step + 1}: {'; '.join(map(str, found))}; its samples, counted from 0: "
            f"{', '.join(map(str, samples))}"
        )
        if self.log is not None:
            values: dict[str, float] = {}
            for spike in found:
                usual = {f"{spike.name}_usual": spike.usual, f"{spike.name}_limit": spike.limit}
                values |= {spike.name: spike.value, **usual}
            self.log.write("spike", step + 1, values, epoch=epoch, samples=samples)

    def survive(self, error: _NotFiniteError) -> None:
        """Makes the run such that it goes on without that step, as its policy says, or raises `TrainingError`."""
        settings, result = self.settings, self.result
        step, what = result.num_steps, str(error)
        if settings.non_finite == "stop":
            raise TrainingError(
                f"step {step + 1}: {what}; the weights are still those of step {step}. A lower learning rate, or "
                "--precision fp32, usually helps."
            )
        skipped = [*result.skipped, step]
        if len(skipped) > MAX_SKIPPED:
            raise TrainingError(f"step {step + 1}: {what}; {MAX_SKIPPED} steps have been passed over already")
        self.progress.note(f"warning: step {step + 1} is passed over: {what}")
        if self.log is not None:
            self.log.write("skipped", step + 1, {"number": len(skipped)})
        if settings.non_finite == "rollback":
            found = None if self.checkpoints is None else self.checkpoints.newest()
            if found is None:
                raise TrainingError(f"step {step + 1}: {what}; there is no checkpoint yet to go back to")
            self.restore(found)
            self.progress.note(f"warning: back to step {found.step}")
        self.result.skipped = skipped

    def _write_down(self) -> None:
        """A line of the log where one is due: means since the last one."""
        result, step = self.result, self.result.num_steps
        if not self.window or (step % self.settings.logging_steps and step != self.num_steps):
            return
        rows, self.window = self.window, []
        values = {name: math.fsum(row[name] for row in rows) / len(rows) for name in rows[-1]}
        values |= {"learning_rate": rows[-1]["learning_rate"], "tokens_per_second": result.tokens_per_second}
        result.history.append((step, values))
        if self.log is not None:
            self.log.write("train", step, values)

    def _judge_if_due(self) -> None:
        step, judge = self.result.num_steps, self.judge
        if not judge.is_due(step, self.num_steps):
            return
        self.optimizer.catch_up()
        self.model.refresh()
        metrics = judge.evaluate(step)
        if self.log is not None:
            self.log.write("validation", step, metrics)
        self.model.trained.train()

    def _is_save_due(self, step: int) -> bool:
        every = self.settings.save_steps
        return self.checkpoints is not None and (step % every == 0 or (step == self.num_steps and step > every))

    def save(self) -> None:
        """A checkpoint of now."""
        assert self.checkpoints is not None
        self.optimizer.catch_up()
        self.model.refresh()
        self.checkpoints.save(
            self.result.num_steps,
            {
                "num_steps": self.num_steps,
                "result": asdict(self.result),
                "judge": self.judge.state(),
                "window": self.window,
                "spikes": self.spikes.recent,
            },
            {
                "model": self.model.network.state_dict(),
                "optimizer": self.optimizer.tensors_of(self.model.trained),
            },
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """As it was when the checkpoint was made."""
        values = checkpoint.state["result"]
        history, truncation = [(step, losses) for step, losses in values["history"]], Truncation(**values["truncation"])
        self.result = TrainingResult(**values | {"history": history, "truncation": truncation})
        self.judge.restore(checkpoint.state["judge"])
        self.window = list(checkpoint.state["window"])
        self.spikes = Spikes({name: list(values) for name, values in checkpoint.state["spikes"].items()})
        self.model.load(checkpoint.tensors["model"])
        self.optimizer.restore(self.model.trained, checkpoint.tensors["optimizer"])

    def finish(self) -> TrainingResult:
        """What happened, the judge's word on it too; the network that was given holds the last weights."""
        self.model.refresh()
        judge = self.judge
        self.result.stopped_early = judge.should_stop
        self.result.best_step, self.result.best_metrics = judge.best_step, judge.best_metrics
        self.result.evaluations = judge.evaluations
        if self.log is not None:
            self.log.write("truncation", self.result.num_steps, asdict(self.result.truncation))
        return self.result

    def put_down(self, interrupted: InterruptedRunError) -> InterruptedRunError:
        """Saves what is done; the same error with how to go on."""
        self.model.trained.train()
        step = self.result.num_steps
        way_on = "there are no checkpoints"
        if self.checkpoints is not None:
            way_on = "go on with the same command and --resume-from-checkpoint auto"
            if step:
                self.save()
                # Nobody leaves before it is written: a launcher that sees one process end stops the others.
                if not self.group.from_first(self.checkpoints.wait):
                    way_on = f"this step could not be saved; earlier checkpoints, if there are any: {way_on}"
        told = InterruptedRunError(f"{interrupted} after step {step:,} of {self.num_steps:,}; {way_on}")
        told.is_common, told.is_told = True, not self.group.is_first
        return told
