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
from typing import Any

import torch
from torch import nn

from bertsmith.data.order import step_seed, steps_per_epoch
from bertsmith.runtime.device import pick_device, repeatable
from bertsmith.runtime.interruption import InterruptedRunError, asked, common, raise_if, raise_if_asked, stoppable
from bertsmith.runtime.memory import keep_few_products, keep_freed_memory
from bertsmith.runtime.processes import processes
from bertsmith.runtime.progress import Progress
from bertsmith.tasks.task import Task
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.training.checkpoint import Checkpoint, Checkpoints
from bertsmith.training.feed import StepEncoder, ahead
from bertsmith.training.judge import Hooks, Judge, TrainingError
from bertsmith.training.logs import RunLog
from bertsmith.training.optimizer import AdamW, build_optimizer, large_tables
from bertsmith.training.parallel import Replicas, spread
from bertsmith.training.reporter import Reporter
from bertsmith.training.result import TrainingResult
from bertsmith.training.settings import TrainingSettings
from bertsmith.training.speed import Speed
from bertsmith.training.step import Step, StepFacts

NO_HOOKS = Hooks()
MAX_SKIPPED = 10
"""Steps that a run passes over before it gives up."""


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
    settings.augmentation.check(task)
    device = pick_device(settings.device)
    keep_freed_memory()
    keep_few_products()
    network.to(device).train()
    progress = progress or Progress()
    model = spread(network, settings.data_parallel, task.coupling, processes())
    encoder = StepEncoder(
        task,
        tokenizer,
        samples,
        settings.per_device_train_batch_size,
        settings.max_tokens_per_micro_batch,
        settings.seed,
        settings.fixed_copies,
        processes(),
        settings.augmentation,
    )
    judge = Judge(
        hooks,
        task.metrics,
        settings.metric_for_best_model,
        settings.eval_steps or steps_per_epoch(len(samples), settings.per_device_train_batch_size),
        settings.early_stopping_patience,
        progress.note,
    )
    optimizer = build_optimizer(model.trained, settings.optimizer, settings.peak_learning_rate, rate_factors)
    reporter = Reporter(log, progress, encoder.samples_of, settings.logging_steps)
    run = _Run(task, model, optimizer, encoder, settings, judge, reporter, checkpoints)
    if start is not None:
        run.restore(start)
    with stoppable(), repeatable(device):
        try:
            while not run.is_over:
                try:
                    run.go()
                except _NotFiniteError as error:
                    run.survive(error)
            run.finish()
        except InterruptedRunError as interrupted:
            raise run.put_down(interrupted) from None
    if checkpoints is not None:
        checkpoints.wait()
    return run.result


class _NotFiniteError(Exception):
    """The step after those that are done gave a loss or a gradient that is no number; the weights are those before."""


@dataclass
class _Run:
    """One run of `train`, from its first step or a checkpoint's."""

    task: Task[Any, Any]
    model: Replicas
    optimizer: AdamW
    encoder: StepEncoder
    settings: TrainingSettings
    judge: Judge
    reporter: Reporter
    checkpoints: Checkpoints | None
    result: TrainingResult = field(default_factory=TrainingResult)

    def __post_init__(self) -> None:
        self.group = self.encoder.group
        self.speed = Speed(self.settings.precision, self.settings.device)
        self.num_steps = self.settings.num_steps(len(self.encoder.samples))

    @property
    def is_last(self) -> bool:
        """Whether all steps are done."""
        return self.result.num_steps == self.num_steps

    @property
    def is_over(self) -> bool:
        return self.judge.should_stop or (self.is_last and not self.judge.is_due(self.num_steps, self.num_steps))

    def go(self) -> None:
        """To the end; or `_NotFiniteError`."""
        result = self.result
        with (
            self.optimizer.by_rows(large_tables(self.model.trained)),
            self.reporter.progress.phase("training", self.num_steps, "steps", done_before=result.num_steps) as phase,
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
                result.history += self.reporter.line(step + 1, result.tokens_per_second, is_last=self.is_last)
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
            self.task,
            current,
            facts.counts,
            settings.precision,
            by_rows=self.optimizer.tables,
            adversarial_epsilon=settings.adversarial_epsilon,
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
        if self.reporter.see(step, losses, norm, rate):
            result.spikes.append(step + 1)

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
        self.reporter.note(f"warning: step {step + 1} is passed over: {what}")
        if settings.non_finite == "rollback":
            found = None if self.checkpoints is None else self.checkpoints.newest()
            if found is None:
                raise TrainingError(f"step {step + 1}: {what}; there is no checkpoint yet to go back to")
            self.restore(found)
            self.reporter.go_back(found)
        self.result.skipped = skipped
        self.reporter.write("skipped", step + 1, {"number": len(skipped)})

    def _judge_if_due(self) -> None:
        step, judge = self.result.num_steps, self.judge
        if not judge.is_due(step, self.num_steps):
            return
        self.optimizer.catch_up()
        self.model.refresh()
        metrics = judge.evaluate(step)
        self.reporter.write("validation", step, metrics)
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
                **self.reporter.state(),
            },
            {
                "model": self.model.network.state_dict(),
                "optimizer": self.optimizer.tensors_of(self.model.trained),
            },
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """As it was when the checkpoint was made."""
        self.result = TrainingResult.of(checkpoint.state["result"])
        self.judge.restore(checkpoint.state["judge"])
        self.reporter.restore(checkpoint.state)
        self.model.load(checkpoint.tensors["model"])
        self.optimizer.restore(self.model.trained, checkpoint.tensors["optimizer"])

    def finish(self) -> None:
        """What happened, the judge's word on it too; the network that was given holds the last weights.

        Whoever is stopped in what the caller does then can save as after any step, and finish again.
        """
        self.model.refresh()
        judge = self.judge
        judge.settle()
        self.result.stopped_early = judge.should_stop
        self.result.best_step, self.result.best_metrics = judge.best_step, judge.best_metrics
        self.result.evaluations = judge.evaluations
        if judge.hooks.finish is not None:
            judge.hooks.finish(self.result)
        self.reporter.write("truncation", self.result.num_steps, asdict(self.result.truncation))

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
        return common(f"{interrupted} after step {step:,} of {self.num_steps:,}; {way_on}")
