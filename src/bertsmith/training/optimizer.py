"""AdamW as BERT was trained with it: decoupled weight decay on matrices, none on biases and norms."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn

from bertsmith.settings import Settings


class OptimizerSettings(Settings):
    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay; none on biases and norms")
    adam_beta1: float = Field(0.9, ge=0, lt=1, description="decay of the gradient's running mean")
    adam_beta2: float = Field(0.999, ge=0, lt=1, description="decay of its square's running mean")
    adam_epsilon: float = Field(1e-8, gt=0, description="added to the denominator")
    max_grad_norm: float | None = Field(1.0, gt=0, description="gradients are scaled down to this norm; None: never")


def build_optimizer(network: nn.Module, settings: OptimizerSettings, learning_rate: float) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019) in two groups: vectors (biases, norms) are not decayed, all else is."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=learning_rate,
        betas=(settings.adam_beta1, settings.adam_beta2),
        eps=settings.adam_epsilon,
        fused=True,
    )
