"""Operations counted from shapes are those that PyTorch counts as it executes them, where nothing is padded."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from toys import toy_config

from bertsmith.model.flops import FlopCount, counted_flops
from bertsmith.model.lora import install_lora
from bertsmith.model.networks import BareNetwork, Network, PretrainingNetwork, Seq2SeqNetwork, SequenceNetwork
from bertsmith.model.packed import Packed

LENGTH, ROWS = 16, 3
"""Rows of one length: PyTorch executes no padding then."""


def rows(length: int = LENGTH) -> Packed:
    return Packed.of([range(5, 5 + length)] * ROWS)


def both_counts(network: Network, loss: Callable[[], Tensor]) -> tuple[FlopCount, int]:
    """Ours and PyTorch's, with attention as two plain products, the others of which compute scores twice."""
    torch_counter = FlopCounterMode(display=False)
    with torch_counter, counted_flops(network) as ours, sdpa_kernel(SDPBackend.MATH):
        loss().backward()
    return ours, torch_counter.get_total_flops()


def test_an_encoder_is_its_layers_products_and_its_attention() -> None:
    config = toy_config()
    network = BareNetwork(config, pooled=False)
    ours, theirs = both_counts(network, lambda: network(rows())[0].sum())
    tokens, width, inner = ROWS * LENGTH, config.hidden_size, config.intermediate_size
    layer = 2 * tokens * (4 * width * width + 2 * width * inner) + 4 * ROWS * LENGTH * LENGTH * width
    assert ours.forward == config.num_hidden_layers * layer
    assert ours.backward == 2 * ours.forward
    assert ours.total == theirs


def test_heads_count_what_they_are_asked_for() -> None:
    network = PretrainingNetwork(toy_config())
    at = torch.tensor([1, 5, 20])

    def loss() -> Tensor:
        logits = network(rows(), at)
        assert logits.tokens is not None
        assert logits.sentences is not None
        return logits.tokens.sum() + logits.sentences.sum()

    ours, theirs = both_counts(network, loss)
    assert ours.total == theirs


def test_frozen_layers_have_no_backward_pass() -> None:
    network = SequenceNetwork(toy_config(), num_labels=2)
    network.encoder.requires_grad_(False)
    ours, theirs = both_counts(network, lambda: network(rows()).sum())
    assert ours.backward < ours.forward / 10
    assert ours.total == theirs


def test_adapters_count_beside_the_layers_that_they_change() -> None:
    network = SequenceNetwork(toy_config(), num_labels=2)
    network.requires_grad_(False)
    install_lora(network, ("query", "value"), rank=4, alpha=8)
    ours, theirs = both_counts(network, lambda: network(rows()).sum())
    assert ours.total == theirs


def test_a_decoder_sees_its_past_and_the_source() -> None:
    config = toy_config()
    network = Seq2SeqNetwork(config)
    length = 4
    ours, theirs = both_counts(network, lambda: network(rows(), rows(length)).sum())
    # PyTorch computes a causal square whole: what lies above its diagonal is no operation here.
    above = 3 * 4 * ROWS * (length * (length - 1) // 2) * config.hidden_size * config.num_hidden_layers
    assert ours.total == theirs - above


def test_hooks_are_gone_afterwards() -> None:
    network = BareNetwork(toy_config())
    with pytest.raises(RuntimeError), counted_flops(network):
        raise RuntimeError
    assert not any(part._forward_hooks for part in network.modules())
