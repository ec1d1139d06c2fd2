"""Adversarial training: its move worked by hand, the same whatever the cuts, and nothing where it is off."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from toys import toy_config, toy_task, toy_tokenizer

from bertsmith.data.batch import Batch, Window, pack
from bertsmith.data.order import sample_rng
from bertsmith.model.knowledge import KnowledgeGraph
from bertsmith.tasks import TASKS
from bertsmith.training.augmentation import AugmentationSettings
from bertsmith.training.checkpoint import Checkpoints
from bertsmith.training.settings import TrainingSettings
from bertsmith.training.step import Step, StepFacts, backward, make_step
from bertsmith.training.trainer import train


class Readout(nn.Module):
    """A table of token vectors and a weight that they are multiplied by."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Module()
        self.encoder.embeddings = nn.Module()
        self.encoder.embeddings.tokens = nn.Embedding.from_pretrained(torch.arange(12.0).reshape(6, 2), freeze=False)
        self.weight = nn.Parameter(torch.tensor([3.0, 4.0]))

    def forward(self, ids: Tensor) -> Tensor:
        vectors: Tensor = self.encoder.embeddings.tokens(ids)  # type: ignore[operator, union-attr]
        return vectors @ self.weight


def test_the_gradient_of_a_toy_by_hand() -> None:
    """The loss is the sum of w s over the tokens, divided by 2 sequences, with w = (3, 4): g = w / 2 at each token.

    Of a sequence of n tokens |g| = sqrt(n) 5 / 2, and r = g / |g| = (0.6, 0.8) / sqrt(n): the whole for the first
    sequence, half of that for each of the four tokens of the second. The gradient on w is half of the sum of s, twice,
    and half of the sum of r: ((0.6, 0.8) + 4 (0.3, 0.4)) / 2 = (0.9, 1.2).
    """
    windows = [Window([1], [0]), Window([2, 3, 4, 5], [0] * 4)]
    task: Any = SimpleNamespace(loss=lambda network, batch: {"toy": network(batch.packed.input_ids).sum()})
    network = Readout()
    for batches in ([Batch(pack(windows), {}, {})], [Batch(pack([window]), {}, {}) for window in windows]):
        network.zero_grad()
        step = Step(batches, StepFacts({"toy": 2}))
        sums = backward(task, network, step, {"toy": 2}, "fp32", adversarial_epsilon=1.0)
        total = torch.arange(2.0, 12.0).reshape(5, 2).sum(0)
        assert network.weight.grad is not None
        torch.testing.assert_close(network.weight.grad, total + torch.tensor([0.9, 1.2]))
        assert float(sums["toy"]) == pytest.approx(float(total @ torch.tensor([3.0, 4.0])))


def gradients(name: str, max_tokens: int, epsilon: float | None, **config: Any) -> dict[str, Tensor]:
    toy = toy_task(name)
    torch.manual_seed(0)
    network = toy.task.build(toy_config(**config))
    network.train()
    samples = [toy.task.encode(s, toy_tokenizer(), sample_rng(0, 0, i)) for i, s in enumerate(toy.samples)]
    step = make_step(toy.task, samples, max_tokens)
    torch.manual_seed(1)
    backward(toy.task, network, step, step.facts.counts, "fp32", adversarial_epsilon=epsilon)
    return {key: p.grad.clone() for key, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", list(TASKS))
def test_micro_batches_change_nothing_for_any_task(name: str) -> None:
    whole, apart, plain = gradients(name, 100_000, 1.0), gradients(name, 1, 1.0), gradients(name, 100_000, None)
    assert whole.keys() == apart.keys() == plain.keys()
    for key, gradient in whole.items():
        torch.testing.assert_close(gradient, apart[key], atol=1e-4, rtol=1e-3)
    assert any((whole[key] - 2 * plain[key]).abs().max() > 1e-3 for key in whole)


def test_with_facts_the_texts_are_moved_and_their_facts_are_not() -> None:
    graph = KnowledgeGraph.of(
        {"entities": [{"ids": [id], "branches": [[id + 1, id + 2]]} for id in range(5, 25)], "continuations": []}
    )
    shape: dict[str, Any] = {"initializer_range": 0.2}
    whole, apart = (gradients("classification", n, 1.0, knowledge=graph, **shape) for n in (100_000, 1))
    plain = gradients("classification", 100_000, None, knowledge=graph, **shape)
    ignorant = gradients("classification", 100_000, 1.0, **shape)
    for key, gradient in whole.items():
        torch.testing.assert_close(gradient, apart[key], atol=1e-4, rtol=1e-3)
    for other in ({key: 2 * gradient for key, gradient in plain.items()}, ignorant):
        assert any((whole[key] - other[key]).abs().max() > 1e-3 for key in whole)


def test_a_move_of_nearly_nothing_is_the_same_pass_twice_with_the_same_dropout() -> None:
    twice = gradients("classification", 60, 1e-6, hidden_dropout_prob=0.5)
    once = gradients("classification", 60, None, hidden_dropout_prob=0.5)
    for key, gradient in once.items():
        torch.testing.assert_close(twice[key], 2 * gradient, atol=1e-4, rtol=1e-3)


def test_random_numbers_after_it_are_those_after_one_pass() -> None:
    states = []
    for epsilon in (None, 1.0):
        gradients("classification", 60, epsilon, hidden_dropout_prob=0.5)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_a_run_that_goes_on_comes_to_the_same_bits(tmp_path: Path) -> None:
    toy = toy_task("classification")
    settings = TrainingSettings(
        max_steps=5,
        per_device_train_batch_size=4,
        learning_rate=1e-3,
        save_steps=2,
        save_total_limit=5,
        precision="fp32",
        device="cpu",
        adversarial_epsilon=0.5,
        augmentation=AugmentationSettings(word_dropout=0.2, typo_rate=0.5, mask_substitution=0.2),
    )

    def run(start: str | None) -> dict[str, Tensor]:
        torch.manual_seed(0)
        network = toy.task.build(toy_config(hidden_dropout_prob=0.3))
        with Checkpoints(tmp_path, {}, 5, lambda text: None) as checkpoints:
            begun = None if start is None else checkpoints.read(tmp_path / start)
            train(toy.task, network, toy_tokenizer(), toy.samples, settings, checkpoints=checkpoints, start=begun)
        return {name: value.clone() for name, value in network.state_dict().items()}

    unbroken, gone_on = run(None), run("step-00000002")
    assert all(torch.equal(value, gone_on[name]) for name, value in unbroken.items())
    plain = settings.model_copy(update={"adversarial_epsilon": None})
    torch.manual_seed(0)
    network = toy.task.build(toy_config(hidden_dropout_prob=0.3))
    train(toy.task, network, toy_tokenizer(), toy.samples, plain)
    assert not all(torch.equal(value, unbroken[name]) for name, value in network.state_dict().items())


def test_a_frozen_table_is_moved_too() -> None:
    toy = toy_task("classification")
    torch.manual_seed(0)
    network: Any = toy.task.build(toy_config())
    network.encoder.requires_grad_(False)
    samples = [toy.task.encode(s, toy_tokenizer(), np.random.default_rng(0)) for s in toy.samples]
    step = make_step(toy.task, samples, 10_000)
    found = []
    for epsilon in (None, 1.0):
        network.zero_grad()
        backward(toy.task, network, step, step.facts.counts, "fp32", adversarial_epsilon=epsilon)
        found.append(network.classifier.weight.grad.clone())
    assert not torch.allclose(2 * found[0], found[1])
