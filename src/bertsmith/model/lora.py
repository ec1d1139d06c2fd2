"""Low-rank adapters on the linear layers of an encoder (LoRA, Hu et al. 2021). Knows neither files nor training.

An adapted layer computes W x + scale B A x, where W is its own weight, A [r, in] and B [out, r] the adapter.
Shapes: T tokens, r rank.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.kernels.dropout import Dropout
from bertsmith.kernels.linear import linear
from bertsmith.model.checkpoints import shapes_only
from bertsmith.model.networks import Network

N = TypeVar("N", bound=Network)

LoraTarget = Literal["query", "key", "value", "attention_output", "feed_forward", "all_linear"]

TARGETS: dict[LoraTarget, tuple[str, ...]] = {
    "query": (".attention.query",),
    "key": (".attention.key",),
    "value": (".attention.value",),
    "attention_output": (".attention.output",),
    "feed_forward": (".feed_forward.up", ".feed_forward.gate", ".feed_forward.down"),
}
"""How the names of the layers end that a target stands for; `all_linear` is all of them."""


class LoraLinear(nn.Linear):
    """A linear layer and its adapter, which changes nothing at first. `weight` and `bias` stay the layer's own."""

    def __init__(self, linear: nn.Linear, *, rank: int, scale: float, dropout: float = 0.0):
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.scale = scale
        self.dropout = Dropout(dropout)
        self.lora_a = nn.Parameter(self.weight.new_empty(rank, self.in_features))
        self.lora_b = nn.Parameter(self.weight.new_zeros(self.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))  # as the paper's authors published it

    @property
    def rank(self) -> int:
        return self.lora_a.shape[0]

    def forward(self, states: Tensor) -> Tensor:
        """[T, in] -> [T, out]."""
        change = F.linear(F.linear(self.dropout(states), self.lora_a), self.lora_b)
        return linear(states, self.weight, self.bias) + self.scale * change

    def merged(self) -> nn.Linear:
        """One plain layer that computes the same, dropout aside."""
        with shapes_only():  # no random numbers are drawn: a model may be saved in the middle of training
            plain = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None)
        with torch.no_grad():
            plain.weight = nn.Parameter(self.weight + self.scale * (self.lora_b @ self.lora_a))
        plain.bias = self.bias
        return plain.train(self.training)


def install_lora(
    network: Network, targets: Sequence[LoraTarget], *, rank: int, alpha: float, dropout: float = 0.0
) -> None:
    """Put fresh adapters with the scale `alpha / rank` on the encoder's layers that `targets` names, in place."""
    ends = tuple(end for target in (TARGETS if "all_linear" in targets else targets) for end in TARGETS[target])
    for name, module in list(network.encoder.named_modules(prefix="encoder")):
        if isinstance(module, nn.Linear) and name.endswith(ends):
            replace_module(network, name, LoraLinear(module, rank=rank, scale=alpha / rank, dropout=dropout))


def lora_layers(network: nn.Module) -> Iterator[tuple[str, LoraLinear]]:
    """The adapted layers by name."""
    return ((name, module) for name, module in network.named_modules() if isinstance(module, LoraLinear))


def merged(network: N) -> N:
    """A copy of `network` with its adapters added into plain linear layers; nothing in it is frozen."""
    plain = copy.deepcopy(network)
    for name, layer in list(lora_layers(plain)):
        replace_module(plain, name, layer.merged())
    plain.requires_grad_(True)
    return plain


def replace_module(network: nn.Module, name: str, module: nn.Module) -> None:
    """Put `module` in the place of the one called `name`."""
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, module)
