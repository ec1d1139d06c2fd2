"""Low-rank adapters: they change nothing at first, merged layers compute the same, only what is named is adapted."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from toys import toy_config

from bertsmith.model.feedforward import GatedFeedForward
from bertsmith.model.lora import LoraLinear, install_lora, lora_layers, merged
from bertsmith.model.networks import BareNetwork, Network, PretrainingNetwork, SequenceNetwork
from bertsmith.model.packed import Packed


def classifier(**changes: object) -> SequenceNetwork:
    torch.manual_seed(0)
    return SequenceNetwork(toy_config(**changes), num_labels=3).eval()


def packed() -> Packed:
    return Packed.of([[2, 7, 8, 9, 3], [2, 11, 3]])


def disturb(network: Network) -> None:
    """Adapters that have learned something."""
    generator = torch.Generator().manual_seed(1)
    for _, layer in lora_layers(network):
        layer.lora_b.data.normal_(generator=generator)


def test_the_change_by_hand() -> None:
    """x = (1, 2): A x = 1 + 2 = 3; B A x = (3, 6); scale 0.5; W x + b = (2, 1) + (10, 20)."""
    linear = nn.Linear(2, 2)
    layer = LoraLinear(linear, rank=1, scale=0.5)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        layer.bias.copy_(torch.tensor([10.0, 20.0]))
        layer.lora_a.copy_(torch.tensor([[1.0, 1.0]]))
        layer.lora_b.copy_(torch.tensor([[1.0], [2.0]]))
    assert layer(torch.tensor([[1.0, 2.0]])).tolist() == [[13.5, 24.0]]
    assert layer.merged().weight.tolist() == [[0.5, 1.5], [2.0, 1.0]]


def test_fresh_adapters_change_nothing_bit_for_bit() -> None:
    network = classifier()
    before = network(packed())
    install_lora(network, ["all_linear"], rank=4, alpha=8, dropout=0.5)
    assert torch.equal(network.eval()(packed()), before)


@settings(max_examples=20)
@given(
    targets=st.sets(
        st.sampled_from(["query", "key", "value", "attention_output", "feed_forward", "all_linear"]), min_size=1
    ),
    rank=st.integers(1, 5),
    alpha=st.floats(0.5, 16),
)
def test_merged_computes_what_unmerged_does(targets: set[str], rank: int, alpha: float) -> None:
    network = classifier()
    install_lora(network, sorted(targets), rank=rank, alpha=alpha)  # type: ignore[arg-type]
    disturb(network)
    network = network.double()  # in which what is left to tell apart is not rounding
    plain = merged(network)
    torch.testing.assert_close(plain(packed()), network(packed()), atol=1e-12, rtol=1e-10)
    assert not any(lora_layers(plain))
    assert [name for name, _ in plain.named_parameters()] == [name for name, _ in classifier().named_parameters()]


def test_merged_is_a_copy_with_nothing_frozen() -> None:
    network = classifier()
    network.encoder.requires_grad_(False)
    install_lora(network, ["query"], rank=2, alpha=2)
    plain = merged(network)
    assert all(parameter.requires_grad for parameter in plain.parameters())
    plain.classifier.weight.data.zero_()
    assert network.classifier.weight.abs().sum() > 0
    assert len(list(lora_layers(network))) == 2


def test_weights_that_are_tied_stay_tied_in_the_merged_copy() -> None:
    network = PretrainingNetwork(toy_config()).eval()
    install_lora(network, ["query"], rank=2, alpha=2)
    plain = merged(network)
    before = network(packed()).tokens
    plain.encoder.embeddings.tokens.weight.data.zero_()
    assert torch.equal(network(packed()).tokens, before)
    assert torch.equal(plain(packed()).tokens, plain.vocabulary_head.bias.expand_as(before))  # type: ignore[union-attr]


def test_merging_draws_no_random_numbers() -> None:
    network = classifier()
    install_lora(network, ["all_linear"], rank=2, alpha=2)
    state = torch.get_rng_state()
    merged(network)
    assert torch.equal(torch.get_rng_state(), state)


def test_targets_name_layers_of_the_encoder_alone() -> None:
    network = classifier()
    install_lora(network, ["query", "value"], rank=2, alpha=2)
    assert [name for name, _ in lora_layers(network)] == [
        "encoder.layers.0.attention.query",
        "encoder.layers.0.attention.value",
        "encoder.layers.1.attention.query",
        "encoder.layers.1.attention.value",
    ]
    network = classifier(feed_forward=GatedFeedForward())
    install_lora(network, ["all_linear"], rank=2, alpha=2)
    linears = [name for name, part in network.named_modules() if isinstance(part, nn.Linear)]
    assert [name for name, _ in lora_layers(network)] == [name for name in linears if name.startswith("encoder.layers")]
    assert len(list(lora_layers(network))) == 2 * 7


def test_shared_layers_share_their_adapters() -> None:
    network = BareNetwork(toy_config(num_distinct_layers=1), pooled=False).eval()
    install_lora(network, ["query"], rank=2, alpha=2)
    disturb(network)
    assert len(list(lora_layers(network))) == 1
    torch.testing.assert_close(merged(network)(packed())[0], network(packed())[0], atol=1e-5, rtol=1e-5)


def test_dropout_is_of_the_adapter_alone_and_of_training_alone() -> None:
    layer = LoraLinear(nn.Linear(8, 8), rank=2, scale=1.0, dropout=0.9)
    states = torch.randn(50, 8)
    assert torch.equal(layer.train()(states), layer.eval()(states))  # B is zero: what the base says has no dropout
    nn.init.ones_(layer.lora_b)
    assert not torch.equal(layer.train()(states), layer.eval()(states))
