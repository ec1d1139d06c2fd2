"""AdamW as BERT was trained with it: decoupled weight decay on matrices, none on biases and norms."""

from __future__ import annotations

from collections.abc import Mapping

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


def build_optimizer(
    network: nn.Module,
    settings: OptimizerSettings,
    learning_rate: float,
    rate_factors: Mapping[str, float] | None = None,
) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019) over what is not frozen: vectors (biases, norms) are not decayed, all else is.

    rate_factors: of parameters by name, 1 where none is given; parameters of one factor are groups of their own, whose
    `rate_factor` tells it: whoever sets a group's learning rate multiplies by it.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            factor = (rate_factors or {}).get(name, 1.0)
            groups.setdefault((factor, parameter.ndim >= 2), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": groups[factor, decayed],
                "weight_decay": settings.weight_decay if decayed else 0.0,
                "rate_factor": factor,
                "lr": learning_rate * factor,
            }
            for factor, decayed in sorted(groups, reverse=True)
        ],
        betas=(settings.adam_beta1, settings.adam_beta2),
        eps=settings.adam_epsilon,
        fused=True,
    )
