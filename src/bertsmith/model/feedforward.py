"""The position-wise feed-forward sublayer, plain or gated, and the activations by their published names."""

from __future__ import annotations

from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from bertsmith.kernels.activation import gelu
from bertsmith.model.linear import Linear
from bertsmith.settings import Settings

Activation = Literal["gelu", "gelu_new", "relu", "silu", "tanh"]


def activate(name: Activation, values: Tensor) -> Tensor:
    """`gelu_new` is the tanh approximation of GELU (Hendrycks and Gimpel 2016)."""
    match name:
        case "gelu":
            return gelu(values)
        case "gelu_new":
            return F.gelu(values, approximate="tanh")
        case "relu":
            return F.relu(values)
        case "silu":
            return F.silu(values)
        case "tanh":
            return values.tanh()


class PlainFeedForward(Settings):
    """up, activation, down (Vaswani et al. 2017, section 3.3)."""

    kind: Literal["plain"] = "plain"
    activation: Activation = "gelu"


class GatedFeedForward(Settings):
    """activation(gate) times up, then down (Shazeer 2020); three matrices, so take two thirds of the inner size."""

    kind: Literal["gated"] = "gated"
    activation: Activation = "gelu"


FeedForwardConfig = Annotated[PlainFeedForward | GatedFeedForward, Field(discriminator="kind")]


class Plain(nn.Module):
    def __init__(self, width: int, inner_width: int, activation: Activation):
        super().__init__()
        self.up = Linear(width, inner_width)
        self.down = Linear(inner_width, width)
        self.activation: Activation = activation

    def forward(self, hidden: Tensor) -> Tensor:
        """[T, H] -> [T, H]."""
        out: Tensor = self.down(activate(self.activation, self.up(hidden)))
        return out


class Gated(Plain):
    def __init__(self, width: int, inner_width: int, activation: Activation):
        super().__init__(width, inner_width, activation)
        self.gate = Linear(width, inner_width)

    def forward(self, hidden: Tensor) -> Tensor:
        """[T, H] -> [T, H]."""
        out: Tensor = self.down(activate(self.activation, self.gate(hidden)) * self.up(hidden))
        return out


def build_feed_forward(config: FeedForwardConfig, width: int, inner_width: int) -> Plain:
    match config:
        case PlainFeedForward(activation=activation):
            return Plain(width, inner_width, activation)
        case GatedFeedForward(activation=activation):
            return Gated(width, inner_width, activation)
