"""A step's micro-batches: what belongs together stays together, and the gradient is that of the whole step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from toys import ToyTask, toy_config, toy_task, toy_tokenizer

from bertsmith.data.batch import Batch, Window, pack
from bertsmith.data.order import sample_rng
from bertsmith.model.config import EncoderConfig
from bertsmith.model.networks import BareNetwork
from bertsmith.runtime.processes import ALONE
from bertsmith.tasks.classification import Classification
from bertsmith.tasks.task import CoupledTask
from bertsmith.training.parallel import Replicas
from bertsmith.training.step import Step, make_step


class Neighbours(CoupledTask[Any, Any], Classification):
    """Each row's vector is to be nearest to that of the row beside it in the step."""

    name = "neighbours"
    coupling: ClassVar = "step"

    def collate(self, windows: Sequence[Window]) -> Batch:
        return Batch(pack(windows), {}, {"likeness": len(windows)})

    def build(self, config: EncoderConfig) -> Any:
        return BareNetwork(config)

    def represent(self, network: nn.Module, batch: Batch) -> Tensor:
        pooled: Tensor = network(batch.packed)[1]
        return pooled

    def couple(self, representations: Tensor, batch: Batch) -> dict[str, Tensor]:
        scores = representations @ representations.T
        target = torch.arange(len(scores)) ^ 1
        return {"likeness": torch.nn.functional.cross_entropy(scores, target, reduction="sum")}


def windows_of(toy: ToyTask) -> list[list[Window]]:
    return [toy.task.encode(s, toy_tokenizer(), sample_rng(0, 0, i)) for i, s in enumerate(toy.samples)]


def gradients(task: Any, network: nn.Module, step: Step) -> tuple[dict[str, Tensor], dict[str, float]]:
    network.zero_grad()
    torch.manual_seed(5)
    losses = Replicas(network, ALONE).backward(task, step, step.facts.counts, "fp32")
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}, losses


@pytest.mark.parametrize("max_tokens", [1, 30, 60])
def test_coupled_rows_have_the_gradient_of_one_batch_whatever_the_pieces(max_tokens: int) -> None:
    toy = toy_task("classification")
    task = Neighbours(toy.task.settings)
    samples = windows_of(toy)
    torch.manual_seed(0)
    network = task.build(toy_config())
    whole, loss = gradients(task, network, make_step(task, samples, 10_000))
    step = make_step(task, samples, max_tokens)
    assert len(step.batches) > 1
    pieces, same_loss = gradients(task, network, step)
    assert same_loss == pytest.approx(loss)
    for name, gradient in whole.items():
        torch.testing.assert_close(pieces[name], gradient, atol=1e-5, rtol=1e-4)


def test_the_second_pass_of_a_coupled_step_draws_the_same_dropout() -> None:
    toy = toy_task("classification")
    task = Neighbours(toy.task.settings)
    torch.manual_seed(0)
    network = task.build(toy_config(hidden_dropout_prob=0.5))
    network.train()
    step = make_step(task, windows_of(toy), 40)
    first, _ = gradients(task, network, step)

    # The same loss in one graph, with the pieces' dropout drawn in the same order.
    network.zero_grad()
    torch.manual_seed(5)
    rows = torch.cat([task.represent(network, batch) for batch in step.batches])
    assert step.whole is not None
    loss = task.couple(rows[torch.tensor(step.order).argsort()], step.whole)["likeness"] / len(rows)
    loss.backward()  # type: ignore[no-untyped-call]
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(first[name], parameter.grad, atol=1e-5, rtol=1e-4)


def test_the_windows_of_an_example_stay_in_one_batch_where_the_task_says_so() -> None:
    class Together(Classification):
        coupling: ClassVar = "example"

    toy = toy_task("classification")
    task = Together(toy.task.settings)
    samples = [[window, window, window] for [window] in windows_of(toy)]
    step = make_step(task, samples, 50)
    assert len(step.batches) > 1
    for batch in step.batches:
        lengths = batch.packed.lengths
        assert len(lengths) % 3 == 0
        assert all(lengths[i] == lengths[i + 1] == lengths[i + 2] for i in range(0, len(lengths), 3))
    assert sum(len(batch.packed.lengths) for batch in step.batches) == 24


def test_weights_are_counted_over_the_step() -> None:
    toy = toy_task("classification")
    task = Classification(toy.task.settings.model_copy(update={"class_weights": {"0": 0.1, "1": 2.0}}))
    samples = [task.encode(s, toy_tokenizer(), np.random.default_rng(0)) for s in toy.samples]
    # Labels 0 1 2 0 1 2 0 1.
    assert make_step(task, samples, 30).facts.counts["classification"] == pytest.approx(3 * 0.1 + 3 * 2 + 2 * 1)
    network = task.build(toy_config())
    whole, loss = gradients(task, network, make_step(task, samples, 10_000))
    pieces, same_loss = gradients(task, network, make_step(task, samples, 20))
    assert same_loss == pytest.approx(loss)
    for name, gradient in whole.items():
        torch.testing.assert_close(pieces[name], gradient, atol=1e-5, rtol=1e-4)
