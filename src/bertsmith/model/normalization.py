"""Normalization, its kind and its place: after the residual sum, as in BERT, or before each sublayer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from bertsmith.kernels.dropout import Dropout
from bertsmith.kernels.residual import residual_norm
from bertsmith.settings import Settings

Placement = Literal["post", "pre"]


class LayerNormalization(Settings):
    """Mean and variance over the features (Ba et al. 2016)."""

    kind: Literal["layer_norm"] = "layer_norm"
    placement: Placement = "post"
    eps: float = Field(1e-12, gt=0, description="added to the variance")


class RmsNormalization(Settings):
    """Root mean square over the features, no mean and no bias (Zhang and Sennrich 2019)."""

    kind: Literal["rms_norm"] = "rms_norm"
    placement: Placement = "post"
    eps: float = Field(1e-6, gt=0, description="added to the mean square")


NormalizationConfig = Annotated[LayerNormalization | RmsNormalization, Field(discriminator="kind")]


def build_norm(config: NormalizationConfig, width: int) -> nn.Module:
    match config:
        case LayerNormalization(eps=eps):
            return nn.LayerNorm(width, eps=eps)
        case RmsNormalization(eps=eps):
            return nn.RMSNorm(width, eps=eps)


class Residual(nn.Module):
    """A sublayer with its residual sum, dropout and normalization, in the order that the placement says."""

    def __init__(self, config: NormalizationConfig, width: int, dropout: float):
        super().__init__()
        self.norm = build_norm(config, width)
        self.dropout = Dropout(dropout)
        self.placement = config.placement

    def forward(self, hidden: Tensor, sublayer: Callable[[Tensor], Tensor], at: Tensor | None = None) -> Tensor:
        """[T, H] -> [T, H]; `at`: the places [M] that the sublayer answers for, all of them where it is None."""
        changed = sublayer(self.norm(hidden) if self.placement == "pre" else hidden)
        if at is not None:
            hidden = hidden[at]
        if self.placement == "pre":
            added: Tensor = hidden + self.dropout(changed)
            return added
        if isinstance(self.norm, nn.LayerNorm):
            norm = self.norm
            dropout = self.dropout.p if self.training else 0.0
            return residual_norm(hidden, changed, norm.weight, norm.bias, norm.eps, dropout=dropout)
        normed: Tensor = self.norm(hidden + self.dropout(changed))
        return normed
