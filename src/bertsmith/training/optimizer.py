"""AdamW as BERT was trained with it: decoupled weight decay on matrices, none on biases and norms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from pydantic import Field
from torch import nn

from bertsmith.kernels.adamw import AdamWStep, adamw_step, can_step, fits_kernel
from bertsmith.model.networks import looked_up
from bertsmith.settings import Settings

LARGE_TABLE = 1_000_000
"""Values from which on a table's gradient is kept as the rows that a step met."""


class OptimizerSettings(Settings):
    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay; none on biases and norms")
    adam_beta1: float = Field(0.9, ge=0, lt=1, description="decay of the gradient's running mean")
    adam_beta2: float = Field(0.999, ge=0, lt=1, description="decay of its square's running mean")
    adam_epsilon: float = Field(1e-8, gt=0, description="added to the denominator")
    max_grad_norm: float | None = Field(1.0, gt=0, description="gradients are scaled down to this norm; None: never")


class AdamW(torch.optim.AdamW):
    """PyTorch's, with its state and its results; one pass of the compiled kernel over each parameter that it fits.

    gradient_scale: by which the next step multiplies every gradient.
    """

    gradient_scale: float = 1.0

    def clip(self, max_norm: float | None) -> float:
        """The norm of all gradients; the next step scales them down to `max_norm` (Pascanu et al. 2013)."""
        norms = []
        for parameter in (p for group in self.param_groups for p in group["params"]):
            if (gradient := parameter.grad) is None:
                continue
            if gradient.is_sparse:
                gradient = parameter.grad = gradient.coalesce()
            norms.append(torch.linalg.vector_norm(gradient.values() if gradient.is_sparse else gradient))
        norm = float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0
        self.gradient_scale = 1.0 if max_norm is None else min(1.0, max_norm / (norm + 1e-6))
        return norm

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step with the gradients that are there, by the kernel where it fits all of them."""
        assert closure is None, "losses are computed outside"
        owners = [(group, p) for group in self.param_groups for p in group["params"] if p.grad is not None]
        if all(fits_kernel(parameter) for _, parameter in owners):
            for group, parameter in owners:
                self._kernel_step(group, parameter)
        else:
            for _, parameter in owners:
                if parameter.grad.is_sparse:
                    parameter.grad = parameter.grad.to_dense()
            torch._foreach_mul_([parameter.grad for _, parameter in owners], self.gradient_scale)
            super().step()
        self.gradient_scale = 1.0

    def _kernel_step(self, group: dict[str, Any], parameter: torch.Tensor) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        beta1, beta2 = group["betas"]
        step = AdamWStep(
            int(state["step"]), group["lr"], beta1, beta2, group["eps"], group["weight_decay"], self.gradient_scale
        )
        assert parameter.grad is not None
        adamw_step(parameter, parameter.grad, state["exp_avg"], state["exp_avg_sq"], step)


def build_optimizer(
    network: nn.Module,
    settings: OptimizerSettings,
    learning_rate: float,
    rate_factors: Mapping[str, float] | None = None,
) -> AdamW:
    """AdamW (Loshchilov and Hutter 2019) over what is not frozen: vectors (biases, norms) are not decayed, all else is.

    rate_factors: of parameters by name, 1 where none is given; parameters of one factor are groups of their own, whose
    `rate_factor` tells it: whoever sets a group's learning rate multiplies by it.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            factor = (rate_factors or {}).get(name, 1.0)
            groups.setdefault((factor, parameter.ndim >= 2), []).append(parameter)
    return AdamW(
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


@contextmanager
def gradients_by_rows(network: nn.Module) -> Iterator[None]:
    """Within it, large tables that are only looked up in keep their gradient as the rows that a step met.

    A dense one would be filled with zeros, read for its norm and read again, for a few hundred rows of 30,000.
    """
    tables = [table for table in looked_up(network) if table.weight.numel() >= LARGE_TABLE and can_step(table.weight)]
    for table in tables:
        table.sparse = True
    try:
        yield
    finally:
        for table in tables:
            table.sparse = False
