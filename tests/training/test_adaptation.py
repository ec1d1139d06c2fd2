"""What fine-tuning changes: frozen parts do not move, each layer has its rate, adapters learn a task."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from toys import toy_config, toy_task, toy_tokenizer

from bertsmith.errors import SettingsError
from bertsmith.inference.predictor import Predictor
from bertsmith.model.networks import BareNetwork, Network
from bertsmith.training.adaptation import AdaptationSettings, adapt, rate_factors, trained_weights
from bertsmith.training.result import TrainingResult
from bertsmith.training.settings import TrainingSettings
from bertsmith.training.trainer import train


def network_and_weights(initializer_range: float = 0.02, **settings: Any) -> tuple[Network, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    network = toy_task("classification").task.build(toy_config(initializer_range=initializer_range))
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    adapt(network, AdaptationSettings(**settings))
    return network, before


def trained(network: Network, **settings: Any) -> TrainingResult:
    toy = toy_task("classification")
    chosen = {"max_steps": 3, "per_device_train_batch_size": 8, "learning_rate": 1e-3, "precision": "fp32", **settings}
    return train(toy.task, network, toy_tokenizer(), toy.samples, TrainingSettings(**chosen))


def moved(network: Network, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, p in network.named_parameters() if name not in before or not torch.equal(p, before[name])}


@pytest.mark.parametrize(
    ("settings", "starts"),
    [
        ({}, ("encoder.", "pooler.", "classifier.")),
        ({"train": "top_layers", "num_top_layers": 1}, ("encoder.layers.1.", "pooler.", "classifier.")),
        ({"train": "head"}, ("pooler.", "classifier.")),
    ],
)
def test_frozen_parts_do_not_move(settings: dict[str, Any], starts: tuple[str, ...]) -> None:
    network, before = network_and_weights(**settings)
    trained(network)
    changed = moved(network, before)
    assert {name for name in changed if not name.startswith(starts)} == set()
    # All else has moved, but for the bias of keys: it shifts all scores of a query alike, which no softmax sees.
    reach = {name for name in before if name.startswith(starts) and not name.endswith("key.bias")}
    assert reach <= changed


def test_gradients_reach_adapters_and_head_only() -> None:
    network, before = network_and_weights(train="lora", lora_targets=["query", "feed_forward"])
    trained(network)
    gradients = {name for name, p in network.named_parameters() if p.grad is not None}
    ends = ("lora_a", "lora_b")
    assert gradients == {name for name in dict(network.named_parameters()) if name.endswith(ends)} | {
        "pooler.dense.weight",
        "pooler.dense.bias",
        "classifier.weight",
        "classifier.bias",
    }
    assert len([name for name in gradients if name.endswith(ends)]) == 2 * 3 * 2
    assert moved(network, before) == gradients


def test_adapters_learn_the_toy_task_by_heart() -> None:
    toy = toy_task("classification")
    # The frozen features of a random encoder tell texts apart where its weights are large.
    network, before = network_and_weights(0.3, train="lora", lora_rank=4, lora_alpha=4)
    result = trained(network, max_steps=40, learning_rate=1e-2)
    predictions = Predictor(toy.task, network, toy_tokenizer(), "fp32").run(toy.samples).predictions
    assert toy.task.score(toy.samples, predictions)["accuracy"] == 1.0
    assert result.final_loss < 0.1
    encoder = {name for name in moved(network, before) if name.startswith("encoder.") and name in before}
    assert encoder == set()


def test_factors_of_three_layers_by_hand() -> None:
    """Decay 1/2: head and top layer 1, the next 1/2, the lowest 1/4, embeddings 1/8."""
    network = BareNetwork(toy_config(num_hidden_layers=3))
    factors = rate_factors(network, AdaptationSettings(layer_learning_rate_decay=0.5))
    assert set(factors) == {name for name, _ in network.named_parameters()}
    assert {".".join(name.split(".")[:3]): factor for name, factor in factors.items()} == {
        "encoder.embeddings.tokens": 0.125,
        "encoder.embeddings.token_types": 0.125,
        "encoder.embeddings.norm": 0.125,
        "encoder.positions.table": 0.125,
        "encoder.layers.0": 0.25,
        "encoder.layers.1": 0.5,
        "encoder.layers.2": 1.0,
        "pooler.dense.weight": 1.0,
        "pooler.dense.bias": 1.0,
    }


def test_without_decay_all_rates_are_one() -> None:
    assert set(rate_factors(BareNetwork(toy_config()), AdaptationSettings()).values()) == {1.0}


def test_what_is_trained_is_told() -> None:
    network, _ = network_and_weights(train="head")
    # Toy width 32, 3 labels: pooler 32 * 32 + 32 and classifier 3 * 32 + 3.
    total = sum(p.numel() for p in network.parameters())
    assert trained_weights(network) == f"training changes 1,155 of {total:,} weights ({1155 / total:.1%})"


def test_too_many_top_layers() -> None:
    with pytest.raises(SettingsError, match=r"num_top_layers: the model has 2 layers .*, 3 were asked for"):
        network_and_weights(train="top_layers", num_top_layers=3)


def test_a_network_without_a_head_cannot_train_it_alone() -> None:
    with pytest.raises(SettingsError, match="a BareNetwork has no head: choose all, top_layers or lora"):
        adapt(BareNetwork(toy_config(), pooled=False), AdaptationSettings(train="head"))


@pytest.mark.parametrize(
    "values", [{"train": "top_layers"}, {"num_top_layers": 2}, {"train": "lora", "num_top_layers": 1}]
)
def test_top_layers_and_their_number_go_together(values: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="go together: give both or neither"):
        AdaptationSettings.of(values)


def test_an_unknown_target_is_named() -> None:
    with pytest.raises(SettingsError, match=r"lora_targets.*given: 'querry'"):
        AdaptationSettings.of({"lora_targets": ["querry"]})
