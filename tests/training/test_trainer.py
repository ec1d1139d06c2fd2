"""The trainer: accumulation is the large batch, order is a function of the seed, the best checkpoint is the best."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from toys import toy_config, toy_task, toy_tokenizer

from bertsmith.data.batch import Truncation
from bertsmith.data.order import sample_rng, step_samples
from bertsmith.errors import SettingsError
from bertsmith.inference.predictor import Predictor
from bertsmith.tasks.task import Task
from bertsmith.training.checkpoint import Checkpoint, Checkpoints
from bertsmith.training.feed import StepEncoder
from bertsmith.training.judge import Hooks, TrainingError
from bertsmith.training.logs import RunLog
from bertsmith.training.optimizer import OptimizerSettings, build_optimizer
from bertsmith.training.result import TrainingResult
from bertsmith.training.settings import TrainingSettings
from bertsmith.training.trainer import train


def run(
    name: str = "classification", hooks: Hooks | None = None, log: RunLog | None = None, **settings: Any
) -> tuple[nn.Module, TrainingResult]:
    toy = toy_task(name)
    torch.manual_seed(0)
    network = toy.task.build(toy_config())
    chosen = TrainingSettings(
        **{"max_steps": 4, "per_device_train_batch_size": 4, "learning_rate": 1e-3, "precision": "fp32", **settings}
    )
    return network, train(toy.task, network, toy_tokenizer(), toy.samples, chosen, hooks=hooks or Hooks(), log=log)


def weights(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in network.named_parameters()}


@pytest.mark.parametrize("name", ["pretraining", "classification", "seq2seq"])
def test_the_token_budget_splits_a_step_and_changes_nothing(name: str) -> None:
    large, _ = run(name, max_tokens_per_micro_batch=10_000, max_steps=3)
    small, _ = run(name, max_tokens_per_micro_batch=12, max_steps=3)
    for key, value in weights(large).items():
        torch.testing.assert_close(value, weights(small)[key], atol=2e-5, rtol=1e-3)


def test_two_runs_with_one_seed_are_one_run() -> None:
    first, second = weights(run(seed=5)[0]), weights(run(seed=5)[0])
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = weights(run(seed=6)[0])
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_norms_and_biases_are_not_decayed() -> None:
    network = toy_task("classification").task.build(toy_config())
    optimizer = build_optimizer(network, OptimizerSettings(weight_decay=0.1), 1e-3)
    names = {id(p): name for name, p in network.named_parameters()}
    decayed, free = ({names[id(p)] for p in group["params"]} for group in optimizer.param_groups)
    assert all(name.endswith(".bias") or "norm" in name for name in free)
    assert not any(name.endswith(".bias") or ".norm." in name for name in decayed)
    assert len(decayed) + len(free) == len(names)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]


def scores(*values: float) -> Iterator[dict[str, float]]:
    return iter([{"accuracy": value, "perplexity": value} for value in values])


def test_the_best_evaluation_is_kept_not_the_last() -> None:
    coming, kept = scores(0.2, 0.9, 0.5, 0.9), []
    hooks = Hooks(lambda: next(coming), lambda step, metrics: kept.append((step, metrics["accuracy"])))
    _, result = run(hooks=hooks, eval_steps=1)
    assert kept == [(1, 0.2), (2, 0.9)]
    assert (result.best_step, result.num_steps) == (2, 4)


def test_a_perplexity_is_better_lower() -> None:
    coming = scores(5.0, 3.0, 4.0, 6.0)
    _, result = run("pretraining", Hooks(lambda: next(coming)), eval_steps=1, metric_for_best_model="perplexity")
    assert result.best_step == 2


def test_early_stopping_counts_evaluations_without_a_better_one() -> None:
    coming = scores(0.5, 0.6, 0.6, 0.4, 0.9)
    _, result = run(hooks=Hooks(lambda: next(coming)), eval_steps=1, max_steps=5, early_stopping_patience=2)
    assert (result.num_steps, result.stopped_early, result.best_step) == (4, True, 2)


def test_an_unknown_metric_is_named() -> None:
    with pytest.raises(SettingsError, match="no metric 'acuracy'; did you mean 'accuracy'"):
        run(metric_for_best_model="acuracy")


def test_a_metric_that_is_no_number_is_no_best_model() -> None:
    coming = scores(float("nan"), 0.5)
    with pytest.raises(TrainingError, match="step 1: accuracy is nan"):
        run(hooks=Hooks(lambda: next(coming)), eval_steps=1)


def test_evaluation_changes_nothing() -> None:
    """Dropout on: the random numbers of training are the same with and without an evaluation in between."""
    toy = toy_task("classification")
    results = []
    for evaluated in (False, True):
        torch.manual_seed(0)
        network = toy.task.build(toy_config(hidden_dropout_prob=0.3))
        predictor = Predictor(toy.task, network, toy_tokenizer(), "fp32")
        judge = lambda p=predictor: toy.task.score(toy.samples, p.run(toy.samples).predictions)  # noqa: E731
        settings = TrainingSettings(max_steps=4, eval_steps=1, learning_rate=1e-3, precision="fp32")
        hooks = Hooks(judge) if evaluated else Hooks()
        train(toy.task, network, toy_tokenizer(), toy.samples, settings, hooks=hooks)
        results.append(weights(network))
    assert all(torch.equal(results[0][name], value) for name, value in results[1].items())


def test_fixed_copies_repeat_and_fresh_ones_do_not() -> None:
    toy = toy_task("pretraining")
    tokenizer = toy_tokenizer()

    def places(**settings: Any) -> list[list[Any]]:
        encoder = StepEncoder(toy.task, tokenizer, toy.samples, batch_size=8, max_tokens=8192, seed=0, **settings)
        ordered = []
        for step in range(4):
            order = step_samples(step, 8, 8, 0)[1].tolist()
            by_sample = dict(zip(order, encoder.windows(step), strict=True))
            ordered.append([by_sample[i][0].targets["places"].tolist() for i in range(8)])
        return ordered

    fresh, fixed = places(), places(fixed_copies=2)
    assert fixed[0] == fixed[2] != fixed[1] == fixed[3]
    assert all(fresh[i] != fresh[j] for i in range(4) for j in range(i))


def test_a_loss_that_is_not_finite_stops_before_the_weights_are_touched() -> None:
    toy = toy_task("classification")
    network = toy.task.build(toy_config())
    with torch.no_grad():
        network.classifier.weight[0, 0] = float("inf")  # type: ignore[union-attr, operator]
    before = weights(network)
    with pytest.raises(TrainingError, match="step 1: the loss is"):
        train(toy.task, network, toy_tokenizer(), toy.samples, TrainingSettings(max_steps=3, precision="fp32"))
    assert all(torch.equal(before[name], value) for name, value in weights(network).items())


class Poisoned:
    """A task whose loss is no number at the calls that are named, counted from 0."""

    def __init__(self, task: Task[Any, Any], *calls: int):
        self.task, self.calls, self.number = task, calls, -1

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def loss(self, network: nn.Module, batch: Any) -> dict[str, torch.Tensor]:
        self.number += 1
        losses: dict[str, torch.Tensor] = dict(self.task.loss(network, batch))
        return {name: value * (float("nan") if self.number in self.calls else 1) for name, value in losses.items()}


def train_toy(task: Any, folder: Path, **settings: Any) -> tuple[nn.Module, TrainingResult]:
    toy = toy_task("classification")
    torch.manual_seed(0)
    network = toy.task.build(toy_config())
    values = {"max_steps": 6, "per_device_train_batch_size": 4, "precision": "fp32", "save_steps": 2, **settings}
    with Checkpoints(folder, {}, 2, print) as checkpoints, RunLog(folder / "logs") as log:
        result = train(
            task, network, toy_tokenizer(), toy.samples, TrainingSettings(**values), checkpoints=checkpoints, log=log
        )
    return network, result


def logged(folder: Path) -> list[dict[str, Any]]:
    """The lines without their times."""
    lines = [json.loads(line) for line in (folder / "logs" / "metrics.jsonl").read_text().splitlines()]
    return [{name: v for name, v in line.items() if name not in ("time", "tokens_per_second")} for line in lines]


def test_a_step_that_is_no_number_is_skipped_with_its_data(tmp_path: Path) -> None:
    """Skipping and going back to step 2 end in the same weights: what is done twice is done to the same bits."""
    task = toy_task("classification").task
    network, result = train_toy(Poisoned(task, 3), tmp_path / "skip", non_finite="skip", logging_steps=1)
    assert result.skipped == [3]
    assert result.num_steps == 6
    assert all(value.isfinite().all() for value in weights(network).values())
    rolled, again = train_toy(Poisoned(task, 3), tmp_path / "rollback", non_finite="rollback", logging_steps=1)
    assert again.skipped == [3]
    assert all(torch.equal(value, weights(rolled)[name]) for name, value in weights(network).items())
    steps = [(line["kind"], line["step"]) for line in logged(tmp_path / "rollback")]
    kinds = [("train", 1), ("train", 2), ("skipped", 4), ("train", 3), ("train", 5), ("train", 6), ("truncation", 6)]
    assert steps == kinds, "what was gone back over is written once"
    skipping, rolling = (sorted(map(str, logged(tmp_path / name))) for name in ("skip", "rollback"))
    assert skipping == rolling
    events = EventAccumulator(str(tmp_path / "rollback" / "logs"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/classification")] == [1, 2, 3, 5, 6]


def test_skipping_has_an_end(tmp_path: Path) -> None:
    task = toy_task("classification").task
    with pytest.raises(TrainingError, match="10 steps have been passed over already"):
        train_toy(Poisoned(task, *range(100)), tmp_path, non_finite="skip", max_steps=20)
    with pytest.raises(TrainingError, match="no checkpoint yet to go back to"):
        train_toy(Poisoned(task, 0), tmp_path / "early", non_finite="rollback")


@pytest.mark.parametrize("name", ["classification", "pretraining", "embedding", "seq2seq"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_goes_on_from_a_checkpoint_to_the_same_bits(name: str, precision: str, tmp_path: Path) -> None:
    """Dropout on, micro-batches, a log line and an evaluation that span the checkpoint; moments and counts too."""
    toy = toy_task(name)
    values: dict[str, Any] = {"max_steps": 7, "per_device_train_batch_size": 4, "max_tokens_per_micro_batch": 24}
    values |= {"learning_rate": 1e-3, "precision": precision, "save_steps": 3, "logging_steps": 2, "eval_steps": 2}

    def go(folder: Path, start: Checkpoint | None = None) -> tuple[TrainingResult, list[Checkpoint]]:
        torch.manual_seed(0)
        network = toy.task.build(toy_config(hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.2))
        metric = next(iter(toy.task.metrics))
        hooks = Hooks(lambda: {metric: float(next(network.parameters()).detach().sum())})
        settings = TrainingSettings(**values)
        with Checkpoints(folder, {}, 10, print) as kept:
            arguments: dict[str, Any] = {"hooks": hooks, "checkpoints": kept, "start": start}
            result = train(toy.task, network, toy_tokenizer(), toy.samples, settings, **arguments)
            made = [kept.read(entry) for entry in sorted(folder.glob("step-*"))]
        return result, made

    def timeless(result: TrainingResult) -> list[tuple[int, dict[str, float]]]:
        return [(step, {**losses, "tokens_per_second": 0.0}) for step, losses in result.history]

    unbroken, made = go(tmp_path / "whole")
    assert [each.step for each in made] == [3, 6, 7]
    resumed, later = go(tmp_path / "resumed", made[0])
    assert [each.step for each in later] == [6, 7]
    for ours, theirs in zip(later, made[1:], strict=True):
        for file, tensors in theirs.tensors.items():
            assert tensors.keys() == ours.tensors[file].keys()
            assert all(torch.equal(ours.tensors[file][key], value) for key, value in tensors.items())
    assert timeless(resumed) == timeless(unbroken)
    for what in ("evaluations", "best_step", "num_tokens", "truncation", "final_loss"):
        assert getattr(resumed, what) == getattr(unbroken, what)


def test_epochs_become_steps_and_the_last_batch_is_short() -> None:
    # 8 examples in batches of 3 are 3 steps an epoch; 2 epochs are 6 steps, half an epoch is 2.
    assert TrainingSettings(num_train_epochs=2, per_device_train_batch_size=3).num_steps(8) == 6
    assert TrainingSettings(num_train_epochs=0.5, per_device_train_batch_size=3).num_steps(8) == 2
    _, result = run(max_steps=None, num_train_epochs=1, per_device_train_batch_size=3)
    assert result.num_steps == 3


def test_the_log_has_a_line_for_every_record(tmp_path: Path) -> None:
    coming = scores(0.5, 0.6)
    with RunLog(tmp_path) as log:
        run(hooks=Hooks(lambda: next(coming)), log=log, eval_steps=2, logging_steps=1)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["kind"], line["step"]) for line in lines] == [
        ("train", 1),
        ("train", 2),
        ("validation", 2),
        ("train", 3),
        ("train", 4),
        ("validation", 4),
        ("truncation", 4),
    ]
    assert lines[-1].items() >= {"num_examples": 8, "num_cut_examples": 0, "num_cut_tokens": 0}.items()
    assert {"classification", "gradient_norm", "learning_rate", "tokens_per_second"} <= lines[0].keys()
    assert list(tmp_path.glob("events.out.tfevents.*"))
    with RunLog(tmp_path) as log:
        log.write("train", 1, {"loss": 1.0})
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1


def test_what_truncation_cut_is_counted_once_an_example_whatever_the_epochs() -> None:
    toy = toy_task("classification")
    task = type(toy.task)(toy.task.settings.model_copy(update={"max_length": 8, "truncation": "head"}))
    network = task.build(toy_config())
    settings = TrainingSettings(max_steps=5, per_device_train_batch_size=4, precision="fp32")
    result = train(task, network, toy_tokenizer(), toy.samples, settings)
    # Texts of 3 to 10 words with pairs of 3 to 10 words and 3 special tokens: all eight exceed 8 tokens.
    words = sum(len((s.request.text + " " + s.request.text_pair).split()) for s in toy.samples)
    assert result.truncation == Truncation(8, 8, words - 8 * 5)
    part = train(task, network, toy_tokenizer(), toy.samples, settings.model_copy(update={"max_steps": 1}))
    assert part.truncation.num_examples == 4
    windows = type(toy.task)(toy.task.settings.model_copy(update={"max_length": 8}))
    read = train(windows, network, toy_tokenizer(), toy.samples, settings).truncation
    encoded = [windows.encode(sample, toy_tokenizer(), sample_rng(0, 0, 0)) for sample in toy.samples]
    assert read.num_windowed_examples == sum(len(parts) > 1 for parts in encoded) > 0
