"""Every task on a GPU does what it does on the CPU: gradients, training, predictions, answers batched or alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np
import pytest
import torch
from on_gpu import DEVICE, needs_gpu
from torch import nn
from toys import toy_config, toy_task, toy_tokenizer

from bertsmith.artifact import Artifact
from bertsmith.data.order import sample_rng
from bertsmith.inference.predictor import Predictor
from bertsmith.runtime.device import Precision
from bertsmith.tasks import TASKS
from bertsmith.training.result import TrainingResult
from bertsmith.training.settings import TrainingSettings
from bertsmith.training.step import backward, make_step
from bertsmith.training.trainer import train

pytestmark = [needs_gpu, pytest.mark.parametrize("name", list(TASKS))]
CPU = torch.device("cpu")


def network_for(name: str, device: torch.device = CPU) -> Any:
    torch.manual_seed(0)
    config = toy_config(hidden_size=64, intermediate_size=128, initializer_range=0.1)
    network: nn.Module = toy_task(name).task.build(config).eval()
    return network.to(device)


def numbers(value: Any) -> list[float]:
    """All numbers within, in order."""
    if is_dataclass(value) and not isinstance(value, type):
        return numbers(asdict(value))
    if isinstance(value, Mapping):
        return [number for part in value.values() for number in numbers(part)]
    if isinstance(value, str) or value is None:
        return []
    if isinstance(value, Sequence | np.ndarray):
        return [number for part in value for number in numbers(part)]
    return [float(value)]


def test_gradients_are_those_of_the_cpu(name: str) -> None:
    toy = toy_task(name)
    samples = [toy.task.encode(s, toy_tokenizer(), sample_rng(0, 0, i)) for i, s in enumerate(toy.samples)]
    step = make_step(toy.task, samples, 100)
    found = []
    for device in (CPU, DEVICE):
        network = network_for(name, device)
        sums = backward(toy.task, network, step, step.facts.counts, "fp32")
        gradients = {key: p.grad.cpu() for key, p in network.named_parameters() if p.grad is not None}
        found.append((gradients, {key: float(value) for key, value in sums.items()}))
    (here, losses), (there, losses_there) = found
    assert losses_there == pytest.approx(losses, rel=1e-4)
    assert here.keys() == there.keys()
    for key, gradient in here.items():
        torch.testing.assert_close(there[key], gradient, atol=1e-4, rtol=1e-3)


def trained(name: str, device: torch.device, precision: Precision) -> TrainingResult:
    toy = toy_task(name)
    settings = TrainingSettings(
        max_steps=25,
        per_device_train_batch_size=8,
        max_tokens_per_micro_batch=100,
        learning_rate=1e-3,
        logging_steps=1,
        fixed_copies=1,
        precision=precision,
        device=str(device),
    )
    return train(toy.task, network_for(name), toy_tokenizer(), toy.samples, settings)


def test_training_goes_as_on_the_cpu(name: str) -> None:
    here, there = trained(name, CPU, "fp32"), trained(name, DEVICE, "fp32")
    assert there.history[-1][1]["gradient_norm"] < 1e3
    assert there.final_loss < 0.9 * sum(v for k, v in there.history[0][1].items() if k in _losses(there))
    for (step, ours), (_, others) in zip(here.history, there.history, strict=True):
        for key in _losses(here):
            assert others[key] == pytest.approx(ours[key], rel=2e-3, abs=2e-3), f"step {step}"


def test_training_in_bf16_goes_down_too(name: str) -> None:
    result = trained(name, DEVICE, "bf16")
    assert result.final_loss < 0.9 * sum(v for k, v in result.history[0][1].items() if k in _losses(result))


def _losses(result: TrainingResult) -> list[str]:
    others = {"gradient_norm", "learning_rate", "tokens_per_second"}
    return [key for key in result.history[0][1] if key not in others]


def predictor(name: str, device: torch.device, **options: Any) -> Predictor:
    artifact = Artifact(toy_task(name).task, network_for(name), toy_tokenizer(), {})
    return Predictor.of(artifact, device=str(device), **options)


def test_predictions_are_those_of_the_cpu(name: str) -> None:
    toy = toy_task(name)
    here, there = (predictor(name, device, precision="fp32") for device in (CPU, DEVICE))
    assert numbers(there.predict(toy.requests)) == pytest.approx(numbers(here.predict(toy.requests)), abs=1e-3)
    ours, others = (each.run(toy.samples).predictions for each in (here, there))
    assert numbers(others) == pytest.approx(numbers(ours), abs=1e-3)


def test_predictions_in_bf16_are_near(name: str) -> None:
    toy = toy_task(name)
    if name == "seq2seq":
        pytest.skip("a token that is chosen otherwise changes all that follow")
    here, there = predictor(name, CPU, precision="fp32"), predictor(name, DEVICE, precision="bf16")
    ours, others = np.array(numbers(here.predict(toy.requests))), np.array(numbers(there.predict(toy.requests)))
    assert np.mean(abs(ours - others) < 0.05) > 0.9


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_batch_invariant_is_the_same_bits(name: str, precision: str) -> None:
    asked = predictor(name, DEVICE, precision=precision, batch_invariant=True)
    requests = toy_task(name).requests
    together = numbers(asked.predict(requests))
    assert together == numbers([asked.predict([request])[0] for request in requests])
