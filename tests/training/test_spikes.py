"""Spikes are what lies far above the steps before, on the scale on which the figure varies; and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toys import Notes, toy_config, toy_task, toy_tokenizer

from bertsmith.data.order import step_samples
from bertsmith.training.logs import RunLog
from bertsmith.training.settings import TrainingSettings
from bertsmith.training.spikes import LEAST_STEPS, WINDOW_STEPS, Spikes
from bertsmith.training.trainer import train


def seen(values: list[float]) -> list[int]:
    spikes = Spikes()
    return [place for place, value in enumerate(values) if spikes.see({"loss": value})]


def test_a_jump_is_named_with_what_was_usual() -> None:
    spikes = Spikes()
    for value in [2.0, 2.1, 1.9] * 10:
        assert spikes.see({"loss": value, "gradient_norm": 1.0}) == []
    (spike,) = spikes.see({"loss": 9.0, "gradient_norm": 1.1})
    assert (spike.name, spike.value, spike.usual) == ("loss", 9.0, pytest.approx(2.0))
    assert 2.1 < spike.limit < 4.0
    assert str(spike).startswith("loss 9, usually 2 and at most ")


def test_noise_on_any_scale_is_usual() -> None:
    rng = np.random.default_rng(0)
    for center, width in ((0.0, 0.3), (-5.0, 1.0), (3.0, 0.02)):  # in logarithms
        assert seen(np.exp(rng.normal(center, width, 2000)).tolist()) == []


def test_a_loss_that_falls_is_no_spike_and_neither_is_one_of_zeros() -> None:
    assert seen([10 * 0.99**step for step in range(500)]) == []
    assert seen([0.0] * 50) == []


def test_nothing_is_usual_at_first() -> None:
    assert seen([1.0] * (LEAST_STEPS - 1) + [100.0]) == []
    assert seen([1.0] * LEAST_STEPS + [100.0]) == [LEAST_STEPS]


def test_one_spike_does_not_hide_the_next_and_a_new_level_becomes_usual() -> None:
    assert seen([1.0] * 50 + [9.0, 1.0, 9.0]) == [50, 52]
    found = seen([1.0] * 100 + [9.0] * 200)
    assert found == list(range(100, 100 + WINDOW_STEPS // 2))


def test_what_a_checkpoint_keeps_goes_on_to_the_same_spikes() -> None:
    values = np.exp(np.random.default_rng(1).normal(0, 0.1, 150)).tolist()
    values[120] = 50.0
    whole, first = Spikes(), Spikes()
    expected = [whole.see({"loss": value}) for value in values]
    for value in values[:60]:
        first.see({"loss": value})
    later = Spikes(json.loads(json.dumps(first.recent)))
    assert [later.see({"loss": value}) for value in values[60:]] == expected[60:]
    assert expected[120]


class Jumping:
    """A task whose loss is a hundredfold at one call, counted from 0."""

    def __init__(self, task: Any, call: int):
        self.task, self.call, self.number = task, call, -1

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def loss(self, network: torch.nn.Module, batch: Any) -> dict[str, torch.Tensor]:
        self.number += 1
        losses: dict[str, torch.Tensor] = self.task.loss(network, batch)
        return {name: value * (100 if self.number == self.call else 1) for name, value in losses.items()}


def test_a_run_tells_the_step_its_samples_and_what_is_usual(tmp_path: Path) -> None:
    toy, call, progress = toy_task("classification"), 24, Notes()
    torch.manual_seed(0)
    network = toy.task.build(toy_config())
    settings = TrainingSettings(
        max_steps=26, per_device_train_batch_size=4, learning_rate=1e-5, precision="fp32", logging_steps=100
    )
    with RunLog(tmp_path) as log:
        task: Any = Jumping(toy.task, call)
        result = train(task, network, toy_tokenizer(), toy.samples, settings, log=log, progress=progress)
    assert result.spikes == [call + 1]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    (spike,) = [line for line in lines if line["kind"] == "spike"]
    epoch, samples = step_samples(call, len(toy.samples), 4, 0)
    assert (spike["step"], spike["epoch"], spike["samples"]) == (call + 1, epoch, samples.tolist())
    assert spike["loss"] > spike["loss_limit"] > spike["loss_usual"] > 0
    (note,) = [text for text in progress.texts if "spike" in text]
    assert f"step {call + 1}: loss " in note
    assert ", ".join(map(str, samples.tolist())) in note


def test_a_loss_of_zeros_makes_no_spike_of_what_is_nearly_zero() -> None:
    spikes = Spikes()
    assert not any(spikes.see({"loss": 0.0}) for _ in range(60))
    assert not spikes.see({"loss": 1e-6})
    assert spikes.see({"loss": 0.01})
