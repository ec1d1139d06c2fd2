"""Operations of a network's matrix products, counted from shapes while it computes. Knows no device and no padding.

A product of [T, K] and [K, N] is 2 T K N operations. Its backward pass is as many for the gradient of each side that
wants one. Attention is two products of each query with the keys that it may see. Everything else (norms, activations,
tables) is left out, as is usual; so is what a back end pads or computes twice.

Shapes: T tokens, K inputs, N outputs, H hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from bertsmith.model.attention import Attention
from bertsmith.model.decoder import Decoder, DecoderLayer
from bertsmith.model.encoder import EncoderLayer
from bertsmith.model.lora import LoraLinear
from bertsmith.model.networks import VocabularyHead


@dataclass
class FlopCount:
    """forward, backward: operations so far. The backward ones are those that the forward passes will ask for."""

    forward: int = 0
    backward: int = 0

    @property
    def total(self) -> int:
        return self.forward + self.backward

    def product(self, operations: int, *wants_gradient: bool) -> None:
        """One product, and for each of its sides whether that has a gradient."""
        self.forward += operations
        self.backward += operations * sum(wants_gradient)


@contextmanager
def counted_flops(network: nn.Module) -> Iterator[FlopCount]:
    """Counts what `network` computes within the block."""
    count = FlopCount()
    kinds = (nn.Linear, VocabularyHead, EncoderLayer, Decoder)
    hooks = [
        part.register_forward_hook(lambda *call: _count(count, *call))
        for part in network.modules()
        if isinstance(part, kinds)
    ]
    try:
        yield count
    finally:
        for hook in hooks:
            hook.remove()


def _count(count: FlopCount, part: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
    match part:
        case LoraLinear():
            _linear(count, inputs[0], part.weight, output)
            rank, rows = len(part.lora_a), inputs[0].numel() // part.in_features
            count.product(2 * rows * rank * part.in_features, inputs[0].requires_grad, part.lora_a.requires_grad)
            count.product(2 * rows * rank * part.out_features, part.lora_a.requires_grad, part.lora_b.requires_grad)
        case nn.Linear():
            _linear(count, inputs[0], part.weight, output)
        case VocabularyHead():
            weight = part._tied[0].weight
            count.product(2 * output.numel() * weight.shape[1], output.requires_grad, weight.requires_grad)
        case EncoderLayer():
            hidden, layout = inputs[:2]
            pairs = sum(q * k for q, k in zip(layout.query_lengths, layout.key_lengths, strict=True))
            _attention(count, pairs, hidden, part.attention)
        case Decoder():
            target, source, source_lengths = inputs[:3]
            seen = sum(length * (length + 1) // 2 for length in target.lengths)
            across = sum(t * s for t, s in zip(target.lengths, source_lengths, strict=True))
            for layer in part.layers:
                assert isinstance(layer, DecoderLayer)
                _attention(count, seen, source, layer.attention)
                _attention(count, across, source, layer.cross_attention)


def _linear(count: FlopCount, values: Tensor, weight: Tensor, output: Tensor) -> None:
    count.product(2 * output.numel() * weight.shape[1], values.requires_grad, weight.requires_grad)


def _attention(count: FlopCount, pairs: int, states: Tensor, attention: Attention) -> None:
    """Of `pairs` of a query and a key: their scores, and the values weighed by them."""
    query, key, value = (
        states.requires_grad or any(parameter.requires_grad for parameter in side.parameters())
        for side in (attention.query, attention.key, attention.value)
    )
    count.product(2 * pairs * states.shape[-1], query, key)
    count.product(2 * pairs * states.shape[-1], query or key, value)
